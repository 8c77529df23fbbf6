"""Queries made from captions by rules, for finding the caption again.

two_thirds("Axial CT of the abdomen showing a cyst.")       # "Axial CT of the abdomen showing"
paraphrase("X-ray showing a left effusion.")    # "radiograph demonstrating a left-sided effusion"
some_words("Chest X-ray showing a left pneumothorax.", 3, random.Random(1))
"""

import random
import re

from retrieval.words import content_words

LEAST_WORDS = 4
"""Captions of fewer words of content name no one figure ("Axial view.")."""

_SYNONYMS = (
    ("chest x-ray", "chest radiograph"),
    ("radiograph", "x-ray film"),
    ("x-ray", "radiograph"),
    ("computed tomography", "CT"),
    ("ct scan", "computed tomography"),
    ("ct", "computed tomography"),
    ("magnetic resonance imaging", "MRI"),
    ("magnetic resonance image", "MR image"),
    ("mri", "magnetic resonance imaging"),
    ("ultrasonography", "ultrasound"),
    ("ultrasound", "sonography"),
    ("echocardiogram", "cardiac ultrasound"),
    ("photomicrograph", "light microscopy image"),
    ("showing", "demonstrating"),
    ("shows", "demonstrates"),
    ("showed", "demonstrated"),
    ("demonstrating", "showing"),
    ("demonstrates", "shows"),
    ("revealed", "showed"),
    ("revealing", "showing"),
    ("reveals", "shows"),
    ("tumor", "neoplasm"),
    ("tumour", "neoplasm"),
    ("mass", "tumour"),
    ("lesion", "abnormality"),
    ("fracture", "break"),
    ("left", "left-sided"),
    ("right", "right-sided"),
    ("bilateral", "on both sides"),
    ("kidney", "renal"),
    ("renal", "kidney"),
    ("hepatic", "liver"),
    ("liver", "hepatic"),
    ("pulmonary", "lung"),
    ("lung", "pulmonary"),
    ("cardiac", "heart"),
    ("heart", "cardiac"),
    ("cerebral", "brain"),
    ("edema", "swelling"),
    ("oedema", "swelling"),
    ("hemorrhage", "bleeding"),
    ("haemorrhage", "bleeding"),
    ("large", "big"),
    ("enlarged", "increased in size"),
    ("patient", "person"),
    ("preoperative", "before surgery"),
    ("postoperative", "after surgery"),
)
_SYNONYM = dict(_SYNONYMS)
_ANY_SYNONYM = re.compile(
    r"\b(" + "|".join(re.escape(word) for word in sorted(_SYNONYM, key=len, reverse=True)) + r")\b", re.IGNORECASE
)
_ASIDE = re.compile(r"\s*[(\[][^()\[\]]*[)\]]")
_POINTERS = re.compile(
    r",?\s*(?:as\s+)?(?:indicated|marked|shown|pointed out)?\s*(?:by|with)?\s*(?:the\s+)?"
    r"(?:white|black|red|yellow|blue|green)?\s*\b(?:arrow|arrowhead|asterisk)s?\b",
    re.IGNORECASE,
)


def two_thirds(caption: str) -> str:
    """The first two thirds of the characters, to the end of a word."""
    cut = caption[: len(caption) * 2 // 3]
    return cut.rpartition(" ")[0] or cut


def paraphrase(caption: str) -> str:
    """Other words for what has some, without asides and arrows, and the last clause said first."""
    plain = _POINTERS.sub("", _ASIDE.sub("", caption)).strip(" .")
    head, comma, tail = plain.rpartition(", ")
    if comma and len(tail.split()) >= LEAST_WORDS:
        plain = f"{tail}, {head}"
    return _ANY_SYNONYM.sub(lambda match: _SYNONYM[match[0].lower()], plain) or caption


def some_words(caption: str, count: int, rng: random.Random) -> str:
    """At most `count` of the caption's words of content, drawn at random."""
    words = content_words(caption)
    return " ".join(rng.sample(words, min(count, len(words))))
