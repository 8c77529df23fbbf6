"""What tells look-alikes apart: the features of a class of pictures, and the checklist of a pair.

    features_of(item)                                # ("thin spikes run out from the edge", ...)
    checklist([spiculated, oval], others, draw)      # what to tick, and which picture shows it

What is ticked is marked against the teacher's own column, the drawing's program, the key's slots, or a cited book.
"""

import random
from collections.abc import Sequence

from assistant.study.items import Item
from assistant.study.reading import read

EACH = 2
"""Features of a class on a checklist, which has those of three."""

# Class of answers -> answer -> what it shows. Those of drawings are how they are drawn; those of blood cells are the
# caption of "Granular Leukocytes", Betts et al., Anatomy and Physiology 2e (OpenStax, CC BY 4.0).
FEATURES: dict[str, dict[str, tuple[str, ...]]] = {
    "shape": {
        "round": ("as wide as long", "no bulges and no spikes"),
        "oval": ("longer than wide", "no bulges and no spikes"),
        "lobulated": ("a few wide bulges",),
        "spiculated": ("many thin spikes",),
    },
    "window": {
        "lung window": ("vessels inside the lung can be told apart", "soft tissue is one white"),
        "soft-tissue window": ("fat can be told from muscle", "the lung is black"),
        "bone window": ("the inside of bone can be seen", "soft tissue is one grey"),
    },
    "artefact": {
        "motion": ("edges repeat along one direction",),
        "streaks": ("rays start from a very dense object", "bright and dark lines in turn"),
        "rings": ("circles around the middle of the slice",),
        "wrap-around": ("a part of the body at the opposite edge",),
        "no artefact": ("every edge is single, everything in its place",),
    },
    "blood cell": {
        "neutrophil": ("small granules that stain light lilac", "a nucleus with two to five lobes"),
        "eosinophil": ("granules that stain reddish-orange", "a nucleus with two to three lobes"),
        "basophil": ("large granules that stain dark blue to purple", "a two-lobed nucleus"),
    },
}  # fmt: skip


def features_of(item: Item) -> tuple[str, ...]:
    """What an item's picture shows: the teacher's words, else those of its class and the side and level of its key."""
    if item.gold.features:
        return item.gold.features
    said = [read(text) for text in (item.gold.answer, *item.gold.facts)]
    sides = sorted({side for one in said for side in one.slot("side") if side in ("left", "right")})
    levels = sorted({level for one in said for level in one.slot("level")})
    return (
        *FEATURES.get(item.vocabulary, {}).get(item.gold.answer, ()),
        *(f"on the patient's {side}" for side in sides if len(sides) == 1),
        *(f"at the {level} level" for level in levels if len(levels) == 1),
    )


def checklist(
    shown: Sequence[Item], others: Sequence[Item], draw: random.Random
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """What may be ticked, and each feature that one picture of the two shows alone, with its letter.

    `others` are items of further keys. The list has features of three classes whether the two pictures are of one class
    or of two, so that it tells nothing. Nothing at all where features are known of too few classes.
    """
    of_two = [features_of(item) for item in shown]
    classes = {found: None for found in of_two if found}
    for item in draw.sample(others, len(others)):
        found = features_of(item)
        # A class that adds nothing of its own would leave nothing wrong to tick.
        if len(classes) < 3 and set(found) - {feature for known in classes for feature in known}:
            classes[found] = None
    if not all(of_two) or len(classes) < 3:
        return (), ()
    listed: list[str] = []
    for found in classes:
        fresh = [feature for feature in found if feature not in listed]
        listed += draw.sample(fresh, min(EACH, len(fresh)))
    one, two = of_two
    tells = tuple(
        (feature, letter)
        for letter, own, other in (("A", one, two), ("B", two, one))
        for feature in own
        if feature in listed and feature not in other
    )
    return tuple(sorted(listed)), tells
