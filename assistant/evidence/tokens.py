"""A text as words with their places in it, and as sentences.

[token] = tokens("Calculi")          # token.terms == ("stone",), token.start, token.end
sentences("One. Two.")               # [(0, 4), (5, 9)]
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

import snowballstemmer

from assistant.evidence import words
from retrieval.concepts import named_modalities

_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s+[A-Z0-9]|\s*$|(?<=[a-z)\]]\.)[A-Z])[^.!?\n]*)*[.!?]*")
_ABBREVIATION = re.compile(r"(?:\b(?:fig|figs|e\.g|i\.e|vs|dr|approx|resp|ca)\.|\b[A-Z]\.)$", re.IGNORECASE)
_NUMBERED = re.compile(r"\bno\.$", re.IGNORECASE)
_LIST_MARKER = re.compile(r"\W*(?:\d+[.)])?\W*")
_WORD = r"\d+(?:\.\d+)?(?:[^\W_]+)?|[^\W_]+(?:['’][^\W_]+)?"
# "US" is ultrasound, "us" is not; "MR" is a modality, so are the weightings, which are content all the same.
_CAPITALS = {"US": "ultrasound", "USG": "ultrasound", "MR": "mri"}
# `named_modalities` wants abbreviations in capitals, which people do not always write.
_MODALITIES = {"ct": "CT", "mri": "MRI", "pet": "PET", "xray": "xray", "ultrasound": "ultrasound"}
_WEIGHTINGS = frozenset({"t1", "t2", "flair", "stir"})
_LEVEL = re.compile(r"[clst]\d{1,2}")
_PHRASES = tuple(pattern for pattern, _ in words.PHRASES)
_TOKEN = re.compile(
    "|".join(rf"(?P<p{at}>\b(?:{pattern})\b)" for at, pattern in enumerate(_PHRASES))
    + rf"|(?P<word>\bnon-[a-z]{{4,}}|{_WORD})"
)
_stem = snowballstemmer.stemmer("english").stemWord


@dataclass(frozen=True)
class Token:
    """A word or phrase at `text[start:end]`: `word` in lower case, `terms` what it stands for, () if for nothing.

    `wider` are terms that it is a kind of, which holds only where it is affirmed.
    """

    word: str
    start: int
    end: int
    terms: tuple[str, ...] = ()
    wider: tuple[str, ...] = ()
    modalities: frozenset[str] = frozenset()


def lower(text: str) -> str:
    """Lower case, each character still at its place."""
    return "".join(char if len(char.lower()) != 1 else char.lower() for char in text)


def tokens(text: str) -> list[Token]:
    """Every word in order, phrases as one; numbers and empty words have no terms."""
    found = []
    for match in _TOKEN.finditer(lower(text)):
        start, end = match.span()
        if match["word"]:
            said = _CAPITALS.get(text[start:end], match["word"])
        else:
            said = words.PHRASES[int(str(match.lastgroup)[1:])][1]
        terms = dict.fromkeys(term for word in said.split() for term in term_of(word))
        wider = dict.fromkeys(more for term in terms for more in _wider(term))
        modalities = named_modalities(text[start:end]) | named_modalities(_MODALITIES.get(said.split()[-1], ""))
        found.append(Token(said, start, end, tuple(terms), tuple(wider), frozenset(modalities)))
    return found


@cache
def term_of(word: str) -> tuple[str, ...]:
    """What a lower-case word stands for: its group's name, or its stem; () for an empty word."""
    for british, american in words.SPELLINGS:
        word = word.replace(british, american)
    word = re.sub(r"['’]s?$", "", word)
    is_empty = word in words.EMPTY_WORDS or word in words.SIDES or word in words.NUMBER_WORDS or len(word) < 2
    if word in _WEIGHTINGS:
        return (word,)
    if is_empty or word[0].isdigit() or _LEVEL.fullmatch(word) or word in _MODALITIES or named_modalities(word):
        return ()
    stem = _stem(word)
    return (_groups().get(word) or _groups().get(stem) or stem,)


@cache
def _wider(term: str) -> tuple[str, ...]:
    """Every term that this one is a kind of, through all steps."""
    return tuple(dict.fromkeys(more for near in words.WIDER.get(term, ()) for more in (near, *_wider(near))))


@lru_cache(maxsize=1)
def _groups() -> dict[str, str]:
    """Words and their stems to their group's name."""
    groups: dict[str, str] = {}
    for group in words.SYNONYMS:
        for member in group:
            groups.setdefault(member, group[0])
            groups.setdefault(_stem(member), group[0])
    # These are compared by name, so their names stay what they are.
    named = {more for wider in words.WIDER.values() for more in wider}
    for name in (*words.PLACES, *words.PLANES, *words.DEGREES, *words.WIDER, *named):
        groups.setdefault(name, name)
        groups.setdefault(_stem(name), name)
    return groups


def sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence; `text[start:end]` is without surrounding space."""
    spans: list[tuple[int, int]] = []
    for match in _SENTENCE.finditer(text):
        start, end = match.span()
        if spans and _goes_on(text[: spans[-1][1]], text[spans[-1][1] : end]):
            start = spans.pop()[0]
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if start < end:
            spans.append((start, end))
    return [span for span in spans if not _LIST_MARKER.fullmatch(text, *span)]


def _goes_on(before: str, after: str) -> bool:
    if "\n" in after[: len(after) - len(after.lstrip())]:
        return False
    return bool(_ABBREVIATION.search(before) or (_NUMBERED.search(before) and after.lstrip()[:1].isdigit()))
