"""A claim beside one caption: supported by one of its sentences, contradicted by it, or neither.

    caption = Caption.read("Right pleural effusion.")
    judge(read_statement("Left pleural effusion"), caption).kind        # "side"

To be supported or contradicted, everything that the claim names must be named in one sentence of the caption, with
the places where it is. In doubt the caption says nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

from assistant.evidence import words
from assistant.evidence.quantities import Quantity
from assistant.evidence.sides import BOTH, UNKNOWN, Side
from assistant.evidence.statement import Occurrence, Span, Statement, is_finding, read_sentences
from retrieval.concepts import first_modality

Conflict = Literal["side", "negation", "modality", "number"]
# "no side": it is there, and its side is told, if at all, of something else that the claim names.
_Agreement = Literal["same", "side", "negation", "no side", "unclear"]

# Of a long claim, so many of the words that only say how much or how sure may be missing.
MISSING_DEGREES = 1
LONG_CLAIM = 5
# Kinds of images that are also the other, or made with it: naming one does not deny the other.
ALLIED: tuple[frozenset[str], ...] = (
    frozenset({"X-ray", "mammography", "fluoroscopy", "angiography"}),
    frozenset({"CT", "angiography", "PET"}),
    frozenset({"MRI", "angiography", "PET"}),
    frozenset({"PET", "scintigraphy"}),
    frozenset({"CT", "OCT"}),
    frozenset({"endoscopy", "photograph"}),
    frozenset({"fundus", "photograph", "angiography", "OCT"}),
    frozenset({"histology", "photograph", "electron microscopy", "blood smear"}),
    frozenset({"dermoscopy", "photograph"}),
)


@dataclass(frozen=True)
class Caption:
    """A caption read once: its sentences and the modalities that it, or its figure's record, names."""

    text: str
    sentences: tuple[Statement, ...]
    modalities: frozenset[str]
    modality: str

    @classmethod
    def read(cls, text: str, modality: str = "") -> "Caption":
        return _read_caption(text, modality)


@lru_cache(maxsize=4096)
def _read_caption(text: str, modality: str) -> Caption:
    sentences = read_sentences(text)
    named = frozenset(name for item in sentences for told in item.modalities for name in told.names)
    modalities = named or frozenset({modality} if modality else ())
    return Caption(text, sentences, modalities, first_modality(text) or modality)


@dataclass(frozen=True)
class Judgement:
    """`kind` says what the caption does to the claim; the spans are of the words that show it.

    `said` and `told` are what contradict: the claim's and the caption's own.
    """

    kind: Literal["supports"] | Conflict
    claim_spans: tuple[Span, ...]
    caption_spans: tuple[Span, ...]
    said: str = ""
    told: str = ""


def judge(claim: Statement, caption: Caption) -> Judgement | None:
    """What the caption says to the claim, None where it says nothing or its sentences say different things.

    What one sentence finds, another may deny elsewhere: "effusion on the left. No effusion on the right."
    """
    if not claim.terms:
        return _judge_modality_alone(claim, caption)
    judged = [found for sentence in caption.sentences if (found := _judge_sentence(claim, sentence, caption))]
    kinds = {found.kind for found in judged}
    is_denial = any(item.polarity == "negated" for item in claim.occurrences)
    if "supports" in kinds and not (is_denial and "negation" in kinds):
        return next(found for found in judged if found.kind == "supports")
    return judged[0] if len(kinds) == 1 else None


def _judge_modality_alone(claim: Statement, caption: Caption) -> Judgement | None:
    """ "CT" and nothing else: that a similar figure is no CT says nothing about this one."""
    if not claim.modalities or claim.sides or claim.quantities:
        return None
    told = [item for sentence in caption.sentences for item in sentence.modalities]
    if any(item.is_denied or not item.names & caption.modalities for item in claim.modalities):
        return None
    spans = _spans(item for item in told if any(item.names & said.names for said in claim.modalities))
    return Judgement("supports", _spans(claim.modalities), spans)


def _judge_sentence(claim: Statement, told: Statement, caption: Caption) -> Judgement | None:
    if not _names_all(claim, told, caption):
        return None
    findings = [item for item in claim.occurrences if is_finding(item.term)]
    weighed = findings or [item for item in claim.occurrences if item.term not in words.DEGREES]
    weighed = [item for item in weighed if not item.is_context] or weighed
    agreements = {item: _agreement(item, told, claim, weighed) for item in weighed}
    places = [item for item in claim.occurrences if item.term in words.PLACES] if findings else []
    agreements |= {item: _place_agreement(item, told, weighed) for item in places}
    ways = set(agreements.values())
    if "unclear" in ways or ways >= {"side", "negation"}:
        return None
    if "no side" in ways and not any(item.sides and way in ("same", "side") for item, way in agreements.items()):
        return None
    shown = _Shown(claim, told, caption)
    if "side" in ways:
        return shown.side([item for item, way in agreements.items() if way == "side"])
    if "negation" in ways:
        return shown.negation([item for item, way in agreements.items() if way == "negation"])
    if not _sides_are_named(claim, told):
        return None
    numbers = _numbers(claim, told)
    if numbers == "missing":
        return None
    modality = _modality(claim, caption)
    if modality == "unclear":
        return None
    if modality == "other":
        return None if numbers else shown.modality()
    return shown.number(numbers) if numbers else shown.support()


def _names_all(claim: Statement, told: Statement, caption: Caption) -> bool:
    """Whether the sentence names the claim's terms; its places and planes may be named before it.

    A finding alone must be in the sentence itself.
    """
    inherited = {place for item in told.occurrences for place in item.places}
    planes = {term for sentence in caption.sentences for term in sentence.terms if term in words.PLANES}
    missing = [term for term in claim.terms if term not in told.terms and term not in inherited and term not in planes]
    tells_degree = any(term in words.DEGREES for term in told.terms)
    allowed = MISSING_DEGREES if len(claim.terms) >= LONG_CLAIM and not tells_degree else 0
    if len(missing) > allowed or any(term not in words.DEGREES for term in missing):
        return False
    findings = [item.term for item in claim.occurrences if is_finding(item.term)]
    return not findings or any(term in told.terms for term in findings)


def _told_together(said: Occurrence, told: Statement, weighed: Sequence[Occurrence]) -> list[Occurrence]:
    """The mentions of a finding in clauses that name all of its own clause's findings, else all its mentions."""
    group = {item.term for item in weighed if item.clause == said.clause}
    named: dict[int, set[str]] = {}
    for item in told.occurrences:
        named.setdefault(item.clause, set()).add(item.term)
    mentions = told.of(said.term)
    return [item for item in mentions if named[item.clause] >= group] or mentions


def _agreement(said: Occurrence, told: Statement, claim: Statement, weighed: Sequence[Occurrence]) -> _Agreement:
    """How one finding of the claim stands in the sentence, over all its mentions there."""
    here = [item for item in _told_together(said, told, weighed) if _same_place(said, item)]
    if not here:
        return "unclear"
    if said.polarity == "unclear" or any(item.polarity == "unclear" for item in here):
        return "unclear"
    on_side = [item for item in here if _may_be_on(said, item)]
    affirmed = [item for item in on_side if item.polarity == "affirmed"]
    negated = [item for item in on_side if item.polarity == "negated"]
    if affirmed and negated:
        return "unclear"
    if any(item.degrees - set(claim.terms) for item in negated):
        return "unclear"
    if said.polarity == "affirmed":
        if negated:
            return "negation" if all(_covers(item, said) for item in negated) else "unclear"
        if any(item.sides >= said.sides for item in affirmed):
            return "same"
        if affirmed and not any(item.sides for item in affirmed):
            return "no side"
        return "side" if not on_side and _names_another(said, here) else "unclear"
    if affirmed:
        sure = not said.sides or any(item.sides & said.sides for item in affirmed)
        return "negation" if sure and not (said.degrees - set(told.terms)) else "unclear"
    return "same" if any(_covers(item, said) for item in negated) else "unclear"


def _covers(denied: Occurrence, said: Occurrence) -> bool:
    """Whether a denial is of what is said and not only of one side of it.

    A side that is named before it ("left mass and no effusion") does not narrow it.
    """
    if not denied.sides:
        return True
    return denied.sides >= said.sides if said.sides else denied.side_is_inherited


def _same_place(said: Occurrence, told: Occurrence) -> bool:
    if told.polarity == "negated" or said.polarity == "negated":
        return not said.places or not told.places or bool(said.places & told.places)
    return told.places >= said.places


def _may_be_on(said: Occurrence, told: Occurrence) -> bool:
    """Whether the two may be on the same side; what names no side may be anywhere."""
    return not said.sides or not told.sides or UNKNOWN in told.sides or bool(said.sides & told.sides)


def _names_another(said: Occurrence, told: Sequence[Occurrence]) -> bool:
    """Only a caption that names one side of the finding, and the other one, speaks against the claim."""
    sides = frozenset(side for item in told if item.polarity == "affirmed" for side in item.sides)
    return len(sides) == 1 and sides <= BOTH and not sides & said.sides


def _place_agreement(said: Occurrence, told: Statement, weighed: Sequence[Occurrence]) -> _Agreement:
    """Of a place only the side is compared: "the right ventricle" is not the left one."""
    sides = frozenset(side for item in _told_together(said, told, weighed) for side in item.sides)
    if said.sides and not sides:
        return "no side"
    if UNKNOWN in sides:
        return "unclear" if said.sides else "same"
    return "same" if not said.sides or said.sides & sides else "side"


def _sides_are_named(claim: Statement, told: Statement) -> bool:
    """Whether a claim's side that is on no word of it ("Which side?" "Left") is one that the sentence names."""
    attached = {side for item in claim.occurrences for side in item.sides}
    loose = {side for item in claim.sides for side in item.sides} - attached
    return loose <= {side for item in told.sides for side in item.sides}


def _numbers(claim: Statement, told: Statement) -> Literal["missing"] | tuple[Quantity, list[Quantity]] | None:
    """None where all agree; else "missing", or the number that differs with those told in its place."""
    for said in claim.quantities:
        others = [item for item in told.quantities if said.comparable(item)]
        if not others or said.kind == "bare":
            return "missing"
        if not said.agrees(others):
            return said, others
    return None


def _modality(claim: Statement, caption: Caption) -> Literal["same", "other", "unclear"]:
    if not claim.modalities:
        return "same"
    if not caption.modalities:
        return "unclear"
    ways: set[Literal["same", "other"]] = set()
    unclear = False
    for said in claim.modalities:
        if said.names & caption.modalities:
            ways.add("other" if said.is_denied else "same")
        elif any(group & said.names and group & caption.modalities for group in ALLIED):
            unclear = True
        else:
            ways.add("same" if said.is_denied else "other")
    return ways.pop() if len(ways) == 1 and not unclear else "unclear"


class _Placed(Protocol):
    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


class _Shown:
    """The words of claim and caption that show a judgement."""

    def __init__(self, claim: Statement, told: Statement, caption: Caption) -> None:
        self._claim, self._told, self._caption = claim, told, caption
        self._text = caption.text
        self._terms = set(claim.terms) & {term for sentence in caption.sentences for term in sentence.terms}
        self._anywhere = [item for sentence in caption.sentences for item in sentence.occurrences]

    def support(self) -> Judgement:
        claim, told = self._claim, self._told
        sides = {side for item in claim.sides for side in item.sides}
        shown = [item for item in told.occurrences if item.term in self._terms]
        named = {item.term for item in shown}
        shown += [item for item in self._anywhere if item.term in self._terms - named]
        numbers = [item for item in told.quantities if any(said.comparable(item) for said in claim.quantities)]
        names = {name for item in claim.modalities for name in item.names}
        modalities = [
            item for sentence in self._caption.sentences for item in sentence.modalities if item.names & names
        ]
        on_side = [item for item in told.sides if item.sides & sides]
        cues = [item.cue for item in shown if item.cue and item.polarity == "negated"]
        said = [item for item in claim.occurrences if item.term in self._terms]
        said_cues = [item.cue for item in said if item.cue and item.polarity == "negated"]
        return Judgement(
            "supports",
            _merge([*_spans((*said, *claim.sides, *claim.quantities, *claim.modalities)), *said_cues]),
            _merge([*_spans((*shown, *numbers, *modalities, *on_side)), *cues]),
        )

    def side(self, items: Sequence[Occurrence]) -> Judgement:
        said = items[0]
        told = [item for item in self._told.of(said.term) if item.sides and not item.sides & said.sides]
        at = [item.side_at for item in told if item.side_at]
        inherited = [] if at else _spans(item for item in self._all_sides() if item.sides == told[0].sides)
        spans = _merge([*_spans(told), *at, *inherited])
        here = _merge([*_spans(items), *(item.side_at for item in items if item.side_at)])
        return Judgement("side", here, spans, _side_words(said.sides), _side_words(told[0].sides))

    def _all_sides(self) -> list[Side]:
        return [item for sentence in self._caption.sentences for item in sentence.sides]

    def negation(self, items: Sequence[Occurrence]) -> Judgement:
        terms = {item.term for item in items}
        said = [item for item in self._claim.occurrences if item.term in terms]
        told = [item for item in self._told.occurrences if item.term in terms]
        here = _merge([*_spans(said), *(item.cue for item in said if item.cue)])
        spans = _merge([*_spans(told), *(item.cue for item in told if item.cue)])
        return Judgement("negation", here, spans, told=_quoted(self._text, spans))

    def modality(self) -> Judgement:
        names = [name for item in self._claim.modalities for name in sorted(item.names)]
        told = [item for sentence in self._caption.sentences for item in sentence.modalities]
        denied = any(item.is_denied for item in self._claim.modalities)
        said = f"no {names[0]}" if denied else names[0]
        return Judgement("modality", _spans(self._claim.modalities), _spans(told), said, self._caption.modality)

    def number(self, differing: tuple[Quantity, list[Quantity]]) -> Judgement:
        said, told = differing
        return Judgement("number", _spans([said]), _spans(told), said.text, told[0].text)


def _side_words(sides: frozenset[str]) -> str:
    return "both sides" if sides >= BOTH else " ".join(sorted(sides))


def _quoted(text: str, spans: Sequence[Span]) -> str:
    """The caption's own words from the first span to the last of those near it."""
    if not spans:
        return ""
    start, end = spans[0]
    for first, last in spans[1:]:
        if first - end > 40:
            break
        end = last
    return " ".join(text[start:end].split())


def _spans(items: Iterable[_Placed]) -> tuple[Span, ...]:
    return _merge([(item.start, item.end) for item in items])


def _merge(spans: Iterable[Span | None]) -> tuple[Span, ...]:
    """In order, each once, those that overlap as one."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span and span[0] >= 0):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)
