"""What the log says: a learner's progress and calibration, a teacher's view of a pack.

progress(attempts, items, now)["certainty"]["words"]       # "at more than 80 % you were right 62 % of 29"
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from fsrs import Card

from assistant.study import exercises, schedule
from assistant.study.items import CERTAINTIES, Attempt, Item

TOO_FEW = 20
TOO_FEW_WORDS = "too few to tell"
# What each certainty stands for, where it is compared with what came true.
MEANT = {1: 0.5, 2: 0.735, 3: 0.9}


def home(attempts: Sequence[Attempt], items: Sequence[Item], now: datetime, exam: date | None = None) -> dict[str, Any]:
    """Three numbers for the first screen: skills due today, new ones, and the certainty's bias in words."""
    cards = schedule.replay(attempts, exam)
    skills = {item.skill.skill_id for item in items if not item.model_answer}
    due = [skill for skill in schedule.due_today(cards, now) if skill in skills]
    return {"due": len(due), "new": len(skills - set(cards)), "bias": _bias(attempts)["words"]}


def progress(
    attempts: Sequence[Attempt], items: Sequence[Item], now: datetime, exam: date | None = None
) -> dict[str, Any]:
    """Everything on the screen "Progress", as plain data."""
    cards = schedule.replay(attempts, exam)
    practised = [attempt for attempt in attempts if schedule.is_practice(attempt)]
    shares = first_sights(practised)
    rows = []
    for skill, card in sorted(cards.items(), key=lambda pair: pair[1].due):
        own = [attempt for attempt in practised if attempt.skill_id == skill]
        days = (card.due - card.last_review).days if card.last_review else 0
        rows.append(
            {
                "skill": skill,
                "seen": len(own),
                "right_at_first_sight": shares.get(skill),
                "interval_days": days,
                "due": card.due.date().isoformat(),
                "recall_at_exam": _recall(card, exam, now),
            }
        )
    return {
        "exam": exam.isoformat() if exam else None,
        **home(attempts, items, now, exam),
        "answers": len(attempts),
        "marks": sum(attempt.verdict.marks for attempt in attempts),
        "skills": rows,
        "certainty": _bias(attempts),
        "detection": detection(practised),
        "promise": promise(practised),
        "judge": judging(attempts),
        "reasons": reasons(attempts),
        "not_graded": sum(attempt.verdict.outcome == "not graded" for attempt in attempts),
    }


def _recall(card: Card, exam: date | None, now: datetime) -> float | None:
    """What FSRS predicts for the day of the exam if nothing is reviewed until then; None without a day to come."""
    if exam is None or exam < now.date():
        return None
    return round(schedule.predicted_recall(card, schedule.at_noon(exam)), 2)


def first_sights(attempts: Iterable[Attempt]) -> dict[str, dict[str, int]]:
    """By skill, how many images were seen for the first time, and how many of those were right."""
    seen: set[str] = set()
    found: dict[str, dict[str, int]] = {}
    for attempt in attempts:
        if attempt.case not in seen and attempt.verdict.outcome != "not graded":
            counts = found.setdefault(attempt.skill_id, {"n": 0, "right": 0})
            counts["n"] += 1
            counts["right"] += attempt.verdict.outcome == "right"
        seen.add(attempt.case)
    return found


def _bias(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """Certainty beside what came true: a point for each, the Brier score, the bias in words."""
    graded = [one for one in attempts if one.verdict.outcome != "not graded" and not one.commitment.gave_up]
    points: list[dict[str, Any]] = []
    for certainty, meaning in CERTAINTIES.items():
        own = [one for one in graded if one.commitment.certainty == certainty]
        right = sum(one.verdict.outcome == "right" for one in own)
        points.append({"certainty": meaning, "n": len(own), "right": right, "meant": MEANT[certainty]})
    if len(graded) < TOO_FEW:
        return {"points": points, "n": len(graded), "brier": None, "bias": None, "words": TOO_FEW_WORDS}
    outcomes = [(MEANT[one.commitment.certainty], one.verdict.outcome == "right") for one in graded]
    brier = sum((said - came) ** 2 for said, came in outcomes) / len(outcomes)
    bias = sum(said - came for said, came in outcomes) / len(outcomes)
    told = max((point for point in points if point["n"]), key=lambda point: point["meant"])
    words = f"at {told['certainty']} you were right {100 * told['right'] / told['n']:.0f} % of {told['n']}"
    if abs(bias) >= 0.05:
        words += f": {'surer than right' if bias > 0 else 'righter than sure'} by {100 * abs(bias):.0f} points"
    return {"points": points, "n": len(graded), "brier": round(brier, 3), "bias": round(bias, 3), "words": words}


def detection(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """Sensitivity and false alarms, on questions that show something or nothing; None below twenty of a kind."""
    asked = [one for one in attempts if one.verdict.outcome != "not graded" and _can_be_negative(one, attempts)]
    sick = [one for one in asked if not one.is_negative]
    well = [one for one in asked if one.is_negative]
    return {
        "sensitivity": _share(sick, lambda one: one.verdict.outcome == "right"),
        "false_alarms": _share(well, lambda one: one.verdict.outcome == "wrong"),
        "n": [len(sick), len(well)],
    }


def _can_be_negative(attempt: Attempt, attempts: Sequence[Attempt]) -> bool:
    families = {one.skill_id.rpartition("/")[0] for one in attempts if one.is_negative}
    return attempt.skill_id.rpartition("/")[0] in families


def _share(chosen: Sequence[Attempt], is_so: Any) -> float | None:
    return None if len(chosen) < TOO_FEW else round(sum(map(is_so, chosen)) / len(chosen), 3)


def promise(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """The scheduler's own promise: recall that it predicted before each review, beside what came true."""
    predicted, came = [], []
    cards: dict[str, Any] = {}
    for attempt in attempts:
        card = cards.get(attempt.skill_id) if schedule.rating(attempt) else None
        schedule.advance(cards, attempt)
        if card is None:
            continue
        when = datetime.fromtimestamp(attempt.committed_at, UTC)
        if (when - (card.last_review or when)).days >= 1:
            predicted.append(schedule.predicted_recall(card, when))
            came.append(attempt.verdict.outcome == "right")
    if len(came) < TOO_FEW:
        return {"n": len(came), "predicted": None, "observed": None}
    return {
        "n": len(came),
        "predicted": round(sum(predicted) / len(came), 3),
        "observed": round(sum(came) / len(came), 3),
    }


def judging(attempts: Iterable[Attempt]) -> dict[str, Any]:
    """Of the model's wrong answers the share that was rejected, of its right ones the share that was."""
    asked = [one for one in attempts if one.mode == "judge" and not one.commitment.gave_up]
    wrong = [one for one in asked if one.key == exercises.REJECT]
    right = [one for one in asked if one.key == exercises.ACCEPT]
    return {
        "hits": _share(wrong, lambda one: one.verdict.outcome == "right"),
        "false_alarms": _share(right, lambda one: one.verdict.outcome == "wrong"),
        "n": [len(wrong), len(right)],
    }


def reasons(attempts: Iterable[Attempt]) -> dict[str, int]:
    """Of the pairs with a checklist: features that tell the two apart, those found, and ticks that were wrong."""
    own = [one.verdict.reasons for one in attempts if one.verdict.reasons]
    return {
        "pairs": len(own),
        "told": sum(one.told for one in own),
        "found": sum(one.found for one in own),
        "wrong": sum(one.wrong for one in own),
    }


def of_pack(attempts: Sequence[Attempt], items: Sequence[Item], *, with_names: bool = False) -> list[dict[str, Any]]:
    """For a teacher, by item: difficulty, discrimination, use of options, confident errors, answers to accept."""
    by_item: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_item.setdefault(attempt.item_id, []).append(attempt)
    scores = _scores(attempts)
    rows = []
    for item in items:
        own = by_item.get(item.item_id, [])
        graded = [one for one in own if one.verdict.outcome != "not graded"]
        said = Counter(one.commitment.answer for one in own if not one.commitment.gave_up)
        row: dict[str, Any] = {
            "item_id": item.item_id,
            "stem": item.stem,
            "key": item.gold.answer,
            "n": len(graded),
            "right": sum(one.verdict.outcome == "right" for one in graded),
            "discrimination": _discrimination(graded, scores),
            "options": {option: said.get(option, 0) for option in item.options},
            "confident_errors": sum(one.verdict.outcome == "wrong" and one.commitment.certainty == 3 for one in own),
            "not_graded": sorted({one.commitment.answer for one in own if one.verdict.outcome == "not graded"}),
        }
        if with_names:
            row["learners"] = sorted({one.learner for one in own})
        rows.append(row)
    return rows


def _scores(attempts: Iterable[Attempt]) -> dict[str, float]:
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for attempt in attempts:
        if attempt.verdict.outcome != "not graded":
            asked[attempt.learner] += 1
            right[attempt.learner] += attempt.verdict.outcome == "right"
    return {learner: right[learner] / asked[learner] for learner in asked}


def _discrimination(attempts: Sequence[Attempt], scores: dict[str, float]) -> float | None:
    """Correlation of being right here with the share right at all; None below twenty answers or without spread."""
    if len(attempts) < TOO_FEW:
        return None
    pairs = [(float(one.verdict.outcome == "right"), scores[one.learner]) for one in attempts]
    mean_x, mean_y = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    spread = math.sqrt(sum((x - mean_x) ** 2 for x, _ in pairs) * sum((y - mean_y) ** 2 for _, y in pairs))
    if not spread:
        return None
    return round(sum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread, 2)
