"""Labelled rows from ROCO's captions: what a caption names is claimed, claimed of the other side, denied, and so on."""

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from assistant.evidence.evaluation.findings import (
    COUNT,
    DOUBTED,
    FAMILIES,
    FAMILY_OF,
    LENGTH,
    LEVEL,
    LEVELLED,
    NATURAL_NO,
    NOT_ITS_LENGTH,
    ON_PAGE,
    ORGANS,
    OTHER_SIDES,
    Finding,
    affirmed,
    are_near,
    is_only_level,
    only_modality,
    other_side,
    with_article,
)
from assistant.evidence.evaluation.rows import Half, Label, Row
from assistant.evidence.evaluation.trap_rows import trap_rows
from retrieval.corpora.roco import read_roco

FOLDERS: dict[Half, str] = {"development": "validation/radiology", "held_out": "test/radiology"}
# The captions are read here, not handed on, so every licence will do.
LICENCES = ("CC BY", "CC BY-SA", "CC BY-ND", "CC BY-NC", "CC BY-NC-SA", "CC BY-NC-ND", "CC0")
WHAT = "What is abnormal in this image?"


def roco_rows(data: Path, half: Half, draw: random.Random) -> Iterator[Row]:
    """Rows of every label from the captions of one half, many more than are wanted."""
    captions = {
        figure.figure_id: figure.caption for figure in read_roco(data / "roco-captions" / FOLDERS[half], LICENCES)
    }
    claims: list[tuple[str, Finding]] = []
    for figure_id, caption in captions.items():
        if not 25 <= len(caption) <= 600:
            continue
        make = _Maker(half, figure_id, caption, draw)
        found = list(affirmed(caption))
        claims += [(figure_id, finding) for finding in found[:1]]
        for finding in found[:1]:
            yield from make.of_finding(finding)
        yield from make.of_natural_denial()
        yield from make.of_number(found)
        yield from trap_rows(half, figure_id, caption, draw)
    yield from _unrelated(half, captions, claims, draw)


class _Maker:
    def __init__(self, half: Half, figure_id: str, caption: str, draw: random.Random) -> None:
        self._half, self._id, self._caption, self._draw = half, figure_id, caption, draw
        lower = caption.lower()
        both = "left" in lower and "right" in lower
        self._one_side = not both and not OTHER_SIDES.search(caption) and not ON_PAGE.search(caption)

    def _row(self, label: Label, made: str, question: str, answer: str) -> Row:
        return Row("roco", self._half, label, made, question, answer, self._caption, self._id)

    def of_finding(self, finding: Finding) -> Iterator[Row]:
        side = finding.side
        said = finding.phrase(side)
        plain = Finding("", finding.more, finding.head, "").phrase()
        yield self._row("supported", "sentence", WHAT, self._sentence(said))
        yield self._row("supported", "phrase", WHAT, said.capitalize())
        yield self._row(
            "supported", "yes", f"Is there {with_article(said)}?", self._draw.choice(("Yes", "Yes, there is."))
        )
        yield self._row("negation", "sentence", WHAT, f"There is no {said}.")
        yield self._row(
            "negation", "no", f"Is there {with_article(plain)}?", self._draw.choice(("No", "No, there is not."))
        )
        yield self._row("negation", "not seen", WHAT, f"{self._upper(plain)} is not seen.")
        for adjective, noun in ORGANS.items():
            if finding.more.strip() == adjective and not finding.place:
                organ = f"{side} {noun}".strip()
                other = self._draw.choice((f"{finding.head} of the {organ}", f"{side} {noun} {finding.head}".strip()))
                yield self._row("supported", "other words", WHAT, self._sentence(other))
        if side:
            yield self._row("supported", "side", f"On which side is the {plain}?", side.capitalize())
            if self._one_side:
                other = other_side(side)
                yield self._row("side", "sentence", WHAT, self._sentence(finding.phrase(other)))
                yield self._row("side", "short", f"On which side is the {plain}?", other.capitalize())
                yield self._row("side", "yes", f"Is there {with_article(finding.phrase(other))}?", "Yes")
                yield self._row("side", "phrase", WHAT, self._upper(finding.phrase(other)))
        if modality := only_modality(self._caption):
            other = self._draw.choice([name for name in ("CT", "MRI", "X-ray", "ultrasound") if name != modality])
            yield self._row("supported", "modality", WHAT, f"This {modality} shows {with_article(said)}.")
            yield self._row("supported", "modality alone", "Which modality was used?", modality)
            yield self._row("modality", "sentence", WHAT, f"This {other} shows {with_article(said)}.")
            yield self._row("modality", "yes", f"Does this {other} show {with_article(plain)}?", "Yes")

    def of_natural_denial(self) -> Iterator[Row]:
        """Denials that the authors wrote themselves."""
        match = NATURAL_NO.search(self._caption)
        if match is None or len(re.findall(rf"\b{match['head']}", self._caption, re.IGNORECASE)) > 1:
            return
        phrase = f"{match['more']}{match['head']}".lower()
        yield self._row("supported", "authors' denial", WHAT, f"There is no {phrase}.")
        yield self._row("supported", "authors' denial, no", f"Is there {with_article(phrase)}?", "No")
        yield self._row("negation", "authors' denial", WHAT, self._sentence(phrase))
        yield self._row("negation", "authors' denial, yes", f"Is there {with_article(phrase)}?", "Yes")

    def of_number(self, found: Sequence[Finding]) -> Iterator[Row]:
        caption = self._caption
        lengths = LENGTH.findall(caption)
        is_near = len(lengths) == 1 and len(found) == 1 and are_near(caption, found[0].head, lengths[0][0])
        if is_near and not NOT_ITS_LENGTH.search(caption):
            (number, unit), head = lengths[0], found[0].head
            value = float(number)
            same = f"{value * 10:g} mm" if unit == "cm" else f"{value / 10:g} cm"
            other = f"{value * self._draw.choice((0.5, 2, 3)):g} {unit}"
            yield self._row("supported", "length", f"How large is the {head}?", f"{number} {unit}")
            yield self._row("supported", "length, other unit", WHAT, f"The {head} measures {same}.")
            yield self._row("number", "length", f"How large is the {head}?", other)
            yield self._row("number", "length, sentence", WHAT, f"The {head} measures {other}.")
        levels = [match[0] for match in LEVEL.finditer(caption)]
        named = set(LEVELLED.findall(caption))
        if len(levels) == 1 and len(named) == 1 and is_only_level(caption, levels[0]) and not DOUBTED.search(caption):
            (head,) = named
            other = self._draw.choice([name for name in ("L1", "L2", "L3", "L4", "L5") if name not in levels[0]])
            other = (
                other
                if len(levels[0]) == 2
                else self._draw.choice([p for p in ("L1-L2", "L2-L3", "L3-L4", "L4-L5") if p[:2] != levels[0][:2]])
            )
            yield self._row("supported", "level", f"At which level is the {head}?", levels[0])
            yield self._row("number", "level", f"At which level is the {head}?", other)
        for word, phrase in COUNT.findall(caption)[:1]:
            other = self._draw.choice([name for name in ("two", "three", "four", "five") if name != word.lower()])
            if len(COUNT.findall(caption)) == 1:
                yield self._row("supported", "count", f"How many {phrase.lower()} are there?", word.capitalize())
                yield self._row("number", "count", WHAT, f"There are {other} {phrase.lower()}.")

    def _sentence(self, phrase: str) -> str:
        forms = ("There is {}.", "The image shows {}.", "{} is seen.", "The most striking finding is {}.")
        form = self._draw.choice(forms)
        return form.format(self._upper(phrase)) if form.startswith("{}") else form.format(with_article(phrase))

    @staticmethod
    def _upper(phrase: str) -> str:
        return phrase[0].upper() + phrase[1:]


def _unrelated(
    half: Half, captions: dict[str, str], claims: Sequence[tuple[str, Finding]], draw: random.Random
) -> Iterator[Row]:
    """Claims beside captions of other articles: any, one that shares most words, one with the finding elsewhere."""
    ids = [figure_id for figure_id, caption in captions.items() if 25 <= len(caption) <= 600]
    words_of = {figure_id: set(re.findall(r"[a-z]+", captions[figure_id].lower())) for figure_id in ids}
    for own, finding in draw.sample(list(claims), min(len(claims), 450)):
        said = finding.phrase(finding.side)
        family = set(FAMILIES[FAMILY_OF[finding.head]].split())
        pool = [other for other in draw.sample(ids, min(len(ids), 200)) if other.split("/")[0] != own.split("/")[0]]
        others = [other for other in pool if not family & words_of[other]]
        wanted = set(re.findall(r"[a-z]+", said)) | words_of[own]
        if not others:
            continue
        near = max(others, key=lambda other: len(words_of[other] & wanted) / (8 + len(words_of[other])))
        for made, other in (("any", others[0]), ("near", near)):
            question, answer = draw.choice(
                ((WHAT, f"There is {with_article(said)}."), (f"Is there {with_article(said)}?", "Yes"), (WHAT, said))
            )
            yield Row("roco", half, "unrelated", made, question, answer, captions[other], other)
        organ = next((pair for pair in ORGANS.items() if set(pair) & set(said.split())), None)
        elsewhere = [
            other for other in pool if finding.head in words_of[other] and organ and not set(organ) & words_of[other]
        ]
        if elsewhere:
            other = elsewhere[0]
            claim = f"There is {with_article(said)}."
            yield Row("roco", half, "unrelated", "elsewhere", WHAT, claim, captions[other], other)
