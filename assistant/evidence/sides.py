"""Left, right and both: which side each word of a clause is on.

"Right heart", "left panel", "left to right" and "left untreated" are no side of a finding; "contralateral" is the other
of the one side named before it. Where a clause names several sides, a word takes the one before it, else the next.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.evidence import words
from assistant.evidence.tokens import Token

BOTH = frozenset({"left", "right"})
# Sides that are none of the two by name: "unilateral", or "contralateral" to nothing that was named.
UNKNOWN = "unknown"
_NAMES = {"left": frozenset({"left"}), "right": frozenset({"right"}), "bilateral": BOTH}
_OTHER = {"left": frozenset({"right"}), "right": frozenset({"left"})}
_END = re.compile(r"(?: sides?| of them)?[\s.]*$")


@dataclass(frozen=True)
class Side:
    """A side as named at `text[start:end]`; `bound_to` is where the part ends that alone is meant, 0 for none."""

    sides: frozenset[str]
    start: int
    end: int
    bound_to: int = 0


def read_sides(text: str, tokens: Sequence[Token]) -> list[Side]:
    """The sides that a lower-case text names, in order."""
    found: list[Side] = []
    named: set[str] = set()
    for token in tokens:
        name = words.SIDES.get(token.word, "bilateral" if token.word == "both" else "")
        after = text[token.end :].lstrip(" -")
        if not name or not _is_side(text, token, after):
            continue
        part = words.SIDED_PARTS.match(after) if name in _OTHER else None
        bound_to = _end_of_name(text, tokens, len(text) - len(after) + part.end()) if part else 0
        found.append(Side(_sides(name, named), token.start, token.end, bound_to))
        named |= _NAMES.get(name, frozenset())
    return found


def _sides(name: str, named: set[str]) -> frozenset[str]:
    if name in _NAMES:
        return _NAMES[name]
    if len(named) == 1 and name != "unilateral":
        (only,) = named
        return _OTHER[only] if name == "contralateral" else frozenset({only})
    return frozenset({UNKNOWN})


def _is_side(text: str, token: Token, after: str) -> bool:
    before = text[: token.start]
    if token.word == "both":
        return bool(words.PAIRED.match(after) or _END.match(text, token.end))
    is_label = before.rstrip().endswith("(") and after.startswith(")")
    is_heading = after.startswith(":") and not before.strip()
    is_on_page = words.NOT_A_SIDE_AFTER.match(after) or words.NOT_A_SIDE_BEFORE.search(before)
    return not (is_label or is_heading or is_on_page)


def _end_of_name(text: str, tokens: Sequence[Token], end: int) -> int:
    """Where the words that go on at once after `end` stop: "right atrial mass" is one name."""
    for token in (token for token in tokens if token.start >= end):
        if not token.terms or text[end : token.start].strip(" -"):
            break
        end = token.end
    return end


def side_of(token: Token, free: Sequence[Side], bound: Sequence[Side]) -> Side | None:
    """The one of its clause's sides that a word is on, if any."""
    own = next((side for side in bound if side.start < token.start < side.bound_to), None)
    if own or not free:
        return own
    before = [side for side in free if side.start < token.start]
    return before[-1] if before else free[0]
