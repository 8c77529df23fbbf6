"""Which words of a sentence are denied and which are left open, by rules like those of NegEx (Chapman et al., 2001).

A cue before ("no", "without", "absence of") reaches forward to the end of its list; one behind ("was not seen") reaches
back. What is only possible, or was there once ("history of", "resection of"), is open: it neither supports nor
contradicts. Phrases that look like a denial and are none ("not only", "cannot be excluded") are taken out first.

    polarities = read_polarity("no effusion or mass, but a nodule")
    polarities.at(3), polarities.at(28)      # "negated", "affirmed"
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Polarity = Literal["affirmed", "negated", "unclear"]

_SEEN = (
    r"(?:seen|visible|found|present|shown|identified|detected|demonstrated|noted|observed|evident|visuali[sz]ed"
    r"|apparent|appreciated|recogni[sz]ed|revealed|depicted|detectable|discernible)"
)
_BE = r"(?:is|are|was|were|be|been|being)"
_HAVE = r"(?:has|have|had)"
# "No evidence of X" denies X; "no enhancement of X" does not.
_EVIDENCE = (
    r"(?:evidence|signs?|indications?|suggestion|history|suspicion|features?|findings?|demonstration|visuali[sz]ation"
    r"|presence|trace|stigmata)"
)

_NO_DENIAL = re.compile(
    r"\bnot (?:only|necessarily|just|merely|to scale|certain|sure)\b|\(?\bnot (?:shown|pictured|depicted)\)"
    r"|\bno (?:longer than|doubt|less than|\d)|\bnon?\.|\bgram[- ]negative|\bnegative (?:pressure|contrast|image)"
    r"|\bwith(?:out)? (?:and|or) without\b|\bwithout difficulty|\bwhether or not\b"
)
_OPEN_BEHIND = re.compile(
    r"\b(?:cannot|can not|could not|can't|couldn't|not) (?:be )?(?:excluded|ruled out)"
    rf"|\b{_BE} (?:suspected|possible|questionable|unlikely|equivocal|resolved|resected|removed|excised|doubtful)"
    rf"|\b{_HAVE} (?:resolved|disappeared|regressed|vanished|been (?:resected|removed|excised))|\bunlikely\b"
    rf"|\bnot (?:well|clearly|fully|completely|definitely) {_SEEN}"
)
_OPEN_BEFORE = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|suspected|suspicious for|suspicion of|questionable|presumed|presumptive"
    r"|(?:may|might|could) (?:be|represent|reflect|indicate|suggest)|(?:cannot|could not|can not) (?:exclude|rule out)"
    r"|(?:to|in order to) (?:exclude|rule out|evaluate(?: for)?|assess(?: for)?|look for)|risk of|concern(?:ing)? for"
    r"|differential(?: diagnosis)?|versus|vs\.?|equivocal|history of|status post|s/p|mimicking|prior to"
    r"|(?:resection|removal|excision|resolution|disappearance|regression|drainage|evacuation|ablation|extraction"
    r"|absorption) of)(?!\w)"
)
_DENIED_BEHIND = re.compile(
    rf"\b{_BE} (?:also |both |all )?(?:absent|excluded|ruled out|negative)\b"
    rf"|\b(?:not|never|\w+n't) (?:be |been )?{_SEEN}\b|\babsent\b(?=\s*(?:[.,;:)]|$))"
)
_DENIED_BEFORE = re.compile(
    rf"\bno (?:\w+ ){{0,2}}{_EVIDENCE} (?:of|for|to suggest|suggesting|suggestive of)\b"
    rf"|\bwithout (?:any )?(?:\w+ )?{_EVIDENCE} (?:of|for)\b|\b(?:absence|lack) of (?:any )?(?:{_EVIDENCE} of\b)?"
    r"|\b(?:fail(?:s|ed|ing)?|unable) to (?:show|reveal|demonstrate|detect|identify|visuali[sz]e)"
    r"|\b(?:negative for|free (?:of|from)|clear of|devoid of|rul(?:es?|ed|ing) out|rather than|instead of)\b"
    r"|\b(?:no|not|without|never|nor|neither|none|lack(?:s|ing)?|absent|cannot|excludes?|excluding|denies)\b|\w+n't\b"
)
_STOP = re.compile(
    r"[;:()\[\]]|\b(?:but|however|although|though|except|other than|aside from|apart from|besides|while|whereas|which"
    r"|who|that|because|due to|secondary to|yet|with|suggest(?:s|ing|ive)?|indicat(?:es|ing)|consistent with|compatible"
    r" with|show(?:s|ing|ed)?|demonstrat(?:es|ing|ed)|reveal(?:s|ing|ed)?|there (?:is|are|was|were))\b"
)
_PREPOSITION = re.compile(
    r"\b(?:of|in|within|inside|from|around|at|to|into|by|on|along|between|through|after|following|before)\b"
)
_LIST_END = re.compile(r"\b(?:or|nor)\b")
_CLAUSE_VERB = re.compile(rf"\b(?:{_BE}|{_HAVE}|shows?|appears?|looks?|remains?|measures?|demonstrates?)\b")
_STARTS_ANEW = re.compile(r"\s*(?:the|a|an|there|this|it|both|left|right)\b")
_AND_OR_COMMA = re.compile(r",|\band\b")


@dataclass(frozen=True)
class Reach:
    """`text[start:end]` is of this polarity because of the cue at `text[cue[0]:cue[1]]`.

    `is_tail`: it only says of what something is denied: the mass in "no enhancement of the mass".
    """

    start: int
    end: int
    polarity: Polarity
    cue: tuple[int, int]
    is_tail: bool = False


@dataclass(frozen=True)
class Polarities:
    """The reaches of every cue in a sentence; where several reach, the last found speaks."""

    reaches: tuple[Reach, ...]

    def at(self, position: int) -> Polarity:
        reach = self.reach_at(position)
        return reach.polarity if reach else "affirmed"

    def reach_at(self, position: int) -> Reach | None:
        return next((reach for reach in reversed(self.reaches) if reach.start <= position < reach.end), None)


def read_polarity(sentence: str) -> Polarities:
    """What a lower-case sentence denies or leaves open; offsets are into it."""
    hidden = _NO_DENIAL.sub(lambda match: " " * len(match[0]), sentence)
    reaches: list[Reach] = []
    for match in _OPEN_BEFORE.finditer(hidden):
        reaches.append(Reach(match.end(), _stop_after(hidden, match.end()), "unclear", match.span()))
    cues = list(_DENIED_BEFORE.finditer(hidden))
    for at, match in enumerate(cues):
        if not (_OPEN_BEHIND.match(hidden, match.start()) or _OPEN_BEFORE.match(hidden, match.start())):
            # The next cue has a list of its own.
            end = cues[at + 1].start() if at + 1 < len(cues) else len(hidden)
            reaches.extend(_forward(hidden[:end], match))
    for match in _DENIED_BEHIND.finditer(hidden):
        if not _OPEN_BEHIND.match(hidden, match.start()):
            reaches.extend(_backward(hidden, match, "negated"))
    for match in _OPEN_BEHIND.finditer(hidden):
        start = _stop_before(hidden, match.start())
        reaches.append(Reach(start, match.start(), "unclear", match.span()))
    return Polarities(tuple(reaches))


def _stop_after(text: str, start: int) -> int:
    match = _STOP.search(text, start)
    return match.start() if match else len(text)


def _stop_before(text: str, end: int) -> int:
    stops = [match.end() for match in _STOP.finditer(text, 0, end)]
    for match in _AND_OR_COMMA.finditer(text, stops[-1] if stops else 0, end):
        # "The liver is normal and a mass is not seen": a clause of its own before.
        if _CLAUSE_VERB.search(text, stops[-1] if stops else 0, match.start()):
            stops.append(match.end())
    return stops[-1] if stops else 0


def _forward(text: str, cue: re.Match[str]) -> Iterator[Reach]:
    """A cue's list: all of it denied up to a bare comma or "and", after which it is open how far the denial goes."""
    span = cue.span()
    end = _stop_after(text, cue.end())
    sure = end
    for match in _AND_OR_COMMA.finditer(text, cue.end(), end):
        rest = text[match.end() : end]
        if _STARTS_ANEW.match(rest) or _CLAUSE_VERB.search(rest.split(",")[0]):
            sure = min(sure, match.start())
            end = match.start()
            break
        if not _LIST_END.search(rest):
            sure = min(sure, match.start())
    tail = _PREPOSITION.search(text, cue.end(), sure)
    denied_to = tail.start() if tail else sure
    yield Reach(sure, end, "unclear", span)
    yield Reach(denied_to, sure, "unclear", span, is_tail=True)
    yield Reach(cue.end(), denied_to, "negated", span)
    if tail and (more := _LIST_END.search(text, tail.end(), sure)):
        yield Reach(more.end(), sure, "negated", span)


def _backward(text: str, cue: re.Match[str], polarity: Polarity) -> Iterator[Reach]:
    start = _stop_before(text, cue.start())
    tail = _PREPOSITION.search(text, start, cue.start())
    if tail:
        yield Reach(tail.start(), cue.start(), "unclear", cue.span(), is_tail=True)
    yield Reach(start, tail.start() if tail else cue.start(), polarity, cue.span())
