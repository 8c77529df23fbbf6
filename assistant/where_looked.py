"""Asks where the model looked: the answer's probability once with the image, and once for each covered part of it.

async for step in where_looked(assistant, settings, turn, image):
    step.done, step.total     # and with the last one step.where
"""

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from PIL import Image

from assistant.chat import Assistant, Turn
from assistant.confidence import Confidence
from assistant.conversation import fit
from assistant.model import ModelError
from assistant.occlusion import GRID, PARTS, Where, covered
from assistant.pace import in_words
from assistant.settings import Settings
from assistant.uploads import CleanImage, UploadLimits, clean_upload

AT_ONCE = 4


class NotScoredError(ModelError):
    """The model's server does not say how probable a given answer is."""

    code = "answer_not_scored"


@dataclass(frozen=True)
class Step:
    """How many of the covered images were asked about; `where` with the last of them."""

    done: int
    total: int
    where: Where | None = None


def cost(turn: Turn | None) -> str:
    """What the map takes, in words; its time from how long the turn's own image and question took to be read."""
    said = f"{PARTS} short questions"
    if turn is None or "first_token" not in turn.timings:
        return said
    one = turn.timings["first_token"] - turn.timings.get("search", 0)
    return f"{said}, {in_words(PARTS * one)}"


async def where_looked(
    assistant: Assistant, settings: Settings, turn: Turn, image: CleanImage, grid: int = GRID
) -> AsyncGenerator[Step, None]:
    """Ask without captions and history, as "Did it look?" does. Closing the iterator ends it.

    Args:
        turn: complete; its question was about `image`.
        grid: rows and columns of parts.

    Raises:
        NotScoredError: the server does not score answers.
        ModelError: as the chat turn does.
    """
    answer = await _answer(assistant, settings, turn.question, image)
    whole = await _scored(assistant, settings, turn.question, image, answer)
    all_covered = _clean(covered(image.image, 0, 0, 1))
    blank = await _scored(assistant, settings, turn.question, all_covered, answer)
    parts = grid * grid
    yield Step(0, parts)
    free = asyncio.Semaphore(AT_ONCE)

    async def without(row: int, column: int) -> Confidence:
        async with free:
            shown = await asyncio.to_thread(lambda: _clean(covered(image.image, row, column, grid)))
            return await _scored(assistant, settings, turn.question, shown, answer)

    asked = [asyncio.create_task(without(row, column)) for row in range(grid) for column in range(grid)]
    try:
        for done, each in enumerate(asyncio.as_completed(asked), 1):
            await each
            if done < parts:
                yield Step(done, parts)
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    values = [task.result().raw for task in asked]
    rows = tuple(tuple(values[start : start + grid]) for start in range(0, parts, grid))
    yield Step(
        parts, parts, where=Where(answer.strip(), whole.raw, blank.raw, rows, per_word=not whole.of_whole_answer)
    )


async def _answer(assistant: Assistant, settings: Settings, question: str, image: CleanImage) -> str:
    """As the model writes it, with the space that it begins with: another text would be other tokens."""
    messages = await _messages(assistant, settings, question, image)
    async with aclosing(assistant.model.stream(messages)) as tokens:
        return "".join([token.text async for token in tokens]).rstrip()


async def _scored(
    assistant: Assistant, settings: Settings, question: str, image: CleanImage, answer: str
) -> Confidence:
    logprobs = await assistant.model.score(await _messages(assistant, settings, question, image), answer)
    confidence = Confidence.of(logprobs)
    if confidence is None:
        raise NotScoredError(f"{assistant.model.name} does not say how probable an answer is, so nothing can be drawn.")
    return confidence


async def _messages(assistant: Assistant, settings: Settings, question: str, image: CleanImage) -> list:
    served = await assistant.model.served()
    turn = Turn(question, (image,))
    return (await fit([turn], (), served, assistant.model.count, settings.max_answer_tokens)).messages


def _clean(image: Image.Image) -> CleanImage:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return clean_upload(buffer.getvalue(), "", UploadLimits())
