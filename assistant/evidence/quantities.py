"""The numbers of a sentence that say something: lengths, counts, levels of the spine, grades, ordinals, shares.

    [length] = read_quantities(text, tokens(text))          # text = "A mass of 3 cm"
    length.kind, length.values                                # "length", (30.0,)

Numbers of figures, cases and panels say nothing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from assistant.evidence import words
from assistant.evidence.tokens import Token, lower

_NUMBER = r"\d+(?:[.,]\d+)?"
# Millimetres, millilitres and so on: the first unit of each kind is 1.
_UNITS: dict[str, dict[str, float]] = {
    "length": {"mm": 1, "millimet": 1, "cm": 10, "centimet": 10, "µm": 0.001, "μm": 0.001, "micron": 0.001},
    "volume": {"ml": 1, "cc": 1, "cm3": 1, "mm3": 0.001, "l": 1000},
    "share": {"%": 1, "percent": 1, "per cent": 1},
    "pressure": {"mmhg": 1},
    "density": {"hu": 1, "hounsfield": 1},
    "angle": {"°": 1, "degree": 1},
    "time": {"hour": 1 / 24, "day": 1, "week": 7, "month": 30.4, "year": 365, "yr": 365},
    "field": {"t": 1, "tesla": 1},
    "heart rate": {"bpm": 1},
}
_SCALE = {unit: (kind, factor) for kind, units in _UNITS.items() for unit, factor in units.items()}
_UNIT = "|".join(re.escape(unit) for unit in sorted(_SCALE, key=len, reverse=True))
_MEASURE = re.compile(
    rf"(?<![\w.])({_NUMBER}(?:\s*(?:mm|cm)?\s*(?:x|×|\*|by|-|–|to|and)\s*{_NUMBER}){{0,2}})[\s-]*"
    rf"({_UNIT})(?:er|re|s|ers|res|ths|units)?(?![a-z\d])"
)
_SPLIT_NUMBER = re.compile(_NUMBER)
_LEVEL = re.compile(r"(?<![\w-])([CTLS])(\d{1,2})(?:\s?[-–/]\s?([CTLS])?(\d{1,2}))?(?![\w])")
_LAST_LEVEL = {"C": 8, "T": 12, "L": 5, "S": 5}
_ORDER = "CTLS"
# T1 and T2 are weightings of MRI and stages of tumours as well.
_SPINE = re.compile(r"vertebr|spin(?:e|al)|\bdis[ck]s?\b|cord\b|lamin|pedicle|kypho|scolio|interspace|thoracic|foramen")
_GRADE = re.compile(
    r"\b(grade|stage|type|class|segment|zone|bi-?rads|category)\s*[-:]?\s*(\d+|[ivx]{1,4})(?:[abc])?(?![\w.])"
)
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "x": 10}
_ORDINALS = {"second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9}
_ORDINALS |= {"tenth": 10, "eleventh": 11, "twelfth": 12}
_ORDINAL = re.compile(rf"\b(\d{{1,2}}(?:st|nd|rd|th)|{'|'.join(_ORDINALS)})\b")
_COUNT = re.compile(rf"(?<![\w.,/-])(\d{{1,2}}|{'|'.join(words.NUMBER_WORDS)})(?![\w.,/%-]|\s*(?:x|×|of the)\b)")
_LABELS = re.compile(r"\b(?:figs?\.?|figures?|cases?|patients?|panels?|tables?|days?|weeks?|no\.|group|at|after)\s*$")

Kind = Literal["length", "level", "grade", "ordinal", "count", "bare"] | str


@dataclass(frozen=True)
class Quantity:
    """Numbers of one kind at `text[start:end]`; `about` are the terms that are counted, graded or ordered."""

    kind: Kind
    values: tuple[float | str, ...]
    start: int
    end: int
    about: tuple[str, ...] = ()
    step: float = 0.0
    text: str = ""

    def comparable(self, other: "Quantity") -> bool:
        return self.kind == other.kind and self.about[-1:] in (other.about[-1:], *((term,) for term in other.about))

    def agrees(self, told: Sequence["Quantity"]) -> bool:
        """Whether each value is among those told, as exactly as it was said."""
        others = [value for item in told for value in item.values]
        return all(any(self._same(value, other) for other in others) for value in self.values)

    def _same(self, said: float | str, told: float | str) -> bool:
        if isinstance(said, str) or isinstance(told, str):
            return said == told
        return abs(said - told) <= min(self.step / 2, 0.1 * abs(told)) + 1e-9


def read_quantities(text: str, tokens: Sequence[Token]) -> list[Quantity]:
    """The quantities of one sentence, by place."""
    low = lower(text)
    found: list[Quantity] = []
    taken: list[tuple[int, int]] = []
    for reader in (_levels(text, low), _measures(low), _grades(low), _ordinals(low, tokens), _counts(low, tokens)):
        for quantity in reader:
            if not any(start < quantity.end and quantity.start < end for start, end in taken):
                found.append(replace(quantity, text=text[quantity.start : quantity.end]))
                taken.append((quantity.start, quantity.end))
    return sorted(found, key=lambda quantity: quantity.start)


def _levels(text: str, low: str) -> Iterator[Quantity]:
    for match in _LEVEL.finditer(text):
        region, number, other, last = match[1], int(match[2]), match[3] or match[1], match[4]
        if not 1 <= number <= _LAST_LEVEL[region] or (last and not 1 <= int(last) <= _LAST_LEVEL[other]):
            continue
        if "T" in (region, other) and not _SPINE.search(low):
            continue
        first = f"{region}{number}"
        if not last:
            yield Quantity("level", (first,), *match.span(), ("vertebra",))
        elif _next_to(region, number, other, int(last)):
            # What lies between two neighbours is a place of its own.
            yield Quantity("level", (f"{first}-{other}{int(last)}",), *match.span(), ("disc",))
        else:
            yield Quantity("level", (f"{first} to {other}{int(last)}",), *match.span(), ("levels",))


def _next_to(region: str, number: int, other: str, last: int) -> bool:
    if region == other:
        return last == number + 1
    ends = number in (_LAST_LEVEL[region], _LAST_LEVEL[region] - (region == "C"))
    return ends and last == 1 and _ORDER.index(other) == _ORDER.index(region) + 1


def _measures(low: str) -> Iterator[Quantity]:
    for match in _MEASURE.finditer(low):
        kind, factor = _SCALE[match[2]]
        numbers = [number.replace(",", ".") for number in _SPLIT_NUMBER.findall(match[1])]
        step = max(10.0 ** -len(number.partition(".")[2]) for number in numbers) * factor
        yield Quantity(kind, tuple(float(number) * factor for number in numbers), *match.span(), step=step)


def _grades(low: str) -> Iterator[Quantity]:
    for match in _GRADE.finditer(low):
        value = _ROMAN.get(match[2]) or (int(match[2]) if match[2].isdigit() else None)
        if value is not None:
            yield Quantity("grade", (float(value),), *match.span(), (match[1],))


def _ordinals(low: str, tokens: Sequence[Token]) -> Iterator[Quantity]:
    for match in _ORDINAL.finditer(low):
        said = match[1]
        value = float(re.sub(r"\D", "", said)) if said[0].isdigit() else float(_ORDINALS[said])
        if about := nouns_after(low, match.end(), tokens):
            yield Quantity("ordinal", (value,), *match.span(), about)


def _counts(low: str, tokens: Sequence[Token]) -> Iterator[Quantity]:
    for match in _COUNT.finditer(low):
        if _LABELS.search(low[: match.start()]):
            continue
        value = float(words.NUMBER_WORDS.get(match[1], match[1]))
        about = nouns_after(low, match.end(), tokens)
        if about:
            yield Quantity("count", (value,), *match.span(), about)
        elif not low[: match.start()].strip():
            yield Quantity("bare", (value,), *match.span())


def nouns_after(text: str, end: int, tokens: Sequence[Token]) -> tuple[str, ...]:
    """The content words that follow at once; the last is what is counted: "two large renal cysts" counts cysts."""
    nouns: list[str] = []
    for token in (token for token in tokens if token.start >= end):
        if not token.terms or text[end : token.start].strip(" -"):
            break
        nouns.append(token.terms[-1])
        end = token.end
    return tuple(nouns)
