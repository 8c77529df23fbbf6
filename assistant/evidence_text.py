"""One text as the statement it makes: its content words, each with its side and whether it is negated.

statement = read_statement("No pleural effusion on the left.")
statement.terms                  # ("pleura", "effusion")
statement.polarity("effusion")   # "negated"
statement.sides_of("effusion")   # {"left"}
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from assistant import evidence_words as words

Polarity = Literal["affirmed", "negated", "both"]

_WORD = re.compile(r"[a-z0-9]+(?:[-'.][a-z0-9]+)*", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s+[A-Z0-9]|\s*$)[^.!?\n]*)*[.!?]*")
_ABBREVIATION = re.compile(r"(?:\b(?:fig|figs|e\.g|i\.e|vs|dr|approx|no|resp|ca)\.|\b[A-Z]\.)$", re.IGNORECASE)
_LIST_MARKER = re.compile(r"\W*(?:\d+[.)])?\W*")
_BOTH_SIDES = frozenset({"left", "right"})
_PHRASES = tuple((re.compile(pattern), name) for pattern, name in words.PHRASES)
_GROUP_OF = {member: group[0] for group in words.SYNONYMS for member in group}


@dataclass(frozen=True)
class Occurrence:
    """A content word where it stands: under which negation, and with which sides in its clause."""

    term: str
    negated: bool
    sides: frozenset[str]


@dataclass(frozen=True)
class Statement:
    """What a text says, word by word. `text` is the text as written."""

    text: str
    occurrences: tuple[Occurrence, ...]
    sides: frozenset[str]

    @cached_property
    def terms(self) -> tuple[str, ...]:
        """The content words in order, each once."""
        return tuple(dict.fromkeys(item.term for item in self.occurrences))

    def polarity(self, term: str) -> Polarity:
        """How the text says `term`, which must be one of its terms."""
        ways = {item.negated for item in self.occurrences if item.term == term}
        if len(ways) == 2:
            return "both"
        return "negated" if True in ways else "affirmed"

    def sides_of(self, term: str) -> frozenset[str]:
        """The sides named in the clauses where `term` stands; "bilateral" counts as both."""
        return frozenset(side for item in self.occurrences if item.term == term for side in item.sides)

    def negated(self) -> "Statement":
        """The same with every word's polarity turned round."""
        turned = tuple(Occurrence(item.term, not item.negated, item.sides) for item in self.occurrences)
        return Statement(self.text, turned, self.sides)

    def with_context(self, context: "Statement") -> "Statement":
        """A short answer together with its question: one clause, so the answer's side is everything's side.

        A negation stays with its own words.
        """
        sides = self.sides or context.sides
        joined = tuple(Occurrence(item.term, item.negated, sides) for item in (*context.occurrences, *self.occurrences))
        return Statement(f"{context.text} {self.text}", joined, sides)

    def surfaces_of(self, claim: "Statement") -> tuple[str, ...]:
        """This text's own words that stand for a term of `claim`, in order, each once."""
        wanted = set(claim.terms)
        found = (match[0] for match in _WORD.finditer(self.text))
        return tuple(dict.fromkeys(word for word in found if wanted & set(_terms_of(word.lower()))))


def sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence; `text[start:end]` is without surrounding space."""
    spans: list[tuple[int, int]] = []
    for match in _SENTENCE.finditer(text):
        start, end = match.span()
        if spans and _ABBREVIATION.search(text[: spans[-1][1]]) and "\n" not in text[spans[-1][1] : start]:
            start = spans.pop()[0]
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if start < end:
            spans.append((start, end))
    return [span for span in spans if not _LIST_MARKER.fullmatch(text, *span)]


@lru_cache(maxsize=4096)
def read_statement(text: str) -> Statement:
    """The statement that a text makes. Narrow words also count as their wider ones ("carcinoma" as "cancer")."""
    plain = _normalise(text)
    occurrences: list[Occurrence] = []
    for clause in _clauses(plain):
        tokens = [match[0] for match in _WORD.finditer(clause)]
        sides = _sides(tokens)
        negated_from = _negation_start(clause)
        for match in _WORD.finditer(clause):
            if match[0] in words.SIDES:
                continue
            is_negated = negated_from is not None and match.start() >= negated_from
            occurrences.extend(Occurrence(term, is_negated, sides) for term in _terms_of(match[0]))
    every_side = frozenset(side for side in _sides([match[0] for match in _WORD.finditer(plain)]))
    return Statement(text, tuple(occurrences), every_side)


def _normalise(text: str) -> str:
    # "US" is ultrasound, "us" is not: settle it while capitals are still there.
    plain = re.sub(r"\bUSG?\b", "ultrasound", text).lower().replace("’", "'")
    for british, american in words.SPELLINGS:
        plain = plain.replace(british, american)
    for pattern, name in _PHRASES:
        plain = pattern.sub(name, plain)
    return plain


def _clauses(text: str) -> Iterator[str]:
    """Parts within which a side or a negation reaches; "no a or b" stays one part."""
    start = 0
    for match in words.CLAUSE_END.finditer(text):
        is_list_word = match[0] in ("or", ",")
        if is_list_word and _negation_start(text[start : match.start()]) is not None:
            continue
        yield text[start : match.start()]
        start = match.end()
    yield text[start:]


def _negation_start(clause: str) -> int | None:
    """From which character on a clause is negated, or None. "... is not seen" negates it whole."""
    if words.NEGATIONS_AFTER.search(clause):
        return 0
    starts = [match.start() for match in words.NEGATION_PHRASES.finditer(clause)]
    starts += [match.start() for match in _WORD.finditer(clause) if words.NEGATIONS_BEFORE.match(match[0])]
    return min(starts, default=None)


def _sides(tokens: list[str]) -> frozenset[str]:
    named = {words.SIDES[token] for token in tokens if token in words.SIDES}
    return _BOTH_SIDES if "bilateral" in named else frozenset(named)


@lru_cache(maxsize=8192)
def _terms_of(word: str) -> tuple[str, ...]:
    """The terms that a lower-case word stands for: its group's name and the wider ones; () for an empty word."""
    for british, american in words.SPELLINGS:
        word = word.replace(british, american)
    word = word.removesuffix("'s")
    single = _singular(word)
    if word in words.EMPTY_WORDS or single in words.EMPTY_WORDS or word in words.SIDES:
        return ()
    if words.NEGATIONS_BEFORE.match(word) or (len(word) == 1 and not word.isdigit()):
        return ()
    if "-" in word and word not in _GROUP_OF:
        return tuple(dict.fromkeys(term for part in word.split("-") for term in _terms_of(part)))
    number = words.NUMBER_WORDS.get(word)
    term = number or _GROUP_OF.get(word) or _GROUP_OF.get(single) or single
    return (term, *words.WIDER.get(term, ()))


def _singular(word: str) -> str:
    if len(word) <= 3 or word.endswith(("ss", "us", "is")) or not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zes", "sses")):
        return word[:-2]
    return word[:-1]
