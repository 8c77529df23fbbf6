"""The labelled set: claims, each with one caption and what that caption does to it.

    rows = labelled_rows(Path("../shared/data"), seed=0)
    rows[0].label, rows[0].question, rows[0].answer, rows[0].caption

The development half is for tuning, the held-out half is only measured. They share no article and no image: ROCO's
validation and SLAKE's train rows are the one, ROCO's test and SLAKE's validate rows the other.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Label = Literal["supported", "side", "negation", "modality", "number", "unrelated"]
Half = Literal["development", "held_out"]
LABELS: tuple[Label, ...] = ("supported", "side", "negation", "modality", "number", "unrelated")
HALVES: tuple[Half, ...] = ("development", "held_out")


@dataclass(frozen=True)
class Row:
    """`answer` to `question` beside `caption`. `made` names the rule that made it, `origin` the figure or image."""

    source: Literal["roco", "slake", "written"]
    half: Half
    label: Label
    made: str
    question: str
    answer: str
    caption: str
    origin: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def thinned(rows: Iterable[Row], most: int, draw: random.Random) -> list[Row]:
    """At most so many rows of each label, the ways of making them in equal parts, in a seeded order."""
    by_label: dict[Label, dict[str, list[Row]]] = {}
    for row in rows:
        by_label.setdefault(row.label, {}).setdefault(row.made, []).append(row)
    kept: list[Row] = []
    for label in LABELS:
        ways = by_label.get(label, {})
        for way in ways.values():
            draw.shuffle(way)
        kept += _in_turn([ways[name] for name in sorted(ways)], most)
    return kept


def _in_turn(lists: Sequence[list[Row]], most: int) -> list[Row]:
    taken: list[Row] = []
    for at in range(max((len(items) for items in lists), default=0)):
        taken += [items[at] for items in lists if at < len(items)]
    return taken[:most]
