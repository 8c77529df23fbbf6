"""The simplest ways to judge a claim, beside which evidence must show its worth.

`overlap` counts shared words. `overlap_and_cues` also looks whether one of the two texts names another side, or denies.
"""

import re
from collections.abc import Sequence

from assistant.evidence.evaluation.rows import Row

SHARES = tuple(share / 20 for share in range(6, 21))

_STOPS = """
a an the of in on at to is are was were be been there this that it what which where how does do did can any with and or
by for from as image picture figure shows show shown showing seen abnormal abnormality patient disease diseases side
located many large used taken yes no not
"""
_STOP = frozenset(_STOPS.split())
_DENIALS = frozenset({"no", "not", "without", "none", "absence", "absent", "negative"})
_SIDES = frozenset({"left", "right", "bilateral"})


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+(?:\.\d+)?", text.lower())


class Overlap:
    """Supported where at least `share` of the content words of question and answer are in the caption."""

    def __init__(self, share: float, *, cues: bool) -> None:
        self._share, self._cues = share, cues

    def __call__(self, row: Row) -> str:
        """ "supported", "side", "negation" or "not_found"."""
        question, answer, caption = _words(row.question), _words(row.answer), set(_words(row.caption))
        said = set(question) | set(answer)
        content = said - _STOP - _SIDES
        if not content or len(content & caption) < self._share * len(content):
            return "not_found"
        if self._cues:
            sides, told = said & _SIDES, caption & _SIDES
            if sides and told and not sides & told:
                return "side"
            if bool(set(answer) & _DENIALS) != bool(caption & _DENIALS):
                return "negation"
        return "supported" if self._cues or (said & _SIDES) <= caption else "not_found"


def tuned(rows: Sequence[Row], *, cues: bool) -> tuple[Overlap, float]:
    """The baseline with the share that is right most often on these rows, and that share."""

    def right(share: float) -> int:
        judge = Overlap(share, cues=cues)
        return sum((judge(row) == "supported") == (row.label == "supported") for row in rows)

    share = max(SHARES, key=right)
    return Overlap(share, cues=cues), share
