"""A crawler that looks for the key in everything that reached a learner before the commitment.

told(item, received, headers)          # what leaked, [] for nothing
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from assistant.study.items import Item
from assistant.study.reading import plain

# Where the key stands among all others of its kind, so that its being there tells nothing.
LISTS = ("options", "suggestions", "checklist")
SHORTEST = 3
GRAM = 4
PIXEL_CHUNKS = ("IHDR", "PLTE", "IDAT", "IEND")


def told(item: Item, received: Mapping[str, Any], extra: str = "") -> list[str]:
    """What of an item's secrets is in what was received: a `PublicItem` as data, and anything else as text.

    The lists of options and suggestions are left out, and so is what the stem itself asks about.
    """
    shown = {name: value for name, value in received.items() if name not in LISTS}
    text = _spaced(json.dumps(shown, ensure_ascii=False) + " " + extra)
    stem = _spaced(item.stem)
    found = []
    for key in (item.gold.answer, *item.gold.synonyms):
        words = _spaced(key)
        if len(words) >= SHORTEST and words not in stem and re.search(rf"\b{re.escape(words)}\b", text):
            found.append(f"the key {key!r}")
    for hidden in (item.item_id, item.case, *item.images, item.skill.skill_id, item.source if item.source else "-"):
        if hidden != "-" and hidden and hidden in json.dumps(shown, ensure_ascii=False) + extra:
            found.append(f"an id or the source: {hidden}")
    why = _spaced(item.explanation).split()
    grams = (" ".join(why[at : at + GRAM]) for at in range(len(why) - GRAM + 1))
    found.extend(f"the explanation: {gram!r}" for gram in grams if gram in text and gram not in stem)
    for box in item.gold.boxes:
        if any(f"{value:.3f}" in text for value in box if 0 < value < 1):
            found.append("a box")
    return found


def _spaced(text: str) -> str:
    """In its normal form, a hyphen as good as a space."""
    return " ".join(plain(text).replace("-", " ").split())


def in_picture(data: bytes) -> list[str]:
    """What a PNG holds beside its pixels, by the names of its chunks."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return ["a picture that is no PNG"]
    names: list[str] = []
    at = 8
    while at + 8 <= len(data) and "IEND" not in names:
        names.append(data[at + 4 : at + 8].decode("latin-1"))
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return [f"a chunk {name} in the picture" for name in names if name not in PIXEL_CHUNKS] + (
        ["bytes after the picture"] if at != len(data) else []
    )


def positions(asked: list[tuple[Item, tuple[str, ...]]]) -> dict[str, Any]:
    """How often the key stood at each place of shuffled options, with the chi-square test's p."""
    from scipy.stats import chisquare

    counts: Counter[int] = Counter()
    for item, options in asked:
        if item.gold.answer in options and len(options) == 3 and not all(option.isdigit() for option in options):
            counts[options.index(item.gold.answer)] += 1
    observed = [counts[at] for at in range(3)]
    p = float(chisquare(observed).pvalue) if sum(observed) >= 15 else None
    return {"counts": observed, "p": p}
