"""One text as the statement it makes: what it names, on which side, where, and whether it denies it.

statement = read_statement("No pleural effusion on the left.")
[effusion] = statement.of("effusion")
effusion.polarity, effusion.sides, effusion.places      # "negated", {"left"}, {"pleura"}
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from assistant.evidence import words
from assistant.evidence.negation import Polarities, Polarity, Reach, read_polarity
from assistant.evidence.quantities import Quantity, read_quantities
from assistant.evidence.sides import BOTH, Side, read_sides, side_of
from assistant.evidence.tokens import Token, lower, sentences, tokens

Span = tuple[int, int]

_BREAK = re.compile(r"[.,;:()\[\]]")
_BREAKING_WORD = re.compile(
    r"and|but|or|nor|with|while|whereas|although|though|however|which|who|besides|except|indicat\w*|associated|also"
)
_SHOWING = re.compile(r"show\w*|demonstrat\w*|reveal\w*|depict\w*|display\w*")
# "(arrow)" stands between words that belong together; "RA, right atrium; LV, left ventricle" finds nothing anywhere.
_NOT_SAID = re.compile(
    r"\([^()]*\b(?i:arrow|arrowhead|asterisk|star|circle|line|dot)s?\b[^()]*\)"
    r"|(?:\b(?!CT|MR|US|PET)[A-Z]{2,5}\s*[-–=:,]\s*[a-z][^,;:=()]{2,60}(?:[,;.]\s*|(?=\))|$)){2,}"
)
_TURNED: dict[Polarity, Polarity] = {"affirmed": "negated", "negated": "affirmed", "unclear": "unclear"}


@dataclass(frozen=True)
class Occurrence:
    """A term where it stands, at `text[start:end]`; -1 where it is the question's.

    `degrees` are words such as "large" that are denied with it: "no large effusion" leaves a small one possible.
    `cue` is where the text denies it, `side_at` where it names the side; `clause` counts within the sentence.
    `is_wider`: the text names a kind of it ("glioma" for "tumor"). `is_context`: something is denied of it.
    `side_is_inherited`: the side is named before its clause, or before what denies it.
    """

    term: str
    start: int
    end: int
    polarity: Polarity
    sides: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    degrees: frozenset[str] = frozenset()
    cue: Span | None = None
    side_at: Span | None = None
    clause: int = 0
    is_wider: bool = False
    is_context: bool = False
    side_is_inherited: bool = False


@dataclass(frozen=True)
class Modality:
    """Modalities that one word names."""

    names: frozenset[str]
    start: int
    end: int
    is_denied: bool = False


@dataclass(frozen=True)
class Statement:
    """What a sentence, or a text taken as one, says. Spans are into the text that it was read from."""

    occurrences: tuple[Occurrence, ...] = ()
    sides: tuple[Side, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    modalities: tuple[Modality, ...] = ()

    @cached_property
    def terms(self) -> tuple[str, ...]:
        """The content words in order, each once."""
        return tuple(dict.fromkeys(item.term for item in self.occurrences))

    def of(self, term: str) -> list[Occurrence]:
        return [item for item in self.occurrences if item.term == term]

    def strict(self) -> "Statement":
        """Only what is named itself, as a claim is read."""
        return replace(self, occurrences=tuple(item for item in self.occurrences if not item.is_wider))

    def turned(self) -> "Statement":
        """What "no" says to it: its findings the other way round; without any, its modality, else its places."""
        if self.modalities and not any(is_finding(item.term) for item in self.occurrences):
            modalities = tuple(replace(item, is_denied=not item.is_denied) for item in self.modalities)
            return replace(self, modalities=modalities)
        turned = tuple(replace(item, polarity=_TURNED[item.polarity]) for item in self.occurrences)
        return replace(self, occurrences=turned)

    def moved(self, by: int) -> "Statement":
        """With all spans further on by so many characters."""

        def move(span: Span | None) -> Span | None:
            return (span[0] + by, span[1] + by) if span else None

        return Statement(
            tuple(
                replace(item, start=item.start + by, end=item.end + by, cue=move(item.cue), side_at=move(item.side_at))
                for item in self.occurrences
            ),
            tuple(replace(side, start=side.start + by, end=side.end + by) for side in self.sides),
            tuple(replace(item, start=item.start + by, end=item.end + by) for item in self.quantities),
            tuple(replace(item, start=item.start + by, end=item.end + by) for item in self.modalities),
        )

    def asked(self) -> "Statement":
        """As context of an answer: without spans, since it is not in the answer."""
        return Statement(
            tuple(replace(item, start=-1, end=-1, cue=None, side_at=None) for item in self.occurrences),
            tuple(replace(side, start=-1, end=-1) for side in self.sides),
            tuple(replace(item, start=-1, end=-1) for item in self.quantities),
            tuple(replace(item, start=-1, end=-1) for item in self.modalities),
        )

    def answering(self, question: "Statement", counted: tuple[str, ...] = ()) -> "Statement":
        """A short answer together with its question, as one clause: its side and its place are everything's.

        `counted` are the terms that a bare number counts.
        """
        asked = question.asked()
        named = frozenset(side for item in (self.sides or asked.sides) for side in item.sides)
        at = next(((side.start, side.end) for side in self.sides), None)
        places = frozenset(item.term for item in (*asked.occurrences, *self.occurrences) if item.term in words.PLACES)
        known = {item.term for item in self.occurrences}
        context = [
            replace(item, sides=named, places=places, side_at=at)
            for item in asked.occurrences
            if item.term not in known
        ]
        own = (replace(item, sides=item.sides if self.sides else named, places=places) for item in self.occurrences)
        numbers = (
            replace(item, kind="count", about=counted) if item.kind == "bare" and counted else item
            for item in self.quantities
        )
        return Statement(
            (*context, *own),
            self.sides or asked.sides,
            (*asked.quantities, *numbers),
            self.modalities or asked.modalities,
        )


@lru_cache(maxsize=4096)
def read_statement(text: str) -> Statement:
    """A text as one statement, whatever its sentences."""
    parts = read_sentences(text)
    return Statement(
        tuple(item for part in parts for item in part.occurrences),
        tuple(item for part in parts for item in part.sides),
        tuple(item for part in parts for item in part.quantities),
        tuple(item for part in parts for item in part.modalities),
    )


@lru_cache(maxsize=4096)
def read_sentences(text: str) -> tuple[Statement, ...]:
    """Each sentence as a statement. One that names no place is about the places and the side named before it."""
    read: list[Statement] = []
    places: frozenset[str] = frozenset()
    side: Side | None = None
    for start, end in sentences(text):
        reader = _Sentence(text[start:end], places, side)
        read.append(reader.statement().moved(start))
        places, side = reader.places or places, reader.last_side or side
    return tuple(read)


@dataclass
class _Clause:
    number: int
    tokens: list[Token]
    free: list[Side]
    bound: list[Side]
    is_added: bool
    is_shown: bool

    @cached_property
    def places(self) -> frozenset[str]:
        named = (term for token in self.tokens for term in (*token.terms, *token.wider))
        return frozenset(term for term in named if term in words.PLACES)

    @cached_property
    def has_findings(self) -> bool:
        return any(is_finding(term) for token in self.tokens for term in token.terms)


class _Sentence:
    def __init__(self, text: str, places: frozenset[str], side: Side | None) -> None:
        text = _NOT_SAID.sub(lambda match: " " * len(match[0]), text)
        low = lower(text)
        self._tokens = tokens(text)
        self._polarities: Polarities = read_polarity(low)
        self._all_sides = read_sides(low, self._tokens)
        self._quantities = read_quantities(text, self._tokens)
        self._clauses = list(_clauses(low, self._tokens, self._all_sides))
        self._earlier = places, side
        self.places = frozenset(place for clause in self._clauses for place in clause.places)
        self.last_side = next((replace(side, start=-1, end=-1) for side in self._all_sides if not side.bound_to), None)

    def statement(self) -> Statement:
        occurrences = tuple(item for at in range(len(self._clauses)) for item in self._read(at))
        return Statement(occurrences, tuple(self._all_sides), tuple(self._quantities), tuple(self._modalities()))

    def _read(self, at: int) -> Iterator[Occurrence]:
        clause = self._clauses[at]
        places, inherited = clause.places, None
        if clause.is_shown or not places:
            before, inherited = self._before(at)
            places |= before
        for token in clause.tokens:
            side = side_of(token, clause.free, clause.bound)
            if side is None and not clause.free:
                side = inherited
            yield from self._occurrences(token, clause, places, side)
        yield from self._added(at)

    def _before(self, at: int) -> tuple[frozenset[str], Side | None]:
        """The places and the side that a clause without a place is about."""
        before = self._clauses[:at]
        places = frozenset(place for clause in before for place in clause.places)
        side = next((clause.free[-1] for clause in reversed(before) if clause.free), None)
        if places or side:
            return places, side
        return self._earlier if not any(clause.places for clause in self._clauses) else (frozenset(), None)

    def _added(self, at: int) -> Iterator[Occurrence]:
        """What "and the left adrenal gland" adds: what was found before it is there too."""
        first = self._clauses[at]
        if not first.has_findings:
            return
        for clause in self._clauses[at + 1 :]:
            if clause.has_findings or not clause.is_added or not (clause.places or clause.free):
                return
            for token in first.tokens:
                side = side_of(token, clause.free, clause.bound)
                if any(is_finding(term) for term in token.terms) and token.start < clause.tokens[0].start:
                    yield from self._occurrences(token, first, clause.places or first.places, side)

    def _occurrences(
        self, token: Token, clause: _Clause, places: frozenset[str], side: Side | None
    ) -> Iterator[Occurrence]:
        reach = self._polarities.reach_at(token.start)
        polarity: Polarity = reach.polarity if reach else "affirmed"
        # Without the wider terms where it is denied: no carcinoma may still be a tumour.
        for term in token.terms if polarity != "affirmed" else (*token.terms, *token.wider):
            yield Occurrence(
                term,
                token.start,
                token.end,
                self._of_place(token, clause, polarity) if term in words.PLACES else polarity,
                side.sides if side else frozenset(),
                places,
                self._denied_degrees(clause) if polarity == "negated" else frozenset(),
                reach.cue if reach else None,
                (side.start, side.end) if side and side.start >= 0 else None,
                clause.number,
                term not in token.terms,
                reach.is_tail if reach else False,
                _is_inherited(side, token, clause, reach),
            )

    def _of_place(self, token: Token, clause: _Clause, polarity: Polarity) -> Polarity:
        """ "No effusion in the lung" denies no lung; "no pleural effusion" leaves open whether a pleura is seen."""
        if polarity != "negated":
            return "affirmed"
        return "unclear" if clause.has_findings else polarity

    def _denied_degrees(self, clause: _Clause) -> frozenset[str]:
        return frozenset(
            term
            for token in clause.tokens
            for term in token.terms
            if term in words.DEGREES and self._polarities.at(token.start) == "negated"
        )

    def _modalities(self) -> Iterator[Modality]:
        for token in self._tokens:
            if token.modalities:
                is_denied = self._polarities.at(token.start) == "negated"
                yield Modality(token.modalities, token.start, token.end, is_denied)


def _is_inherited(side: Side | None, token: Token, clause: _Clause, reach: Reach | None) -> bool:
    if side is None:
        return False
    is_before_cue = reach is not None and reach.cue[1] <= token.start and side.end <= reach.cue[0]
    return is_before_cue or not (clause.free or clause.bound)


def is_finding(term: str) -> bool:
    """Whether a term says what there is, not where, in which plane or how much."""
    return term not in words.PLACES and term not in words.PLANES and term not in words.DEGREES


def _clauses(low: str, found: Sequence[Token], sides: Sequence[Side]) -> Iterator[_Clause]:
    parts: list[tuple[list[Token], str]] = [([], "")]
    end = 0
    for token in found:
        gap = low[end : token.start]
        if _BREAKING_WORD.fullmatch(token.word):
            parts.append(([], token.word))
        elif _SHOWING.fullmatch(token.word):
            parts.append(([], "shown"))
        elif _BREAK.search(gap):
            parts.append(([token], gap.strip()))
        else:
            parts[-1][0].append(token)
        end = token.end
    for number, (part, after) in enumerate(parts):
        if not part:
            continue
        within = [side for side in sides if part[0].start <= side.start <= part[-1].start]
        free = [side for side in within if not side.bound_to]
        bound = [side for side in within if side.bound_to]
        yield _Clause(number, part, free, bound, after in (",", "and", "or", "nor"), after == "shown")


def named_sides(statement: Statement) -> frozenset[str]:
    """Every side that is named, "bilateral" as both."""
    return frozenset(side for item in statement.sides for side in item.sides) & BOTH
