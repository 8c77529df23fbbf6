"""The trial: tests on images of their own, an arm by coin, no key in a test, one table."""

import csv
import io
from datetime import timedelta
from itertools import pairwise

import pytest

from assistant.study import trial
from assistant.study.errors import NotCommittedError, NothingToStudyError
from assistant.study.gate import Gate
from assistant.study.items import Commitment
from tests.study.test_study_schedule import SKILLS, item

LATE = sum(trial.LENGTHS.values()) - trial.LENGTHS["late"]


@pytest.fixture
def trial_gate(gate, monkeypatch) -> Gate:
    """A gate whose packs have images enough."""
    many = [item(skill, number) for skill in SKILLS for number in range(90)]
    monkeypatch.setattr(gate.shelf, "items", lambda *_: many)
    return gate


def play(gate: Gate, learner: str, number: int) -> list:
    reveals = []
    for at in range(number):
        question = gate.next(learner, "trial")
        reveals.append(gate.commit(learner, Commitment(question.attempt_id, "Yes" if at % 3 else "No", 3)))
    return reveals


def test_a_test_tells_no_key_and_practice_does(trial_gate):
    reveals = play(trial_gate, "anna", LATE)
    keys = [reveal.key for reveal in reveals]
    first = trial.LENGTHS["pre"]
    assert keys[:first] == [""] * first
    assert set(keys[first : first + trial.LENGTHS["practice"]]) == {"Yes"}
    assert set(keys[first + trial.LENGTHS["practice"] :]) == {""}
    assert reveals[0].verdict.words == trial.NOTED
    with pytest.raises(NotCommittedError):
        trial_gate.may_talk("anna", reveals[0].attempt_id)


def test_no_image_is_in_two_phases_and_the_last_test_comes_after_four_weeks(trial_gate, clock):
    play(trial_gate, "anna", LATE)
    with pytest.raises(NothingToStudyError, match="comes on"):
        trial_gate.next("anna", "trial")
    clock.now += trial.LATE_AFTER / timedelta(seconds=1) + 1
    play(trial_gate, "anna", trial.LENGTHS["late"])
    cases = [attempt.case for attempt in trial_gate.log.attempts("anna")]
    assert len(set(cases)) == len(cases) == sum(trial.LENGTHS.values())
    with pytest.raises(NothingToStudyError, match="over"):
        trial_gate.next("anna", "trial")


def test_the_arms_differ_in_the_order_of_practice_alone(trial_gate):
    names = {trial.arm(f"learner{number}", trial_gate.log.secret()): f"learner{number}" for number in range(30)}
    assert set(names) == set(trial.ARMS)
    changes, counts = {}, {}
    for arm, learner in names.items():
        play(trial_gate, learner, LATE)
        practice = [one.skill_id for one in trial_gate.log.attempts(learner)][trial.LENGTHS["pre"] :][
            : trial.LENGTHS["practice"]
        ]
        changes[arm] = sum(one != other for one, other in pairwise(practice))
        counts[arm] = sorted(practice)
    assert changes["blocked"] == len(SKILLS) - 1
    assert changes["interleaved"] == trial.LENGTHS["practice"] - 1
    assert counts["blocked"] == counts["interleaved"]


def test_the_table_has_no_names(trial_gate):
    play(trial_gate, "anna", LATE)
    text = trial.table(trial_gate.log.everyones(), trial_gate.log.secret())
    (row,) = csv.DictReader(io.StringIO(text))
    assert "anna" not in text
    assert row["arm"] == trial.arm("anna", trial_gate.log.secret())
    assert float(row["pre right"]) == pytest.approx(8 / 12, abs=1e-3)
    assert row["late n"] == "0"
