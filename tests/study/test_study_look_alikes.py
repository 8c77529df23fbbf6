"""Look-alikes: pairs, the features that tell them apart, and the single picture after four of them."""

import random
from dataclasses import replace
from html import escape

import pytest

from assistant.study import exercises, features, html, report, schedule
from assistant.study.errors import AlreadyCommittedError, AnswerError
from assistant.study.items import Commitment, Gold, Reasons


@pytest.fixture
def pair(gate):
    """A served pair of two different classes with a checklist: its attempt and its item."""
    for number in range(40):
        learner = f"learner-{number}"
        served = gate.log.served(gate.next(learner, "look-alikes").attempt_id)
        if served.item.checklist and served.item.gold.answer != exercises.BOTH:
            return served
    pytest.fail("no pair had a checklist")


def test_a_checklist_has_what_tells_the_two_apart_and_what_does_not(pair, gate):
    item, shown = pair.item, gate.open(pair.learner, pair.attempt_id)
    tells = dict(item.gold.tells)
    assert set(tells.values()) == {"A", "B"}
    assert set(tells) < set(item.checklist) == set(shown.checklist)
    assert "tells" not in str(shown.to_dict())


def test_ticks_are_marked_beside_the_answer_and_kept(pair, gate):
    right = [feature for feature, _ in pair.item.gold.tells]
    wrong = next(feature for feature in pair.item.checklist if feature not in right)
    answer = Commitment(pair.attempt_id, pair.item.gold.answer, 2, ticks=(wrong, right[0]))
    reveal = gate.commit(pair.learner, answer)
    assert reveal.verdict.outcome == "right"
    assert reveal.verdict.reasons == Reasons(len(right), 1, 1)
    assert {one.feature for one in reveal.checklist if one.ticked} == {wrong, right[0]}
    assert f"{escape(wrong)}: not one alone (you ticked it)" in html.revealed(reveal)
    assert gate.commit(pair.learner, replace(answer, ticks=answer.ticks[::-1])) == reveal
    with pytest.raises(AlreadyCommittedError):
        gate.commit(pair.learner, replace(answer, ticks=()))
    told = report.progress(gate.log.attempts(pair.learner), [], report.datetime.now(report.UTC))["reasons"]
    assert told == {"pairs": 1, "told": len(right), "found": 1, "wrong": 1}


def test_what_is_not_on_the_list_cannot_be_ticked(pair, gate):
    with pytest.raises(AnswerError, match="none of the features"):
        gate.commit(pair.learner, Commitment(pair.attempt_id, "A", 1, ticks=("made up",)))


def test_pictures_of_one_class_have_nothing_to_tick_and_the_list_does_not_say_so(item_of):
    items = {key: replace(item_of("What is the shape"), gold=Gold(key)) for key in features.FEATURES["shape"]}
    spiky, wide, oval = items["spiculated"], items["lobulated"], items["oval"]
    same, nothing = features.checklist([spiky, spiky], [wide, oval], random.Random(1))
    other, tells = features.checklist([spiky, wide], [oval], random.Random(1))
    assert nothing == ()
    assert dict(tells) == {"many thin spikes": "A", "a few wide bulges": "B"}
    assert same == other


def test_a_teachers_words_come_before_the_classs(item_of):
    item = item_of("What is the shape")
    assert features.features_of(replace(item, gold=Gold("oval", features=("like an egg",)))) == ("like an egg",)
    side = replace(item, gold=Gold("pleural effusion", facts=("left pleural effusion",)), vocabulary="chest finding")
    assert features.features_of(side) == ("on the patient's left",)


def test_after_four_pairs_a_new_picture_alone_feeds_the_scheduler(gate):
    kinds = []
    for _ in range(10):
        question = gate.next("me", "look-alikes")
        item = gate.log.served(question.attempt_id).item
        kinds.append(len(item.images))
        before = {case for one in gate.log.attempts("me") for case in one.case.split("+")}
        assert len(item.images) == 2 or item.case not in before
        gate.commit("me", Commitment(question.attempt_id, item.gold.answer, 2))
    assert kinds == [2, 2, 2, 2, 1] * 2
    assert len(schedule.replay(gate.log.attempts("me"))) in (1, 2)


def test_what_was_confused_is_paired(gate, item_of):
    item = item_of("What is the shape")
    wrong = next(option for option in item.options if option != item.gold.answer)
    served = gate.log.serve("me", "practise", item)
    gate.commit("me", Commitment(served.attempt_id, wrong, 2))
    for _ in range(3):
        question = gate.next("me", "look-alikes")
        assert question.stem.startswith(item.stem)
        assert any(f"“{key}”" in question.stem for key in (wrong, item.gold.answer))
        gate.commit("me", Commitment(question.attempt_id, gate.log.served(question.attempt_id).item.gold.answer, 2))
