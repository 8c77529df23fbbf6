"""The product's chat turn and search in the form in which an evaluation calls them."""

import asyncio
import io
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from assistant.chat import Assistant
from assistant.figure_search import FigureSearch
from assistant.model import (
    HEALTH_TIMEOUT_S,
    ConversationTooLongError,
    ModelClient,
    ModelNotReadyError,
    ModelRefusedError,
    ModelTimeoutError,
)
from assistant.settings import Settings
from assistant.uploads import CleanImage, UploadError, UploadLimits, clean_upload
from retrieval.figures import Figure, Hit, article_url
from serving.evaluation.answers import Answered
from serving.evaluation.controls import Caption
from serving.evaluation.identity import weights_fingerprint

TRIES = 4
IMAGES_KEPT = 64
LONGEST_QUESTION = 100_000
SPARE = 4
"""Figures that are looked for beyond those that are shown, since some may be of the image's own article."""


class GivenFigures(FigureSearch):
    """A search whose finds are known: none, so that no caption holds the answer, or those that a control gives."""

    def __init__(self, settings: Settings, hits: Sequence[Hit] = ()) -> None:
        super().__init__(settings)
        self._hits = hits

    async def search(
        self, text: str, image: Image.Image | None, k: int, earlier: Sequence[str] = ()
    ) -> tuple[Sequence[Hit], tuple[str, ...]]:
        return self._hits, ()


class Asker:
    """Asks the chat turn. One image is decoded once for all its questions, off the event loop."""

    def __init__(self, settings: Settings, model: ModelClient) -> None:
        # A benchmark's longest question is not a person's.
        self._settings = settings.model_copy(
            update={"max_question_chars": LONGEST_QUESTION, "captions_in_prompt": True}
        )
        self._model = model
        self._limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)
        self._clean: OrderedDict[bytes, asyncio.Task[CleanImage]] = OrderedDict()
        self._answered = False

    async def ask(self, question: str, image: bytes, captions: Sequence[Caption] = ()) -> Answered:
        """One answer. What is too long, or an image that cannot be read, is no answer and not the end of the run.

        Raises ModelNotReadyError or ModelTimeoutError after several tries, ModelRefusedError where the server has
        refused everything so far: then it is not this question's fault.
        """
        assistant = Assistant(
            self._model, GivenFigures(self._settings, [_hit(c, i) for i, c in enumerate(captions, 1)]), self._settings
        )
        try:
            clean = await self._cleaned(image)
            # One broken connection among thousands must not end a run of an hour; a dead server still does.
            for attempt in range(TRIES):
                try:
                    async for turn in assistant.ask(question, clean):
                        last = turn
                    break
                except (ModelNotReadyError, ModelTimeoutError):
                    if attempt + 1 == TRIES:
                        raise
                    await asyncio.sleep(5 * (attempt + 1))
        except (ConversationTooLongError, ModelRefusedError, UploadError) as error:
            if isinstance(error, ModelRefusedError) and not self._answered:
                raise
            return Answered("", failure=str(error))
        self._answered = True
        if last.confidence is None:
            return Answered(last.answer)
        return Answered(last.answer, last.confidence.raw, last.confidence.of_whole_answer)

    async def _cleaned(self, data: bytes) -> CleanImage:
        if data not in self._clean:
            self._clean[data] = asyncio.create_task(asyncio.to_thread(clean_upload, data, "", self._limits))
            if len(self._clean) > IMAGES_KEPT:
                self._clean.popitem(last=False)
        return await self._clean[data]


class Finder:
    """The product's search, for the controls with captions."""

    def __init__(self, settings: Settings) -> None:
        self._figures = FigureSearch(settings)
        self._count = settings.figures_shown + SPARE

    async def problem(self) -> str:
        """Why there is nothing to search, "" if there is."""
        return await asyncio.to_thread(self._figures.problem)

    async def find(self, question: str, image: bytes) -> list[Caption]:
        """The figures that the product would show, best first, and a few more."""
        with Image.open(io.BytesIO(image)) as opened:
            pixels = opened.convert("RGB")
        hits, _ = await self._figures.search(question, pixels, self._count)
        return [Caption(hit.figure.figure_id, hit.figure.pmcid, hit.figure.caption) for hit in hits]


def _hit(caption: Caption, rank: int) -> Hit:
    figure = Figure(
        figure_id=caption.figure_id,
        pmcid=caption.pmcid,
        graphic=caption.figure_id.rpartition("/")[2],
        label="",
        caption=caption.text,
        license="",
        article_url=article_url(caption.pmcid),
        source="evaluation",
    )
    return Hit(figure, 1.0, rank, ("image",))


async def served_model(settings: Settings, model: ModelClient) -> dict[str, str]:
    """What tells the served model from others: its name, and its weights where their folder is on this machine.

    Raises ModelNotReadyError, ModelTimeoutError or ModelRefusedError, as the chat turn does.
    """
    served = await model.served()
    key = settings.model_api_key.get_secret_value()
    async with httpx.AsyncClient(timeout=HEALTH_TIMEOUT_S, trust_env=not settings.model_is_here) as http:
        answer = await http.get(f"{settings.model_base_url}/models", headers={"Authorization": f"Bearer {key}"})
    listed: list[dict[str, Any]] = answer.json().get("data", []) if answer.is_success else []
    root = next((str(one.get("root") or "") for one in listed if one.get("id") == served.id), "")
    told = {"model": served.name}
    if root and Path(root).is_dir():
        told["weights"] = await asyncio.to_thread(weights_fingerprint, Path(root))
    return told
