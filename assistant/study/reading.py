"""An answer as what it says: terms, and the slots in which two like answers may differ.

    read("No effusion in the lower left lobe").parts[0].slots       # {"side": {"left"}, "level": {"lower"}}

The words are those of `assistant.evidence`, but nothing that may tell answers apart is dropped.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import snowballstemmer

from assistant.evidence import words
from assistant.evidence.negation import Polarities, read_polarity
from assistant.evidence.tokens import Token, lower, tokens
from assistant.study.vocabulary import spelled_out

Slots = dict[str, frozenset[str]]
SLOTS = ("side", "level", "plane", "modality", "number", "polarity", "negation")

_LEVELS = {
    "upper": "upper", "superior": "upper", "top": "upper", "middle": "middle", "mid": "middle", "lower": "lower",
    "inferior": "lower", "bottom": "lower", "apical": "apical", "apex": "apical", "basal": "basal", "base": "basal",
    "basilar": "basal", "anterior": "anterior", "front": "anterior", "posterior": "posterior", "back": "posterior",
    "medial": "medial", "lateral": "lateral", "proximal": "proximal", "distal": "distal", "above": "above",
    "below": "below", "under": "below", "beneath": "below", "cervical": "cervical", "thoracic spine": "thoracic",
    "lumbar": "lumbar", "center": "center", "central": "center", "midline": "center",
}  # fmt: skip
_UP, _DOWN, _LIKE = "more", "less", "equal"
_POLAR = {
    "increased": _UP, "increas": _UP, "enlargement": _UP, "large": _UP, "thickening": _UP, "dilation": _UP,
    "decreased": _DOWN, "decreas": _DOWN, "reduc": _DOWN, "reduced": _DOWN, "low": _DOWN, "diminish": _DOWN,
    "small": _DOWN, "narrowing": _DOWN, "thin": _DOWN, "dark": _DOWN, "darker": _DOWN, "bright": _UP, "brighter": _UP,
    "isointens": _LIKE, "isodens": _LIKE, "high": _UP, "abnorm": _UP, "normal": _LIKE,
}  # fmt: skip
_PREFIXED = re.compile(r"(hyper|hypo|iso)-?(?=intens|dens|echo|attenu|vascul|lucen|metabol|tens)")
_PREFIXES = {"hyper": _UP, "hypo": _DOWN, "iso": _LIKE}
# What may be left out without saying anything else.
SILENT = frozenset(
    """images patients pictures scans films views regions sides parts areas sections slices planes a an the of in
    on at to is are was were be it its this that these those there and with image picture scan film
    seen shown showing visible view appears appear some or s as by for from located side sided region area part lobe's
    weighted weighting weight plane section slice patient patient's has have likely finding findings what which
    """.split()  # noqa: SIM905
)
_APART = re.compile(r"[,;/&+]|\band\b|\bwith\b")
_LEVEL_OF_SPINE = re.compile(r"[clst]\d{1,2}(?:[-/][clst]?\d{1,2})?", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_YES_NO = {
    "yes": "yes", "y": "yes", "yeah": "yes", "true": "yes", "correct": "yes", "present": "yes",
    "no": "no", "n": "no", "nope": "no", "false": "no", "absent": "no", "not seen": "no", "not present": "no",
}  # fmt: skip
_NOTHING = re.compile(
    r"(?:it is |is |looks |the image is )?(?:normal|unremarkable|healthy|nothing(?: abnormal)?|none"
    r"|no (?:abnormality|abnormalities|finding|findings|disease|pathology|abnormal findings?))"
)
_DENIAL = re.compile(
    r"\b(?:no|not|non|without|absent|absence|none|neither|nor|never|lack|lacks|lacking|negative|free)\b|n't\b"
)
_OPEN = re.compile(
    r"\b(?:possib\w+|probab\w+|suspect\w*|suspicious|suspicion|likely|unlikely|may|might|could|cannot|questionable"
    r"|equivocal|versus|vs|differential|maybe|perhaps|exclude|rule out|consider)\b"
)
_stem = snowballstemmer.stemmer("english").stemWord


@dataclass(frozen=True)
class Part:
    """One thing that is said: its terms, those denied, and its slots."""

    terms: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    slots: Slots = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.terms, self.denied, tuple(sorted(self.slots))))


@dataclass(frozen=True)
class Reading:
    """A whole answer: `plain` is its normal form, `reply` "yes", "no" or "normal" where that is all it says."""

    plain: str
    parts: tuple[Part, ...]
    reply: str = ""
    is_open: bool = False
    """Something is left open in it ("possible", "cannot be excluded")."""
    denials: int = 0
    """How many words deny something; how far each reaches is in the parts."""

    @property
    def terms(self) -> frozenset[str]:
        return frozenset(term for part in self.parts for term in part.terms)

    @property
    def denied(self) -> frozenset[str]:
        return frozenset(term for part in self.parts for term in part.denied)

    def slot(self, name: str) -> frozenset[str]:
        if name == "negation":
            return self.denied
        return frozenset(value for part in self.parts for value in part.slots.get(name, ()))


def plain(text: str) -> str:
    """Lower case, American spelling, abbreviations in full, no punctuation but what joins a number."""
    text = lower(" ".join(text.replace("’", "'").split()))
    for british, american in words.SPELLINGS:
        text = text.replace(british, american)
    text = _PREFIXED.sub(r"\1", spelled_out(text))
    return re.sub(r"\s+", " ", re.sub(r"[^\w\s.,;/&+%'-]", " ", text)).strip(" .,;-")


@lru_cache(maxsize=8192)
def read(text: str) -> Reading:
    """What an answer says."""
    said = plain(text)
    bare = re.sub(r"[^\w\s]", "", said)
    if bare in _YES_NO:
        return Reading(said, (), _YES_NO[bare])
    if _NOTHING.fullmatch(bare):
        return Reading(said, (), "normal")
    polarities = read_polarity(said)
    found: list[Part] = []
    for start, end in _spans(said):
        part = _part(said, start, end, polarities)
        if part.terms or part.denied or part.slots:
            found.append(part)
    return Reading(said, tuple(dict.fromkeys(found)), "", bool(_OPEN.search(said)), len(_DENIAL.findall(said)))


def _spans(said: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _APART.finditer(said):
        # "left and right lung" and "upper and lower lobe" are one thing, "3, 4" and "L4/5" too.
        yield start, match.start()
        start = match.end()
    yield start, len(said)


def _part(said: str, start: int, end: int, polarities: Polarities) -> Part:
    terms: set[str] = set()
    denied: set[str] = set()
    slots: dict[str, set[str]] = {}
    text = said[start:end]
    for match in _LEVEL_OF_SPINE.finditer(text):
        if match[0] not in ("t1", "t2"):
            slots.setdefault("level", set()).add(match[0])
            text = text[: match.start()] + " " * len(match[0]) + text[match.end() :]
    for token in tokens(text):
        at = polarities.at(start + token.start)
        for slot, value in _slots_of(token):
            slots.setdefault(slot, set()).add(value)
        for term in _terms_of(token):
            (denied if at == "negated" else terms).add(term)
    return Part(frozenset(terms), frozenset(denied), {name: frozenset(values) for name, values in slots.items()})


def _slots_of(token: Token) -> Iterator[tuple[str, str]]:
    word = token.word
    if word == "bilateral" or (side := words.SIDES.get(word, "both" if word == "both" else "")) in (
        "both",
        "bilateral",
    ):
        yield "side", "left"
        yield "side", "right"
    elif side:
        yield "side", side
    for one in word.split():
        if one in _LEVELS:
            yield "level", _LEVELS[one]
    for name in token.modalities:
        yield "modality", name
    if _NUMBER.fullmatch(word):
        yield "number", word.replace(",", ".")
    elif word in words.NUMBER_WORDS:
        yield "number", words.NUMBER_WORDS[word]
    if match := _PREFIXED.match(word):
        yield "polarity", _PREFIXES[match[1]]
    for term in token.terms:
        if term in words.PLANES:
            yield "plane", term
        if term in ("t1", "t2", "flair", "stir"):
            yield "modality", term
        if term in _POLAR:
            yield "polarity", _POLAR[term]


def _terms_of(token: Token) -> Iterator[str]:
    """The content of a word that no slot holds."""
    if token.modalities or token.word in words.SIDES or token.word == "both" or _NUMBER.fullmatch(token.word):
        yield from (term for term in token.terms if token.modalities and term not in ("mri", "xray", "ultrasound"))
        return
    if token.terms and token.word not in SILENT:
        for term in token.terms:
            if term == "lunglobe" or term in words.PLANES or term in _LEVELS:
                continue
            if term in ("t1", "t2", "flair", "stir"):
                continue
            yield term
    elif not (token.word in SILENT or token.word in words.NUMBER_WORDS or token.word in _LEVELS):
        yield from () if _DENIAL.fullmatch(token.word) else (_stem(token.word),)
