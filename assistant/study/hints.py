"""Hints, made by code from the key and checked against it: what names the key or a slot of it is no hint.

First where to look, then how such an image is read, then one option fewer. There is no last hint that tells: that is
what giving up is for.
"""

import random
from collections.abc import Sequence

from assistant.study.grade import mentions
from assistant.study.items import Box, Hint, Item
from assistant.study.reading import read
from assistant.study.vocabulary import checklist

EARLIEST_S = 5
"""A hint before so many seconds is not offered."""


def ladder(item: Item, draw: random.Random) -> list[Hint]:
    """The hints of one attempt in their order; those that would tell are left out."""
    hints = []
    if where := _where(item):
        hints.append(Hint("where", where))
    hints.append(Hint("how", checklist(item.skill.region)))
    hints = [hint for hint in hints if not mentions(item.gold, hint.words)]
    if item.kind == "text" and item.options:
        hints.append(Hint("options", "It is one of these.", item.options))
    if len(item.options) > 2:
        gone = draw.choice(sorted(option for option in item.options if option != item.gold.answer))
        hints.append(Hint("narrow", "One answer fewer.", tuple(option for option in item.options if option != gone)))
    return hints


def _where(item: Item) -> str:
    """The quarter of the picture, unless the place is what is asked or is marked anyway."""
    asked = read(item.gold.answer)
    is_marked = item.images[0] != item.case
    if item.kind == "place" or is_marked or not item.gold.boxes or asked.slot("side") or asked.slot("level"):
        return ""
    return f"Look at the {_quarter(item.gold.boxes)} of the picture."


def _quarter(boxes: Sequence[Box]) -> str:
    x, y = boxes[0][0] + boxes[0][2] / 2, boxes[0][1] + boxes[0][3] / 2
    return f"{'top' if y < 0.5 else 'bottom'} {'left' if x < 0.5 else 'right'} quarter"
