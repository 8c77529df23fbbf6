"""Simulated learners with known forgetting and confusion: the scheduler against random and blocked order.

A check of the machinery and no evidence about people: the simulation rewards spacing, new images and contrast, as the
studies found, and asks whether the scheduler brings them about with the same number of trials.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fsrs import Card

from assistant.study import schedule
from assistant.study.items import Attempt, Commitment, Gold, Item, Skill, Verdict

SKILLS, IMAGES, SIBLINGS = 24, 40, 3
DAYS, TRIALS_A_DAY, TEST_DAY = 28, 12, 30
START = datetime(2027, 1, 4, 9, tzinfo=UTC)
# Half-lives in days: of a new memory, and how much a review lengthens it at most.
FIRST_HALF_LIFE, GROWTH, SAME_IMAGE_SHARE = 1.0, 2.2, 0.3
CONFUSED, CONTRAST = 0.5, 0.8
GUESS = 1 / 3


@dataclass
class _Memory:
    half_life: float = 0.0
    at: float = 0.0
    confusion: float = CONFUSED
    images: set[str] = field(default_factory=set)


class Learner:
    """Recall halves with time; a review lengthens it, most where it was nearly forgotten, less by a known image."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)  # noqa: S311
        self._memories: dict[str, _Memory] = {}
        self._ability = self._draw.uniform(0.7, 1.3)

    def recall(self, skill: str, at: float) -> float:
        """Chance to know an unseen image of a skill on day `at`, without guessing."""
        memory = self._memories.get(skill)
        if memory is None or not memory.half_life:
            return 0.0
        return math.exp2(-(at - memory.at) / memory.half_life) * (1 - memory.confusion)

    def answer(self, item: Item, at: float, lately: Sequence[str]) -> bool:
        """Try an item, learn from its reveal; `lately` are the skills asked just before."""
        skill = item.skill.skill_id
        memory = self._memories.setdefault(skill, _Memory())
        known = self.recall(skill, at)
        right = self._draw.random() < known + (1 - known) * GUESS
        share = SAME_IMAGE_SHARE if item.case in memory.images else 1.0
        forgotten = 1 - math.exp2(-(at - memory.at) / memory.half_life) if memory.half_life else 1.0
        grown = memory.half_life * (1 + self._ability * (GROWTH - 1) * forgotten * share)
        memory.half_life = max(grown, FIRST_HALF_LIFE * self._ability)
        memory.at = at
        memory.images.add(item.case)
        if any(sibling in lately for sibling in item.skill.siblings):
            memory.confusion *= 1 - (1 - CONTRAST) * share
        return right


def _items() -> list[Item]:
    found = []
    for number in range(SKILLS):
        group = number // SIBLINGS
        siblings = tuple(f"s{other}" for other in range(group * SIBLINGS, (group + 1) * SIBLINGS) if other != number)
        skill = Skill(f"s{number}", "", "", f"s{number}", siblings)
        for image in range(IMAGES):
            case = f"s{number}-{image}"
            found.append(
                Item(f"sim/{case}/x", "sim", "1", "option", skill, (case,), case, "?", Gold("Yes"), ("Yes", "No"))
            )
    return found


ITEMS = _items()
Order = Callable[[int, Sequence[Attempt], datetime, random.Random, dict[str, Card]], Item]


def by_schedule(
    _: int, attempts: Sequence[Attempt], now: datetime, draw: random.Random, cards: dict[str, Card]
) -> Item:
    chosen = schedule.choose(ITEMS, attempts, now, draw, cards)
    assert chosen is not None
    return chosen


def at_random(_: int, attempts: Sequence[Attempt], now: datetime, draw: random.Random, cards: dict[str, Card]) -> Item:
    return draw.choice(ITEMS)


def in_blocks(
    trial: int, attempts: Sequence[Attempt], now: datetime, draw: random.Random, cards: dict[str, Card]
) -> Item:
    """One skill after another, as chapters do."""
    length = DAYS * TRIALS_A_DAY // SKILLS
    skill = min(trial // length, SKILLS - 1)
    return ITEMS[skill * IMAGES + trial % IMAGES]


ORDERS: dict[str, Order] = {"scheduler": by_schedule, "random order": at_random, "blocked order": in_blocks}


def day_30(order: Order, seed: int) -> float:
    """Mean recall of unseen images over all skills on the test day."""
    learner, draw = Learner(seed), random.Random(seed)  # noqa: S311
    attempts: list[Attempt] = []
    cards: dict[str, Card] = {}
    for trial in range(DAYS * TRIALS_A_DAY):
        day, within = divmod(trial, TRIALS_A_DAY)
        now = START + timedelta(days=day, minutes=within)
        item = order(trial, attempts, now, draw, cards)
        lately = [one.skill_id for one in attempts[-5:]]
        right = learner.answer(item, day + within / 1440, lately)
        attempt = _attempt(item, now, trial, right)
        attempts.append(attempt)
        schedule.advance(cards, attempt)
    return sum(learner.recall(f"s{number}", TEST_DAY) for number in range(SKILLS)) / SKILLS


def _attempt(item: Item, now: datetime, trial: int, right: bool) -> Attempt:
    name, seconds = f"t{trial}", now.timestamp()
    return Attempt(
        name, "sim", item.item_id, "sim", "1", "practise", item.skill.skill_id, item.skill.siblings, item.case,
        item.kind, item.is_negative, "Yes", Commitment(name, "Yes", 2), Verdict("right" if right else "wrong", ""),
        seconds, seconds, 0, "1",
    )  # fmt: skip


def measure(number: int) -> dict[str, Any]:
    """Recall of unseen images on day 30 by order, over so many learners, and how much better the scheduler is."""
    recall = {name: sum(day_30(order, seed) for seed in range(number)) / number for name, order in ORDERS.items()}
    ours = recall["scheduler"]
    return {
        "learners": number,
        "trials": DAYS * TRIALS_A_DAY,
        "recall": {name: round(value, 4) for name, value in recall.items()},
        "better than, percent": {
            name: round(100 * (ours / value - 1), 1) for name, value in recall.items() if name != "scheduler"
        },
        "what it is": "a check of the machinery, not evidence about people",
    }
