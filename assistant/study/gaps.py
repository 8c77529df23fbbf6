"""Captions with one gap: what a similar figure's own caption says, to be filled in, about that figure and no other.

[gap] = make_gaps(hits)
gap.text, gap.check("effusion").outcome
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assistant.evidence import words
from assistant.evidence.statement import is_finding, read_statement
from assistant.evidence.tokens import tokens
from assistant.study.grade import Graded, grade
from assistant.study.items import Gold
from retrieval.figures import Figure, Hit

LEAST_WORDS = 8
GAP = "_____"
MOST = 3
_MARKS = re.compile(r"\b(?:arrow|arrowhead|asterisk|star|circle|panel)s?\b|\([A-Za-z]\)", re.IGNORECASE)
# Findings that a caption can be asked for: those that have a name of their own.
_NAMED = (
    frozenset((*words.WIDER, *(group[0] for group in words.SYNONYMS))) - words.PLACES - words.DEGREES - words.PLANES
)


@dataclass(frozen=True)
class Gap:
    """A figure's caption without one of its words; `key` is that word, as the caption has it."""

    figure: Figure
    rank: int
    text: str
    key: str

    @property
    def headline(self) -> str:
        return f"about figure {self.figure.pmcid or self.figure.figure_id}, not your image"

    def check(self, said: str) -> Graded:
        return grade(Gold(self.key), said)


def make_gaps(hits: Sequence[Hit]) -> list[Gap]:
    """At most three, of captions that can be asked about without their picture's marks."""
    found: list[Gap] = []
    keys: set[str] = set()
    for hit in hits:
        gap = next((gap for gap in _gaps(hit) if gap.key.lower() not in keys), None)
        if gap and len(found) < MOST:
            keys.add(gap.key.lower())
            found.append(gap)
    return found


def _gaps(hit: Hit) -> Iterator[Gap]:
    caption = hit.figure.caption
    if len(caption.split()) < LEAST_WORDS or _MARKS.search(caption):
        return
    statement = read_statement(caption)
    named = [token for token in tokens(caption) if token.terms]
    for item in statement.strict().occurrences:
        if item.term not in _NAMED or not is_finding(item.term) or item.start < 0 or item.polarity != "affirmed":
            continue
        # A term that stands elsewhere in the caption, in any form, would fill the gap itself.
        if sum(item.term in token.terms for token in named) == 1:
            text = f"{caption[: item.start]}{GAP}{caption[item.end :]}"
            yield Gap(hit.figure, hit.rank, text, caption[item.start : item.end])
