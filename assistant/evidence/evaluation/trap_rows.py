"""Claims that share their words with a caption that does not support them: what word overlap falls for.

Most are labelled "unrelated", since the caption neither says nor denies them: the finding is only possible, is another
part's, or is told without what the claim adds. A caption with another finding on each side contradicts the side.
"""

import random
import re
from collections.abc import Iterator

from assistant.evidence.evaluation.findings import (
    FAMILY_OF,
    HEADS,
    NOT_PART,
    ON_PAGE,
    OTHER_SIDES,
    affirmed,
    with_article,
)
from assistant.evidence.evaluation.rows import Half, Row

WHAT = "What is abnormal in this image?"

_MORE = rf"(?:(?!(?:{NOT_PART})\b)[a-z]{{3,}} ){{0,2}}"
_HEDGED = re.compile(
    r"\b(?:possible|suspected|probable|suspicious for|suspicion of|questionable|cannot exclude|to rule out|to exclude)"
    rf" (?:an? |the )?(?P<phrase>{_MORE}(?P<head>{HEADS}))\b",
    re.IGNORECASE,
)
_GONE = re.compile(
    r"\b(?:resection|removal|excision|resolution|disappearance|regression|drainage|evacuation|history) of"
    rf" (?:an? |the )?(?P<phrase>{_MORE}(?P<head>{HEADS}))\b",
    re.IGNORECASE,
)
_OPPOSITES = (
    ("upper", "lower"),
    ("anterior", "posterior"),
    ("medial", "lateral"),
    ("proximal", "distal"),
    ("superior", "inferior"),
    ("frontal", "occipital"),
    ("hypodense", "hyperdense"),
    ("hypointense", "hyperintense"),
    ("hypoechoic", "hyperechoic"),
    ("acute", "chronic"),
    ("benign", "malignant"),
    ("large", "small"),
)
_ADDED = ("calcified", "cystic", "ruptured", "metastatic", "necrotic", "infected", "haemorrhagic", "congenital")


def trap_rows(half: Half, figure_id: str, caption: str, draw: random.Random) -> Iterator[Row]:
    """The traps that one caption gives, often none."""

    def row(made: str, answer: str, label: str = "unrelated") -> Row:
        return Row("roco", half, label, made, WHAT, answer, caption, figure_id)  # type: ignore[arg-type]

    for made, pattern in (("only possible", _HEDGED), ("gone", _GONE)):
        match = pattern.search(caption)
        if match and len(re.findall(rf"\b{match['head']}", caption, re.IGNORECASE)) == 1:
            yield row(made, f"There is {with_article(match['phrase'].lower())}.")
    lower = caption.lower()
    found = list(affirmed(caption))
    for finding in found[:1]:
        phrase = finding.phrase(finding.side)
        for pair in _OPPOSITES:
            said, other = pair if pair[0] in phrase.split() else pair[::-1]
            if said in phrase.split() and other not in lower:
                yield row("the opposite adjective", f"There is {with_article(phrase.replace(said, other))}.")
        added = draw.choice([word for word in _ADDED if word[:5] not in lower])
        if draw.random() < 0.3 and not finding.more:
            before, _, after = phrase.partition(finding.head)
            yield row("more than is told", f"There is {with_article(f'{before}{added} {finding.head}{after}')}.")
    sided = {finding.side: finding for finding in found if finding.side}
    if len(sided) == 2 and not OTHER_SIDES.search(caption) and not ON_PAGE.search(caption):
        left, right = sided["left"], sided["right"]
        alone = all(len(re.findall(rf"\b{item.head}", lower)) == 1 for item in (left, right))
        if FAMILY_OF[left.head] != FAMILY_OF[right.head] and alone:
            yield row("each side has its own", f"There is {with_article(left.phrase('right'))}.", "side")
            yield row("each side has its own", f"There is {with_article(right.phrase('left'))}.", "side")
    placed = [finding for finding in found if finding.place]
    if (
        len(placed) >= 2
        and placed[0].place != placed[1].place
        and FAMILY_OF[placed[0].head] != FAMILY_OF[placed[1].head]
    ):
        claim = f"{placed[0].more}{placed[0].head} in the {placed[1].place}"
        yield row("in the other's place", f"There is {with_article(claim)}.")
