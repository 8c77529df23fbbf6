"""Did the model look? The same question with a blank image and with one that is unlike it, and what changes, in words.

looked = await did_it_look(assistant, settings, turn, examples)
looked.words()      # "Without the image it would have said the same (likely, 81 % instead of 84 %)."
"""

import asyncio
import io
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from assistant.chat import Assistant, Turn
from assistant.confidence import Confidence
from assistant.conversation import fit
from assistant.settings import Settings
from assistant.uploads import CleanImage, UploadLimits, clean_upload

MEDVINT_EXAMPLES = ("ct-head.png", "mri-abdomen.png", "retina.png", "ultrasound-heart.png")


@dataclass(frozen=True)
class Looked:
    """The answers to one question with its image, with a blank one, and with one that is unlike it."""

    question: str
    answer: str
    confidence: Confidence | None
    blank_answer: str
    blank_confidence: Confidence | None
    other_answer: str
    other_confidence: Confidence | None

    @property
    def same_without(self) -> bool:
        """Whether the answer is the same without the image."""
        return _same(self.answer, self.blank_answer)

    def words(self) -> str:
        """One or two plain sentences."""
        if self.same_without:
            first = f"Without the image it would have said the same{_instead(self.confidence, self.blank_confidence)}."
        else:
            first = f"Without the image it would have said “{_short(self.blank_answer)}”: it looked."
        if _same(self.answer, self.other_answer):
            return f"{first} With another image, too{_instead(self.confidence, self.other_confidence)}."
        return f"{first} With another image: “{_short(self.other_answer)}”."


async def did_it_look(assistant: Assistant, settings: Settings, turn: Turn, image: CleanImage) -> Looked:
    """Ask twice more, without captions and history; about as long as two short answers take.

    Args:
        turn: complete; its question was about `image`.

    Raises:
        ModelError: as the chat turn does.
    """
    unlike = await asyncio.to_thread(most_unlike, image, settings, assistant)
    answers = []
    # The turn's own answer may have come from captions or from what was said before: all three are asked alike.
    for shown in (image, blank(image), unlike):
        answers.append(await _answer(assistant, settings, turn.question, shown))
    (answer, sure), (blank_answer, blank_sure), (other_answer, other_sure) = answers
    return Looked(turn.question, answer, sure, blank_answer, blank_sure, other_answer, other_sure)


def blank(image: CleanImage) -> CleanImage:
    """Black, in the size of the image: what the evaluation's control shows too."""
    buffer = io.BytesIO()
    Image.new("RGB", (image.width, image.height)).save(buffer, "PNG")
    return clean_upload(buffer.getvalue(), "", UploadLimits())


def most_unlike(image: CleanImage, settings: Settings, assistant: Assistant) -> CleanImage:
    """Of the images that come with the product, the one that the image search finds least similar."""
    folder = Path(__file__).parent / "examples"
    others = [
        clean_upload((folder / name).read_bytes(), name, UploadLimits(settings.max_upload_bytes, settings.max_pixels))
        for name in MEDVINT_EXAMPLES
    ]
    vectors = np.asarray(assistant.figures.embedder.embed_images([image.image, *(other.image for other in others)]))
    return others[int(np.argmin(vectors[1:] @ vectors[0]))]


async def _answer(
    assistant: Assistant, settings: Settings, question: str, image: CleanImage
) -> tuple[str, Confidence | None]:
    served = await assistant.model.served()
    turn = Turn(question, (image,))
    fitted = await fit([turn], (), served, assistant.model.count, settings.max_answer_tokens)
    said: list[str] = []
    logprobs: list[float] = []
    async with aclosing(assistant.model.stream(fitted.messages)) as tokens:
        async for token in tokens:
            said.append(token.text)
            logprobs.extend(token.logprobs)
    return "".join(said).strip(), Confidence.of(logprobs, assistant.calibration)


def _same(first: str, second: str) -> bool:
    return first.strip(" .").lower() == second.strip(" .").lower()


def _short(answer: str, most: int = 80) -> str:
    return answer if len(answer) <= most else answer[: most - 1].rstrip() + "…"


def _instead(before: Confidence | None, after: Confidence | None) -> str:
    if before is None or after is None:
        return ""
    return f" ({after.value:.0%} sure instead of {before.value:.0%})".replace("%", " %")
