"""The same questions with something taken away: does the model look at the image, read the words, follow captions?

conditions = Conditions(rows, find)
asked = await conditions.asked(row, "blank")      # text, image bytes, captions

`find` is the product's search; without it the two conditions with captions cannot be asked.
"""

import asyncio
import hashlib
import io
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from serving.evaluation.benchmarks import VqaRow
from serving.evaluation.intervals import intervals
from serving.evaluation.metrics import normalise_answer, right

AS_IT_IS = "image"
CONTROLS = {
    "blank": "a black image of the same size",
    "other-image": "another row's image",
    "shuffled": "the question's words in another order",
    "captions": "captions of similar figures in the prompt (same article left out)",
    "wrong-captions": "captions that another image's question found",
}
NEED_SEARCH = ("captions", "wrong-captions")
SIZE_UNKNOWN = (512, 512)


@dataclass(frozen=True)
class Caption:
    """A similar figure as far as a prompt and a report need it."""

    figure_id: str
    pmcid: str
    text: str


Find = Callable[[str, bytes], Awaitable[Sequence[Caption]]]
"""(question, image file) to the figures that the product would show beside the answer, best first."""


@dataclass(frozen=True)
class Asked:
    """What goes to the chat turn."""

    question: str
    image: bytes
    captions: tuple[Caption, ...] = ()


class Conditions:
    """Makes every condition of every row; the same row and condition always give the same."""

    def __init__(self, rows: Sequence[VqaRow], find: Find | None = None, instruction: str = "", k: int = 6) -> None:
        self._find, self._instruction, self._k = find, instruction.strip(), k
        self._first = {row.image_path: row for row in reversed(rows)}
        self._images = sorted(self._first)
        self._place = {path: place for place, path in enumerate(self._images)}
        self._found: dict[str, asyncio.Task[tuple[Caption, ...]]] = {}

    def not_run(self, control: str, no_search: str) -> str:
        """Why a control cannot be asked, "" if it can."""
        if control in NEED_SEARCH and self._find is None:
            return no_search
        if control in ("other-image", "wrong-captions") and len(self._images) < 2:
            return "there is only one image"
        return ""

    async def asked(self, row: VqaRow, condition: str) -> Asked:
        """The question, image and captions of a row under a condition."""
        text = shuffled(row.question, row.question_id) if condition == "shuffled" else row.question
        image = read_bytes(row.image_path)
        captions: tuple[Caption, ...] = ()
        if condition == "blank":
            image = blank_like(row.image_path)
        elif condition == "other-image":
            image = read_bytes(self._partner(row).image_path)
        elif condition == "captions":
            captions = await self._captions(row)
        elif condition == "wrong-captions":
            own = {caption.figure_id for caption in await self._captions(row)}
            captions = tuple(one for one in await self._captions(self._partner(row)) if one.figure_id not in own)
        return Asked(prompt_text(row, text, self._instruction), image, captions)

    def _partner(self, row: VqaRow) -> VqaRow:
        """A row of another image, drawn by the question's id."""
        step = 1 + _number(row.question_id) % (len(self._images) - 1)
        return self._first[self._images[(self._place[row.image_path] + step) % len(self._images)]]

    async def _captions(self, row: VqaRow) -> tuple[Caption, ...]:
        """Each row's search is made once; figures of the image's own article may hold the answer and are left out."""
        if row.question_id not in self._found:
            self._found[row.question_id] = asyncio.create_task(self._search(row))
        return await self._found[row.question_id]

    async def _search(self, row: VqaRow) -> tuple[Caption, ...]:
        assert self._find is not None
        found = await self._find(row.question, read_bytes(row.image_path))
        return tuple(one for one in found if not row.pmcid or one.pmcid != row.pmcid)[: self._k]


def prompt_text(row: VqaRow, question: str, instruction: str = "") -> str:
    """The question with its choices in PMC-VQA's form; the chat template frames it as in training."""
    shown = f"{question}Choices:{''.join(row.choices)}" if row.choices_shown else question
    return f"{shown}\n{instruction}" if instruction else shown


def shuffled(question: str, seed: str) -> str:
    """The same words in another order, wherever there is one."""
    words = question.split()
    order = words[:]
    draw = random.Random(_number(seed))  # noqa: S311 - a fixed shuffle, not a secret
    while order == words and len(set(words)) > 1:
        draw.shuffle(order)
    return " ".join(order)


@lru_cache(maxsize=256)
def read_bytes(path: Path) -> bytes:
    """The image's file; neighbours in a benchmark share it."""
    return path.read_bytes()


@lru_cache(maxsize=256)
def blank_like(path: Path) -> bytes:
    """A black PNG of the image's size (512 x 512 where Pillow cannot tell: a DICOM file)."""
    try:
        with Image.open(path) as image:
            size = image.size
    except UnidentifiedImageError:
        size = SIZE_UNKNOWN
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "PNG")
    return buffer.getvalue()


def effect(
    rows: Sequence[VqaRow], plain: Sequence[tuple[str, float | None]], changed: Sequence[tuple[str, float | None]]
) -> dict[str, Any]:
    """What a control takes away from accuracy and from the probability of the answer, in points, with intervals.

    Args:
        plain: (answer, probability) of each row as it is.
        changed: the same under the control.
    """
    images = [str(row.image_path) for row in rows]
    lost = [
        float(right(row, a)) - float(right(row, b)) for row, (a, _), (b, _) in zip(rows, plain, changed, strict=True)
    ]
    moved = [float(normalise_answer(a) != normalise_answer(b)) for (a, _), (b, _) in zip(plain, changed, strict=True)]
    accuracy, answers = intervals(np.array([lost, moved]).T, images)
    told: dict[str, Any] = {"accuracy_lost": accuracy, "answers_changed": answers, "probability_lost": None}
    known = [
        (image, a - b)
        for image, (_, a), (_, b) in zip(images, plain, changed, strict=True)
        if a is not None and b is not None
    ]
    if known:
        told["probability_lost"] = intervals(np.array([[lost] for _, lost in known]), [image for image, _ in known])[0]
    return told


def in_words(control: str, points: float) -> str:
    """The accuracy that a control takes, as a sentence: "looks at the image: 21.3 points"."""
    says = {
        "blank": "looks at the image",
        "other-image": "tells this image from another",
        "shuffled": "needs the order of the words",
        "captions": "captions help",
        "wrong-captions": "wrong captions mislead",
    }
    return f"{says[control]}: {-points + 0.0 if control == 'captions' else points:.1f} points"


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
