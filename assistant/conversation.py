"""From turns to the messages that a model is given: which turns belong, which images, and what fits into its context.

MedVInT was trained on single questions about one image: its last exchanges on that image are all that it gets. Other
models get as much of the conversation as their context holds, with as many images as they read.
"""

import base64
import io
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from PIL import Image

import prompts
from assistant.served_model import MEDVINT_PROMPT, ServedModel
from assistant.uploads import CleanImage
from retrieval.figures import Hit

if TYPE_CHECKING:
    from assistant.chat import Turn

CAPTIONS_PROMPT = "with_captions"
# MedVInT was trained on single questions; more history than this moves it away from the image.
EXCHANGES_WITH_IMAGE = 3
EXCHANGES_OF_TEXT = 8
MEDVINT = ServedModel("medvint", "medvint", max_images=1, prompt=MEDVINT_PROMPT)

# What a chat template writes around a message, at most; no model here needs half of it.
TOKENS_AROUND_MESSAGE = 32
# Images may fill this share of the room for a prompt, which leaves the rest to the words.
IMAGES_SHARE = 0.5
SMALLEST_SIDE = 64

Count = Callable[[Sequence[BaseMessage]], Awaitable[int | None]]
"""Tokens of a conversation as the server reads it; None where it does not say."""


@dataclass(frozen=True)
class Fitted:
    """The messages, and what the person should know about what is not in them."""

    messages: list[BaseMessage]
    notes: tuple[str, ...] = ()


def belonging(turns: Sequence["Turn"], served: ServedModel) -> list["Turn"]:
    """The turns that belong to the last one's question, with those of their images that the model can be given."""
    told = _answered(turns)
    if served.answers_alone:
        return _last(told, 0)
    left = 1 if served.max_images is None else served.max_images
    first, lost = 0, False
    for at in reversed(range(len(told))):
        images = told[at].images
        kept = images[max(0, len(images) - left) :]
        told[at] = replace(told[at], images=kept)
        left -= len(kept)
        lost |= len(kept) < len(images)
        first = at if kept else first
    # What was said about an image that is gone would be taken for words about those that stay.
    told = told[first:] if lost or served.is_medvint else told
    if served.is_medvint or served.context is None:
        limit = EXCHANGES_WITH_IMAGE if served.is_medvint and told[0].images else EXCHANGES_OF_TEXT
        return _last(told, limit)
    return told


def _answered(turns: Sequence["Turn"]) -> list["Turn"]:
    """The exchanges that have both sides; an image whose question was never answered goes with the next one."""
    waiting: tuple[CleanImage, ...] = ()
    told = []
    for turn in turns:
        images = waiting + turn.images
        if turn.answer or turn is turns[-1]:
            told.append(replace(turn, images=images))
            waiting = ()
        else:
            waiting = images
    return told


def _last(turns: Sequence["Turn"], exchanges: int) -> list["Turn"]:
    """The last turn and so many before it; the image that they are about moves to the first of them."""
    kept = list(turns[max(0, len(turns) - 1 - exchanges) :])
    current = next((turn.images[-1] for turn in reversed(turns) if turn.images), None)
    if current and not any(turn.images for turn in kept):
        kept[0] = replace(kept[0], images=(current,))
    return kept


def messages_of(turns: Sequence["Turn"], captions: Sequence[Hit] = ()) -> list[BaseMessage]:
    """The messages for the model; the captions of similar figures stand in the last one."""
    messages: list[BaseMessage] = []
    for turn in turns:
        is_last = turn is turns[-1]
        text = with_captions(turn.question, captions) if is_last and captions else turn.question
        messages.append(_asked(text, turn.images))
        if not is_last:
            messages.append(AIMessage(turn.answer))
    return messages


def with_captions(question: str, hits: Sequence[Hit]) -> str:
    """The question with the captions of similar figures before it, for models that were trained to read them."""
    return prompts.load(CAPTIONS_PROMPT).render(question=question, captions=[hit.figure.caption for hit in hits])


def _asked(text: str, images: Sequence[CleanImage]) -> HumanMessage:
    if not images:
        return HumanMessage(text)
    pictures: list[str | dict] = [
        {"type": "image", "base64": base64.b64encode(image.data).decode("ascii"), "mime_type": "image/png"}
        for image in images
    ]
    return HumanMessage([*pictures, {"type": "text", "text": text}])


async def fit(
    turns: Sequence["Turn"], captions: Sequence[Hit], served: ServedModel, count: Count, answer_tokens: int
) -> Fitted:
    """The messages of as many turns and captions as the model's context holds beside an answer.

    The oldest exchanges go first, then the captions of the least similar figures; an image that would fill the context
    alone is made smaller. Where the server counts no tokens, everything is sent and the server may refuse it.

    Args:
        turns: the conversation, the last one is to be answered.
        answer_tokens: the longest answer; short contexts keep half for the prompt.
    """
    told = belonging(turns, served)
    notes = []
    if any(turn.images for turn in turns) and not any(turn.images for turn in told):
        notes.append(f"{served.name} reads text only and did not see the image")
    if served.answers_alone and len(turns) > 1:
        notes.append(f"{served.name} reads each question alone: what was said before was not read")
    if served.context is None or not served.counts:
        return Fitted(messages_of(told, captions), tuple(notes))
    room = served.context - min(answer_tokens, served.context // 2)
    if served.image_tokens is None and any(turn.images for turn in told):
        told, smaller = await _with_smaller_images(told, count, room)
        notes += smaller

    def build(plan: int) -> list[BaseMessage]:
        left_out = min(plan, len(told) - 1)
        shown = len(captions) - (plan - left_out)
        return messages_of(_last(told, len(told) - 1 - left_out), captions[:shown])

    whole = build(0)
    if served.image_tokens is not None and _at_most(told, whole, served.image_tokens) <= room:
        return Fitted(whole, tuple(notes))
    low, high = 0, len(told) - 1 + len(captions)
    middle = 0
    while low < high:
        tokens = await count(build(middle))
        if tokens is None or tokens <= room:
            high = middle
        else:
            low = middle + 1
        middle = (low + high) // 2
    if low:
        dropped = min(low, len(told) - 1)
        notes.append(
            f"the conversation is longer than {served.name} reads: its first {dropped} exchanges were left out"
        )
    return Fitted(build(low), tuple(notes))


def _at_most(turns: Sequence["Turn"], messages: Sequence[BaseMessage], image_tokens: int) -> int:
    """A number of tokens that the conversation does not exceed: no tokenizer needs more than one for a byte."""
    images = sum(len(turn.images) for turn in turns)
    return images * image_tokens + sum(len(message.text.encode()) + TOKENS_AROUND_MESSAGE for message in messages)


async def _with_smaller_images(turns: list["Turn"], count: Count, room: int) -> tuple[list["Turn"], list[str]]:
    """The turns with images that fill no more than their share of the room, and what was done to them, in words."""
    share = IMAGES_SHARE * room / sum(len(turn.images) for turn in turns)
    notes = []
    fitting = []
    for turn in turns:
        images = []
        for image in turn.images:
            smaller = image
            while (tokens := await count([_asked("", [smaller])])) and tokens > share:
                factor = 0.95 * math.sqrt(share / tokens)
                if factor * min(smaller.width, smaller.height) < SMALLEST_SIDE:
                    break
                smaller = _resized(image, factor * smaller.width / image.width)
            if smaller is not image:
                notes.append(f"the model was given the image in {smaller.width} x {smaller.height} pixels")
            images.append(smaller)
        fitting.append(replace(turn, images=tuple(images)))
    return fitting, notes


def _resized(image: CleanImage, factor: float) -> CleanImage:
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    buffer = io.BytesIO()
    image.image.resize(size, Image.Resampling.LANCZOS).save(buffer, "PNG")
    return replace(image, width=size[0], height=size[1], data=buffer.getvalue())
