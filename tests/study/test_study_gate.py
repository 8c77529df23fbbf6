"""The gate: nothing that helps before a commitment; one answer, once; hints that cannot tell."""

import io
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from dataclasses import replace

import pytest
from PIL import Image

from assistant.study import exercises, hints, schedule
from assistant.study.errors import (
    AlreadyCommittedError,
    AnswerError,
    LogError,
    NoSuchAttemptError,
    NotCommittedError,
    NothingToStudyError,
    StudyError,
)
from assistant.study.evaluation.leaks import told
from assistant.study.grade import mentions
from assistant.study.items import Commitment


def right_answer(gate, attempt_id: str, certainty: int = 3) -> Commitment:
    item = gate.log.served(attempt_id).item
    if item.kind == "place":
        x, y, wide, high = item.gold.boxes[0]
        return Commitment(attempt_id, "", certainty, (x + wide / 2, y + high / 2))
    return Commitment(attempt_id, item.gold.answer, certainty)


def wrong_answer(gate, attempt_id: str, certainty: int = 3) -> Commitment:
    item = gate.log.served(attempt_id).item
    if item.kind == "place":
        return Commitment(attempt_id, "", certainty, (0.01, 0.01))
    return Commitment(attempt_id, next(option for option in item.options if option != item.gold.answer), certainty)


def test_an_open_question_comes_again_until_it_is_answered(gate):
    first = gate.next("me")
    assert gate.next("me") == first
    gate.commit("me", right_answer(gate, first.attempt_id))
    assert gate.next("me").attempt_id != first.attempt_id


@pytest.mark.parametrize("mode", ["practise", "look-alikes"])
def test_nothing_of_the_key_is_in_what_leaves(gate, clock, mode):
    for _ in range(20):
        item = gate.next("me", mode)
        clock.now += 60
        while gate.open("me", item.attempt_id).hints_remaining:
            gate.hint("me", item.attempt_id)
        item = gate.open("me", item.attempt_id)
        assert told(gate.log.served(item.attempt_id).item, item.to_dict()) == []
        gate.commit("me", Commitment(item.attempt_id, gave_up=True))


def test_the_picture_is_bare_pixels(gate):
    item = gate.next("me")
    picture = Image.open(io.BytesIO(gate.image(item.attempt_id)))
    picture.load()
    assert picture.format == "PNG"
    assert picture.info == {}


@pytest.mark.parametrize("attempt_id", ["", "nothing", "../../study.db", "' OR 1=1 --"])
def test_an_attempt_that_was_not_served_is_none(gate, attempt_id: str):
    for call in (gate.image, lambda one: gate.hint("me", one), lambda one: gate.commit("me", Commitment(one, "x"))):
        with pytest.raises(NoSuchAttemptError):
            call(attempt_id)


def test_the_attempt_of_another_learner_is_none(gate):
    item = gate.next("me")
    with pytest.raises(NoSuchAttemptError):
        gate.commit("somebody", Commitment(item.attempt_id, gave_up=True))


def test_talk_about_the_case_is_for_after_the_commitment(gate):
    item = gate.next("me")
    with pytest.raises(NotCommittedError, match="Answer first, or give up"):
        gate.may_talk("me", item.attempt_id)
    gate.commit("me", right_answer(gate, item.attempt_id))
    assert gate.may_talk("me", item.attempt_id).gold


def test_the_same_answer_gives_the_same_reveal_and_another_one_is_refused(gate):
    item = gate.next("me")
    first = gate.commit("me", wrong_answer(gate, item.attempt_id))
    assert gate.commit("me", wrong_answer(gate, item.attempt_id)) == first
    with pytest.raises(AlreadyCommittedError):
        gate.commit("me", right_answer(gate, item.attempt_id))
    assert len(gate.log.attempts("me")) == 1


@pytest.mark.parametrize(
    ("certainty", "is_right", "marks"),
    [(1, True, 1), (2, True, 2), (3, True, 3), (1, False, 0), (2, False, -2), (3, False, -6)],
)
def test_marks_are_those_of_the_certainty(gate, certainty: int, is_right: bool, marks: int):
    item = gate.next("me")
    answer = (right_answer if is_right else wrong_answer)(gate, item.attempt_id, certainty)
    reveal = gate.commit("me", answer)
    assert reveal.verdict.outcome == ("right" if is_right else "wrong")
    assert reveal.verdict.marks == marks
    assert reveal.comes_back_today is (certainty == 3 and not is_right)


@pytest.mark.parametrize(("certainty", "answer"), [(0, "1"), (4, "1"), (1, "  "), (1, "none of them"), (1, "x" * 400)])
def test_what_is_no_answer_is_refused_and_leaves_the_question_open(gate, item_of, certainty: int, answer: str):
    served = gate.log.serve("me", "practise", item_of("How many bright nodules"))
    with pytest.raises(AnswerError):
        gate.commit("me", Commitment(served.attempt_id, answer, certainty))
    assert gate.log.attempt(served.attempt_id) is None


def test_a_wrong_side_is_said_in_words(gate, item_of):
    served = gate.log.serve("me", "practise", item_of("Where is the bright spot"))
    side, level, zone = served.item.gold.answer.split()
    said = f"{'left' if side == 'right' else 'right'} {level} {zone}"
    verdict = gate.commit("me", Commitment(served.attempt_id, said, 1)).verdict
    assert verdict.failed == ("side",)
    assert "wrong side" in verdict.words


def test_what_was_said_instead_is_shown_for_comparison_and_asked_no_more(gate, item_of):
    item = item_of("What is the shape")
    wrong = next(option for option in item.options if option != item.gold.answer)
    served = gate.log.serve("me", "practise", item)
    with pytest.raises(NoSuchAttemptError):
        gate.example(served.attempt_id)
    reveal = gate.commit("me", Commitment(served.attempt_id, wrong, 2))
    shown = gate.log.example(served.attempt_id)
    assert reveal.example == f"/study/example/{served.attempt_id}.png"
    assert (shown.stem, shown.gold.answer) == (item.stem, wrong)
    assert gate.example(served.attempt_id) == gate.shelf.image(item.pack, shown.images[0])
    assert gate.commit("me", Commitment(served.attempt_id, wrong, 2)) == reveal
    for _ in range(30):
        question = gate.next("me")
        assert gate.log.served(question.attempt_id).item.case != shown.case
        gate.commit("me", right_answer(gate, question.attempt_id))
    gate.log.forget("me")
    assert gate.log.example(served.attempt_id) is None


def test_hints_come_late_one_by_one_and_count(gate, clock, item_of):
    served = gate.log.serve("me", "practise", item_of("What is the shape"))
    clock.now = served.served_at
    with pytest.raises(StudyError, match="seconds first"):
        gate.hint("me", served.attempt_id)
    clock.now += 60
    kinds = [gate.hint("me", served.attempt_id).kind for _ in range(3)]
    assert kinds == ["how", "options", "narrow"]
    with pytest.raises(StudyError, match="no more hints"):
        gate.hint("me", served.attempt_id)
    gate.commit("me", right_answer(gate, served.attempt_id))
    (attempt,) = gate.log.attempts("me")
    assert attempt.hints_used == 3
    assert schedule.rating(attempt).name == "Hard"


def test_no_hint_of_any_item_tells_the_key(gate):
    for item in gate.shelf.items():
        for hint in hints.ladder(item, random.Random(1)):
            assert hint.kind in ("options", "narrow") or not mentions(item.gold, hint.words)
            assert not hint.options or (item.gold.answer in hint.options and len(hint.options) > 1)


def test_where_is_no_hint_where_the_place_is_asked(gate, item_of):
    box = ((0.7, 0.1, 0.1, 0.1),)
    zone, shape = item_of("Where is the bright spot"), item_of("What is the shape")
    assert all(hint.kind != "where" for hint in hints.ladder(zone, random.Random(1)))
    with_box = replace(shape, gold=replace(shape.gold, boxes=box))
    assert hints.ladder(with_box, random.Random(1))[0].words == "Look at the top right quarter of the picture."


def test_two_reports_stop_an_item(gate, item_of):
    item = item_of("What is the shape")
    for learner in ("one", "two"):
        served = gate.log.serve(learner, "practise", item)
        gate.commit(learner, Commitment(served.attempt_id, gave_up=True))
        assert item.item_id not in gate.log.stopped()
        gate.report_mistake(learner, served.attempt_id, "The key is wrong.")
    assert item.item_id in gate.log.stopped()


def test_a_teacher_accepts_an_answer_from_then_on(gate, item_of):
    item = item_of("What is the shape")
    gate.log.accept(item.item_id, "like a coin")
    served = gate.log.serve("me", "practise", item)
    assert gate.commit("me", Commitment(served.attempt_id, "like a coin")).verdict.outcome == "right"


def test_a_log_is_exported_taken_in_and_forgotten(gate, tmp_path):
    for _ in range(5):
        gate.commit("me", right_answer(gate, gate.next("me").attempt_id))
    before, text = gate.log.attempts("me"), gate.log.export("me")
    assert gate.log.take_in("me", text) == 0
    assert gate.log.forget("me") == 5
    assert gate.log.attempts("me") == []
    assert gate.log.take_in("me", text) == 5
    assert schedule.replay(gate.log.attempts("me")) == schedule.replay(before)


def test_a_file_cannot_answer_an_open_question(gate):
    gate.commit("me", right_answer(gate, gate.next("me").attempt_id))
    text, is_open = gate.log.export("me"), gate.next("me").attempt_id
    done = gate.log.attempts("me")[0].attempt_id
    with pytest.raises(LogError):
        gate.log.take_in("me", text.replace(done, is_open))
    with pytest.raises(LogError):
        gate.log.take_in("thief", text)
    with pytest.raises(LogError):
        gate.log.take_in("me", '{"attempt_id": 3}')
    assert gate.log.attempt(is_open) is None


def test_an_attempt_is_never_changed(gate):
    gate.commit("me", right_answer(gate, gate.next("me").attempt_id))
    with sqlite3.connect(gate.log.path) as db, pytest.raises(sqlite3.DatabaseError):
        db.execute("UPDATE attempts SET attempt = 'x'")


def commit_and_die(gate, commitment: Commitment) -> None:
    gate.commit("me", commitment)
    time.sleep(30)


def test_an_answer_survives_a_killed_process(gate):
    """Killed at some moment of the commit: after it is sent again there is one attempt and no more."""
    draw, fork = random.Random(3), multiprocessing.get_context("fork")
    for number in range(12):
        answer = right_answer(gate, gate.next("me").attempt_id)
        child = fork.Process(target=commit_and_die, args=(gate, answer))
        child.start()
        time.sleep(draw.uniform(0, 0.03))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        gate.commit("me", answer)
        assert len(gate.log.attempts("me")) == number + 1


def test_look_alikes_are_two_pictures_with_the_key_among_a_b_and_both(gate):
    keys = set()
    for number in range(20):
        item = gate.next(f"learner-{number}", "look-alikes")
        assert item.options == ("A", "B", exercises.BOTH)
        picture = Image.open(io.BytesIO(gate.image(item.attempt_id)))
        assert picture.width > 1.9 * picture.height
        keys.add(gate.log.served(item.attempt_id).item.gold.answer)
        gate.commit(f"learner-{number}", Commitment(item.attempt_id, "A", 1))
        assert schedule.replay(gate.log.attempts(f"learner-{number}")) == {}
    assert keys == {"A", "B", exercises.BOTH}


def test_there_is_nothing_to_judge_without_the_models_answers(gate):
    with pytest.raises(NothingToStudyError, match="medvint study readings"):
        gate.next("me", "judge")


@pytest.mark.parametrize("learner", ["", "a b", "x" * 65, "<script>"])
def test_a_learners_name_is_plain(gate, learner: str):
    with pytest.raises(StudyError):
        gate.next(learner)
