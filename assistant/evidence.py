"""Which sentences of an answer the found captions support, decided by code.

A model of this size cannot be asked to cite. So each sentence is compared with each caption: its content words must be
in it, on the same side, with the same polarity and of the same modality. In doubt there is no marker.

    hits = search.search("What is the abnormality?", image)
    [verdict] = support("What is the abnormality?", "Pneumothorax", hits)
    verdict.words()        # "supported by [2]", "not found in the index", "[3] says the other side"
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from assistant.evidence_text import Polarity, Statement, read_statement, sentences
from assistant.evidence_words import PLACES
from retrieval.concepts import named_modalities
from retrieval.figures import Hit

Conflict = Literal["side", "negation"]
# An answer this short is a phrase, not a sentence: what it claims is only complete with its question.
SHORT_ANSWER_WORDS = 5
# Longer sentences may have a word that the caption lacks; up to this many content words none may be missing.
ALL_NEEDED_UP_TO = 4
NEEDED_SHARE = 0.8

# "No, ..." replies; "No effusion" does not.
_YES_NO = re.compile(r"^\s*(yes\b|no(?=\s*(?:[,.;:!]|$)))[\s,.;:!]*", re.IGNORECASE)
_EITHER_OR = re.compile(r"([\w-]+)\s+or\s+(?:(?:a|an|the|on|in|to)\s+)*([\w-]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Support:
    """One sentence of an answer, at `answer[start:end]`, and what the captions say to it.

    `supported_by` and `contradicted_by` hold ranks of hits; `matches` the caption's words that matched, by rank.
    """

    sentence: str
    start: int
    end: int
    supported_by: tuple[int, ...] = ()
    contradicted_by: tuple[tuple[int, Conflict], ...] = ()
    matches: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def verdict(self) -> Literal["supported", "contradicted", "not_found"]:
        if self.supported_by:
            return "supported"
        return "contradicted" if self.contradicted_by else "not_found"

    def words(self) -> str:
        """The verdict as a screen says it."""
        said = []
        if self.supported_by:
            said.append("supported by " + " ".join(f"[{rank}]" for rank in self.supported_by))
        for rank, conflict in self.contradicted_by:
            said.append(f"[{rank}] says the other side" if conflict == "side" else f"[{rank}] says the opposite")
        return "; ".join(said) or "not found in the index"

    def to_dict(self) -> dict[str, object]:
        return {
            "sentence": self.sentence,
            "start": self.start,
            "end": self.end,
            "verdict": self.verdict,
            "supported_by": list(self.supported_by),
            "contradicted_by": [{"rank": rank, "conflict": conflict} for rank, conflict in self.contradicted_by],
            "matches": {str(rank): list(words) for rank, words in self.matches.items()},
            "words": self.words(),
        }


def support(question: str, answer: str, hits: Sequence[Hit]) -> list[Support]:
    """One `Support` for each sentence of the answer that claims something; [] for an empty answer."""
    spans = sentences(answer)
    is_short = len(spans) == 1 and len(answer.split()) <= SHORT_ANSWER_WORDS
    found = []
    for number, (start, end) in enumerate(spans):
        sentence = answer[start:end]
        claim = _claim(question, sentence, is_short=is_short, is_first=number == 0)
        found.append(_judge(claim, Support(sentence, start, end), hits))
    return found


def _claim(question: str, sentence: str, *, is_short: bool, is_first: bool) -> Statement:
    reply = _YES_NO.match(sentence) if is_first else None
    rest = sentence[reply.end() :] if reply else sentence
    said = read_statement(rest)
    if reply and not said.terms:
        asked = read_statement(question)
        return asked.negated() if reply[1].lower() == "no" else asked
    if is_short:
        # Of "left or right?" only what was chosen is claimed.
        return said.with_context(read_statement(_EITHER_OR.sub(" ", question)))
    return said


def _judge(claim: Statement, bare: Support, hits: Sequence[Hit]) -> Support:
    if not claim.terms and not claim.sides:
        return bare
    supported: list[int] = []
    contradicted: list[tuple[int, Conflict]] = []
    matches: dict[int, tuple[str, ...]] = {}
    for hit in hits:
        if not _same_modality(claim, hit):
            continue
        caption = read_statement(hit.figure.caption)
        outcome = _compare(claim, caption)
        if outcome == "supports":
            supported.append(hit.rank)
            matches[hit.rank] = caption.surfaces_of(claim)
        elif outcome is not None:
            contradicted.append((hit.rank, outcome))
    return Support(bare.sentence, bare.start, bare.end, tuple(supported), tuple(contradicted), matches)


def _same_modality(claim: Statement, hit: Hit) -> bool:
    claimed = named_modalities(claim.text)
    told = named_modalities(hit.figure.caption) or ({hit.figure.modality} if hit.figure.modality else set())
    return not claimed or not told or bool(claimed & told)


def _compare(claim: Statement, caption: Statement) -> Literal["supports"] | Conflict | None:
    present = [term for term in claim.terms if term in caption.terms]
    needed = len(claim.terms) if len(claim.terms) <= ALL_NEEDED_UP_TO else NEEDED_SHARE * len(claim.terms)
    if not present or len(present) < needed:
        return None
    # "No effusion in the left lung" denies the effusion, not the lung: places have no polarity of their own.
    weighed = [term for term in present if term not in PLACES] or present
    agreements = {_agreement(claim.polarity(term), caption.polarity(term)) for term in weighed}
    if agreements == {"opposite"}:
        return "negation"
    if agreements != {"same"}:
        return None
    return _compare_sides(claim, caption, present)


def _agreement(said: Polarity, told: Polarity) -> Literal["same", "opposite", "unclear"]:
    if "both" in (said, told):
        return "unclear"
    return "same" if said == told else "opposite"


def _compare_sides(
    claim: Statement, caption: Statement, present: Sequence[str]
) -> Literal["supports"] | Conflict | None:
    sided = [term for term in present if claim.sides_of(term)]
    if not sided:
        return "supports" if caption.sides >= claim.sides else None
    if all(caption.sides_of(term) >= claim.sides_of(term) for term in sided):
        return "supports"
    said, told = (frozenset[str]().union(*(text.sides_of(term) for term in sided)) for text in (claim, caption))
    # Only a caption that names one side, and the other one, speaks against the claim.
    return "side" if len(told) == 1 and not told & said else None


def mark(answer: str, supports: Sequence[Support]) -> str:
    """The answer with `[n]` behind each sentence that caption n supports."""
    marked, done = [], 0
    for item in supports:
        marked.append(answer[done : item.end])
        marked.extend(f" [{rank}]" for rank in item.supported_by)
        done = item.end
    return "".join(marked) + answer[done:]
