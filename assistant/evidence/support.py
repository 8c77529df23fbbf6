"""What the found captions say to each sentence of an answer.

A model of this size cannot be asked to cite. So each sentence is compared with each caption: what it names must be
in it, at the same place, on the same side, with the same polarity, number and modality. In doubt there is no marker.

    hits = search.search("What is the abnormality?", image)
    [verdict] = support("What is the abnormality?", "Pneumothorax", hits)
    verdict.words()        # "supported by [2]", "[3] says the other side: right, not left", "not found in the index"
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from assistant.evidence.judging import Caption, Conflict, Judgement, judge
from assistant.evidence.quantities import nouns_after
from assistant.evidence.sides import BOTH, Side
from assistant.evidence.statement import Span, Statement, read_statement
from assistant.evidence.tokens import sentences, tokens
from retrieval.figures import Hit

# An answer this short is a phrase, not a sentence: what it claims is only complete with its question.
SHORT_ANSWER_WORDS = 5

# "No, ..." replies; "No effusion" does not.
_YES = re.compile(r"^\s*(?:yes|yeah|correct)\b[\s,.;:!]*", re.IGNORECASE)
_NO = re.compile(
    r"^\s*(?:(?:no|nope)(?=\s*(?:[,.;:!]|$))|(?:not (?:seen|visible|present|shown)|none|absent|0|zero)(?=\W*$))"
    r"[\s,.;:!]*",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"^\s*\(?([A-E])(?:[.):]+\s*|\s*$)")
_CHOICES = re.compile(r"(?:^|(?<=\s))\(?([A-E])[.):]\s*(.+?)(?=\s+\(?[A-E][.):]\s|\s*$)", re.DOTALL)
_EITHER_OR = re.compile(r"([\w-]+(?:\s*,\s*[\w-]+)*)\s*,?\s+or\s+(?:(?:a|an|the|on|in|to)\s+)*([\w-]+)", re.IGNORECASE)
_HOW_MANY = re.compile(r"\bhow many(?: (?:existing|kinds? of))?\b", re.IGNORECASE)
_HOW_LARGE = re.compile(r"\bhow (?:large|big|long|wide|thick|deep|high|small)\b", re.IGNORECASE)
_OPPOSITE_WORDS = {"side": "the other side", "negation": "the opposite", "number": "another number"}


@dataclass(frozen=True)
class Contradiction:
    """What the caption of hit `rank` says against a sentence: `told` in the caption's words, `said` in the sentence's.

    Spans are of the words that contradict, `sentence_spans` into `Support.sentence`.
    """

    rank: int
    kind: Conflict
    said: str
    told: str
    sentence_spans: tuple[Span, ...] = ()
    caption_spans: tuple[Span, ...] = ()

    def words(self) -> str:
        """What contradicts, as a screen says it."""
        if self.kind == "negation":
            return f"says the opposite: “{self.told}”"
        if self.kind == "modality":
            return f"is of another modality: {self.told}, not {self.said}" if self.told else "is of another modality"
        return f"says {_OPPOSITE_WORDS[self.kind]}: {self.told}, not {self.said}"


@dataclass(frozen=True)
class Support:
    """One sentence of an answer, at `answer[start:end]`, and what the captions say to it.

    `supported_by` holds ranks of hits; `matches` the caption's words that matched, by rank. `caption_spans` and
    `sentence_spans` are where those words stand, by rank: into the caption, and into `sentence` (none for words that
    are only in the question). `contradictions` has at most one for a hit.
    """

    sentence: str
    start: int
    end: int
    supported_by: tuple[int, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
    matches: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    caption_spans: Mapping[int, tuple[Span, ...]] = field(default_factory=dict)
    sentence_spans: Mapping[int, tuple[Span, ...]] = field(default_factory=dict)

    @property
    def contradicted_by(self) -> tuple[tuple[int, Conflict], ...]:
        """Rank of each hit that contradicts, and in what."""
        return tuple((item.rank, item.kind) for item in self.contradictions)

    @property
    def verdict(self) -> Literal["supported", "contradicted", "not_found"]:
        if self.supported_by:
            return "supported"
        return "contradicted" if self.contradictions else "not_found"

    def words(self) -> str:
        """The verdict as a screen says it."""
        said = []
        if self.supported_by:
            said.append("supported by " + " ".join(f"[{rank}]" for rank in self.supported_by))
        said.extend(f"[{item.rank}] {item.words()}" for item in self.contradictions)
        return "; ".join(said) or "not found in the index"

    def to_dict(self) -> dict[str, object]:
        return {
            "sentence": self.sentence,
            "start": self.start,
            "end": self.end,
            "verdict": self.verdict,
            "supported_by": list(self.supported_by),
            "contradicted_by": [
                {
                    "rank": item.rank,
                    "conflict": item.kind,
                    "said": item.said,
                    "told": item.told,
                    "sentence_spans": [list(span) for span in item.sentence_spans],
                    "caption_spans": [list(span) for span in item.caption_spans],
                }
                for item in self.contradictions
            ],
            "matches": {str(rank): list(words) for rank, words in self.matches.items()},
            "caption_spans": _plain(self.caption_spans),
            "sentence_spans": _plain(self.sentence_spans),
            "words": self.words(),
        }


def _plain(spans: Mapping[int, tuple[Span, ...]]) -> dict[str, list[list[int]]]:
    return {str(rank): [list(span) for span in found] for rank, found in spans.items()}


def support(question: str, answer: str, hits: Sequence[Hit]) -> list[Support]:
    """One `Support` for each sentence of the answer; [] for an empty answer."""
    spans = sentences(answer)
    is_short = len(spans) == 1 and len(answer.split()) <= SHORT_ANSWER_WORDS
    found = []
    for number, (start, end) in enumerate(spans):
        sentence = answer[start:end]
        claim = read_claim(question, sentence, is_short=is_short, is_first=number == 0)
        found.append(_supported(claim, sentence, (start, end), hits))
    return found


def read_claim(question: str, sentence: str, *, is_short: bool = True, is_first: bool = True) -> Statement:
    """What a sentence of an answer claims: a reply and a short answer together with the question."""
    question, choices = _choices(question)
    choice = _CHOICE.match(sentence)
    if choice and not sentence[choice.end() :].strip():
        chosen = read_statement(choices.get(choice[1].upper(), "")).strict().asked()
        return chosen.answering(read_statement(question).strict())
    begin = choice.end() if choice else 0
    yes, no = (pattern.match(sentence[begin:]) if is_first else None for pattern in (_YES, _NO))
    if reply := yes or no:
        begin += reply.end()
    said = read_statement(sentence[begin:]).strict().moved(begin)
    if reply and not (said.terms or said.quantities or said.sides):
        asked = read_statement(question).strict().asked()
        return asked.turned() if no else asked
    if not is_short:
        return said
    if re.fullmatch(r"\W*both\W*", sentence[begin:], re.IGNORECASE):
        said = Statement(sides=(Side(BOTH, begin, len(sentence)),))
    # Of "left or right?" only what was chosen is claimed.
    asked = read_statement(_HOW_LARGE.sub(" ", _EITHER_OR.sub(" ", question)))
    return said.answering(asked.strict(), counted=_counted(question))


def _choices(question: str) -> tuple[str, dict[str, str]]:
    """A question without its choices, and these by letter; no choices where it has not at least A and B."""
    found = list(_CHOICES.finditer(question))
    choices = {match[1]: match[2].strip() for match in found}
    return (question[: found[0].start()], choices) if {"A", "B"} <= choices.keys() else (question, {})


def _counted(question: str) -> tuple[str, ...]:
    """The terms that "how many" asks for."""
    match = _HOW_MANY.search(question)
    return nouns_after(question, match.end(), tokens(question)) if match else ()


def _supported(claim: Statement, sentence: str, at: Span, hits: Sequence[Hit]) -> Support:
    judged: dict[int, tuple[Judgement, str]] = {}
    for hit in hits:
        caption = Caption.read(hit.figure.caption, hit.figure.modality)
        if found := judge(claim, caption):
            judged[hit.rank] = found, hit.figure.caption
    supporting = {rank: pair for rank, pair in judged.items() if pair[0].kind == "supports"}
    return Support(
        sentence,
        *at,
        supported_by=tuple(supporting),
        contradictions=tuple(
            Contradiction(rank, found.kind, found.said, found.told, found.claim_spans, found.caption_spans)
            for rank, (found, _) in judged.items()
            if found.kind != "supports"
        ),
        matches={
            rank: tuple(dict.fromkeys(caption[start:end] for start, end in found.caption_spans))
            for rank, (found, caption) in supporting.items()
        },
        caption_spans={rank: found.caption_spans for rank, (found, _) in supporting.items()},
        sentence_spans={rank: found.claim_spans for rank, (found, _) in supporting.items()},
    )


def mark(answer: str, supports: Sequence[Support]) -> str:
    """The answer with `[n]` behind each sentence that caption n supports."""
    marked, done = [], 0
    for item in supports:
        marked.append(answer[done : item.end])
        marked.extend(f" [{rank}]" for rank in item.supported_by)
        done = item.end
    return "".join(marked) + answer[done:]
