"""The chat turn: a question, and perhaps an image, to an answer with its evidence. UI, REST and evaluation use this.

assistant = Assistant(ModelClient(settings), FigureSearch(settings), settings)
async for turn in assistant.ask("What is abnormal?", image):
    print(turn.stage, turn.answer)      # "searching the figures", then "answering", then ""
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import prompts
from assistant.confidence import Confidence, stored_calibration
from assistant.conversation import fit
from assistant.evidence import Support, support
from assistant.feedback import Feedback
from assistant.figure_search import FigureSearch
from assistant.model import ImageNeededError, ImageNotReadError, ModelClient
from assistant.notices import notices
from assistant.occlusion import Where
from assistant.region import Region, RegionError, cut
from assistant.served_model import ServedModel
from assistant.settings import Settings
from assistant.uploads import CleanImage
from retrieval.figures import Hit

QUESTION_FOR_IMAGE_ALONE = "What does this image show?"


class QuestionError(Exception):
    """Nothing that can be asked; the message is a sentence for the person."""

    code = "empty_question"


class EmptyQuestionError(QuestionError):
    """Neither words nor an image."""


class QuestionTooLongError(QuestionError):
    """More characters than `max_question_chars`."""

    code = "question_too_long"


@dataclass(frozen=True)
class Turn:
    """A question and all that is known of its answer so far. A conversation is a list of turns.

    `images` are those that came with this question. `earlier_answers` are those that were asked for again, oldest
    first; `looked` is the sentence of "Did it look?", "" where nobody asked; `feedback` is what the person said of the
    answer, `where` the map of where it looked. `stage` says what is being done, "" when the turn is complete.
    `timings` are seconds: "search", "first_token", "total".
    """

    question: str
    images: tuple[CleanImage, ...] = ()
    answer: str = ""
    hits: tuple[Hit, ...] = ()
    support: tuple[Support, ...] = ()
    confidence: Confidence | None = None
    timings: dict[str, float] = field(default_factory=dict)
    model: str = ""
    prompt: str = ""
    stage: str = ""
    notes: tuple[str, ...] = ()
    earlier_answers: tuple[str, ...] = ()
    looked: str = ""
    feedback: Feedback | None = None
    where: Where | None = None

    def to_dict(self) -> dict[str, Any]:
        """What programs get: everything but the images' bytes."""
        return {
            "question": self.question,
            "answer": self.answer,
            "hits": [hit.to_dict() for hit in self.hits],
            "support": [item.to_dict() for item in self.support],
            "confidence": self.confidence.to_dict() if self.confidence else None,
            "model": self.model,
            "prompt": self.prompt,
            "timings": {name: round(seconds, 3) for name, seconds in self.timings.items()},
            "notes": [*self.notes, *(note for image in self.images for note in image.notes)],
        }


class Assistant:
    """Answers questions: search, model, evidence, in this order."""

    def __init__(self, model: ModelClient, figures: FigureSearch, settings: Settings) -> None:
        self.model = model
        self.figures = figures
        self._settings = settings
        self.calibration = stored_calibration(settings)

    async def ask(
        self,
        question: str,
        image: CleanImage | None = None,
        history: Sequence[Turn] = (),
        *,
        temperature: float = 0.0,
        region: Region | None = None,
    ) -> AsyncGenerator[Turn, None]:
        """The turn as it grows; the last one yielded has stage "". Closing the iterator stops the model.

        Args:
            temperature: 0 for the likeliest answer; above, one drawn at random, which is how asking again differs.
            region: the part of `image` that the question is about; the model gets the crop beside the whole, or the
                crop alone where it reads one image, which a note says.

        Raises:
            EmptyQuestionError, QuestionTooLongError, RegionError: before anything was done.
            ModelError: its subclasses say why there is no answer, or no more of it.
        """
        started = time.monotonic()
        question = self._checked(question, image)
        if region and image is None:
            raise RegionError("A region needs the image that it is part of. Please send both.")
        crop = await asyncio.to_thread(cut, image, region) if image and region else None
        turn = Turn(question, tuple(one for one in (image, crop) if one))
        seen = image or current_image(history)

        yield (turn := replace(turn, stage=self.figures.stage()))
        hits, notes = await self.figures.search(
            question,
            seen.image if seen else None,
            self._settings.figures_shown,
            earlier=() if image else earlier_questions(history),
        )
        turn = replace(turn, hits=tuple(hits), notes=(*notices(question), *notes))
        turn = replace(turn, timings={"search": time.monotonic() - started}, model=self.model.name)

        yield (turn := replace(turn, stage="looking at the image" if seen else "thinking"))
        served = await self.model.served()
        turn = replace(turn, model=served.name, prompt=_prompt(served))
        if image and served.max_images == 0:
            yield turn
            raise ImageNotReadError(
                f"{served.name} reads text only and cannot look at an image. Please ask without one."
            )
        if served.answers_alone and not seen:
            yield turn
            raise ImageNeededError(f"{served.name} answers questions about an image only. Please add one.")
        if crop and served.max_images in (None, 1):
            turn = replace(turn, notes=(*turn.notes, f"{served.name} reads one image: it was given the region alone"))
        captions = hits if self._settings.captions_in_prompt else []
        fitted = await fit([*history, turn], captions, served, self.model.count, self._settings.max_answer_tokens)
        turn = replace(turn, notes=(*turn.notes, *fitted.notes))
        logprobs: list[float] = []
        async with aclosing(self.model.stream(fitted.messages, temperature)) as tokens:
            async for token in tokens:
                logprobs.extend(token.logprobs)
                if not token.text:
                    continue
                if not turn.answer:
                    timings = turn.timings | {"first_token": time.monotonic() - started}
                    turn = replace(turn, timings=timings, stage="answering")
                yield (turn := replace(turn, answer=turn.answer + token.text))

        answer = turn.answer.strip()
        yield replace(
            turn,
            answer=answer,
            support=tuple(support(question, answer, hits)),
            confidence=Confidence.of(logprobs, self.calibration if seen else None),
            timings=turn.timings | {"total": time.monotonic() - started},
            stage="",
        )

    def _checked(self, question: str, image: CleanImage | None) -> str:
        if len(question) > self._settings.max_question_chars:
            raise QuestionTooLongError(
                f"The question has {len(question):,} characters; at most {self._settings.max_question_chars:,} "
                "are read. Please ask shorter."
            )
        if question.strip():
            # As it is: a benchmark's prompt may end in a space that the model was trained with.
            return question
        if image is None:
            raise EmptyQuestionError("There is no question and no image. Please write a question or add an image.")
        return QUESTION_FOR_IMAGE_ALONE


def current_image(history: Sequence[Turn]) -> CleanImage | None:
    """The image that a follow-up question is about: the last one shown."""
    return next((turn.images[-1] for turn in reversed(history) if turn.images), None)


def earlier_questions(history: Sequence[Turn]) -> list[str]:
    """The questions that a follow-up goes on from, oldest first: those since the last image was shown."""
    since = next((at for at in reversed(range(len(history))) if history[at].images), 0)
    return [turn.question for turn in history[since:]]


def _prompt(served: ServedModel) -> str:
    return f"{served.prompt} {prompts.load(served.prompt).version}" if served.is_medvint else served.prompt
