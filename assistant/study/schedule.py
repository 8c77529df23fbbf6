"""When a skill is due, and which image of it comes next.

    cards = replay(attempts)                             # one FSRS card a skill, from the log alone
    item = choose(items, attempts, now, random.Random(7))

An image is new at every repetition as long as there is one; skills are interleaved; one in three shows nothing wrong.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from fsrs import Card, Rating, Scheduler

from assistant.study.items import Attempt, Item

RETENTION = 0.9
LONGEST_DAYS = 365
OTHERS_BETWEEN = 2
NEGATIVE_SHARE = 1 / 3
LOOK_ALIKE_WITHIN = 5
CONFIDENT_ERROR_AFTER = 6
NO_ITEM_TWICE_IN = 100


def rating(attempt: Attempt) -> Rating | None:
    """Wrong or given up: Again. Right but unsure, or with a hint: Hard. Else Good, never Easy. None: not graded."""
    if attempt.verdict.outcome == "not graded":
        return None
    if attempt.verdict.outcome == "wrong":
        return Rating.Again
    return Rating.Hard if attempt.commitment.certainty == 1 or attempt.hints_used else Rating.Good


@lru_cache(maxsize=1)
def scheduler() -> Scheduler:
    """Without steps within a day and without chance, so that a log always gives the same cards."""
    return Scheduler(
        desired_retention=RETENTION,
        learning_steps=(),
        relearning_steps=(),
        maximum_interval=LONGEST_DAYS,
        enable_fuzzing=False,
    )


def replay(attempts: Iterable[Attempt], exam: date | None = None) -> dict[str, Card]:
    """Cards by skill; with the day of an exam, each is due once more by the day before it."""
    cards: dict[str, Card] = {}
    for attempt in attempts:
        advance(cards, attempt)
    if exam:
        eve = at_noon(exam) - timedelta(days=1)
        for card in cards.values():
            if card.last_review and card.last_review < eve:
                card.due = min(card.due, eve)
    return cards


def at_noon(day: date) -> datetime:
    """The moment of a day that is nearest to all of its hours."""
    return datetime.combine(day, time(12), UTC)


def is_practice(attempt: Attempt) -> bool:
    """Whether it tells of a skill: a pair, the model's answer or a trial is another task."""
    return attempt.mode == "practise" or (attempt.mode == "look-alikes" and "+" not in attempt.case)


def advance(cards: dict[str, Card], attempt: Attempt) -> None:
    """One step of a replay."""
    rated = rating(attempt)
    if not is_practice(attempt) or rated is None:
        return
    at = datetime.fromtimestamp(attempt.committed_at, UTC)
    card = cards.get(attempt.skill_id) or Card(card_id=len(cards) + 1, due=at)
    cards[attempt.skill_id], _ = scheduler().review_card(card, rated, at)


def predicted_recall(card: Card, at: datetime) -> float:
    """What FSRS promises for this moment."""
    return float(scheduler().get_card_retrievability(card, at))


def due_today(cards: Mapping[str, Card], now: datetime) -> list[str]:
    """Skills that are due before the end of this day, the most overdue first."""
    end = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return sorted((skill for skill, card in cards.items() if card.due < end), key=lambda skill: cards[skill].due)


def choose(
    items: Sequence[Item],
    attempts: Sequence[Attempt],
    now: datetime,
    draw: random.Random,
    cards: Mapping[str, Card] | None = None,
) -> Item | None:
    """The next item for a learner with these attempts; None where there are no items. `cards` are their replay."""
    by_skill: dict[str, list[Item]] = {}
    for item in items:
        by_skill.setdefault(item.skill.skill_id, []).append(item)
    if not by_skill:
        return None
    skills = _ranked(by_skill, attempts, now, draw, replay(attempts) if cards is None else cards)
    if draw.random() < NEGATIVE_SHARE:
        with_negatives = [skill for skill in skills if any(item.is_negative for item in by_skill[skill])]
        if with_negatives:
            candidates = [item for item in by_skill[with_negatives[0]] if item.is_negative]
            return _unseen(candidates, attempts, draw)
    # Where a skill has both, the shares are the pack's own, so that no answer is the better guess.
    return _unseen(by_skill[skills[0]], attempts, draw)


def _ranked(
    by_skill: Mapping[str, Sequence[Item]],
    attempts: Sequence[Attempt],
    now: datetime,
    draw: random.Random,
    cards: Mapping[str, Card],
) -> list[str]:
    """Skills by urgency, without those that were asked just now."""
    recent = [attempt.skill_id for attempt in attempts]
    free = list(by_skill)
    for between in range(OTHERS_BETWEEN, 0, -1):
        if allowed := [skill for skill in free if skill not in recent[-between:]]:
            free = allowed
            break
    again, alike = _confident_errors(attempts), _look_alikes(attempts)
    waiting = {attempt.skill_id for attempt in attempts[-CONFIDENT_ERROR_AFTER:] if _is_confident_error(attempt)}
    chance = {skill: draw.random() for skill in sorted(by_skill)}

    def urgency(skill: str) -> tuple[int, float]:
        if skill in waiting:
            return 5, chance[skill]
        if skill in again:
            return 0, again[skill]
        if skill in alike:
            return 1, -alike[skill]
        if skill not in cards:
            return 3, chance[skill]
        due = cards[skill].due
        return (2 if due <= now else 4), due.timestamp()

    return sorted(free, key=urgency)


def _confident_errors(attempts: Sequence[Attempt]) -> dict[str, int]:
    """Skills whose last answer was wrong and sure, a while ago, to when that was."""
    last = {attempt.skill_id: at for at, attempt in enumerate(attempts)}
    return {
        skill: at
        for skill, at in last.items()
        if len(attempts) - at > CONFIDENT_ERROR_AFTER and _is_confident_error(attempts[at])
    }


def _is_confident_error(attempt: Attempt) -> bool:
    return attempt.verdict.outcome == "wrong" and attempt.commitment.certainty == 3 and not attempt.commitment.gave_up


def _look_alikes(attempts: Sequence[Attempt]) -> dict[str, int]:
    """Siblings of skills missed in the last few answers and not asked since, to when the miss was."""
    found: dict[str, int] = {}
    start = max(0, len(attempts) - LOOK_ALIKE_WITHIN)
    for at, attempt in enumerate(attempts[start:], start):
        if attempt.verdict.outcome == "wrong":
            found |= dict.fromkeys(attempt.siblings, at)
        found.pop(attempt.skill_id, None)
    return {skill: at for skill, at in found.items() if len(attempts) - at > 1}


def _unseen(items: Sequence[Item], attempts: Sequence[Attempt], draw: random.Random) -> Item:
    """An item with an image that was never shown, else the one shown the longest ago."""
    seen = {attempt.case: at for at, attempt in enumerate(attempts)}
    lately = {attempt.item_id for attempt in attempts[-NO_ITEM_TWICE_IN:]}
    new = [item for item in items if item.case not in seen]
    if new:
        return draw.choice(sorted(new, key=lambda item: item.item_id))
    pool = [item for item in items if item.item_id not in lately] or list(items)
    return min(pool, key=lambda item: (seen[item.case], item.item_id))
