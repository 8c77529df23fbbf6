"""The chat turn: a question, and perhaps an image, to an answer with its evidence. UI, REST and evaluation use this.

assistant = Assistant(ModelClient(settings), FigureSearch(settings), settings)
async for turn in assistant.ask("What is abnormal?", image):
    print(turn.stage, turn.answer)      # "searching the figures", then "answering", then ""
"""

import base64
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

import prompts
from assistant.confidence import Confidence
from assistant.evidence import Support, support
from assistant.figure_search import FigureSearch
from assistant.model import ModelClient
from assistant.settings import Settings
from assistant.uploads import CleanImage
from retrieval.figures import Hit

CHAT_PROMPT = "medvint_chat"
CAPTIONS_PROMPT = "with_captions"
# MedVInT was trained on single questions; more history than this moves it away from the image.
EXCHANGES_WITH_IMAGE = 3
EXCHANGES_OF_TEXT = 8
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

    `images` are those that came with this question. `stage` says what is being done, "" when the turn is complete.
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

    async def ask(
        self, question: str, image: CleanImage | None = None, history: Sequence[Turn] = ()
    ) -> AsyncGenerator[Turn, None]:
        """The turn as it grows; the last one yielded has stage "". Closing the iterator stops the model.

        Raises:
            EmptyQuestionError, QuestionTooLongError: before anything was done.
            ModelError: its subclasses say why there is no answer, or no more of it.
        """
        started = time.monotonic()
        question = self._checked(question, image)
        turn = Turn(question, (image,) if image else (), prompt=f"{CHAT_PROMPT} {prompts.load(CHAT_PROMPT).version}")
        seen = image or current_image(history)

        yield (turn := replace(turn, stage=self.figures.stage()))
        hits, note = await self.figures.search(question, seen.image if seen else None, self._settings.figures_shown)
        turn = replace(turn, hits=tuple(hits), notes=(note,) if note else ())
        turn = replace(turn, timings={"search": time.monotonic() - started}, model=self.model.name)

        yield (turn := replace(turn, stage="looking at the image" if seen else "thinking"))
        logprobs: list[float] = []
        messages = conversation(turn, history, captions=hits if self._settings.captions_in_prompt else ())
        async with aclosing(self.model.stream(messages)) as tokens:
            async for token in tokens:
                logprobs.extend(token.logprobs)
                if not token.text:
                    continue
                if not turn.answer:
                    timings = turn.timings | {"first_token": time.monotonic() - started}
                    turn = replace(turn, timings=timings, stage="answering", model=self.model.name)
                yield (turn := replace(turn, answer=turn.answer + token.text))

        answer = turn.answer.strip()
        yield replace(
            turn,
            answer=answer,
            support=tuple(support(question, answer, hits)),
            confidence=Confidence.of(logprobs),
            timings=turn.timings | {"total": time.monotonic() - started},
            stage="",
        )

    def _checked(self, question: str, image: CleanImage | None) -> str:
        question = question.strip()
        if len(question) > self._settings.max_question_chars:
            raise QuestionTooLongError(
                f"The question has {len(question):,} characters; at most {self._settings.max_question_chars:,} "
                "are read. Please ask shorter."
            )
        if question:
            return question
        if image is None:
            raise EmptyQuestionError("There is no question and no image. Please write a question or add an image.")
        return QUESTION_FOR_IMAGE_ALONE


def current_image(history: Sequence[Turn]) -> CleanImage | None:
    """The image that a follow-up question is about: the last one shown."""
    return next((turn.images[-1] for turn in reversed(history) if turn.images), None)


def conversation(turn: Turn, history: Sequence[Turn], captions: Sequence[Hit] = ()) -> list[BaseMessage]:
    """The messages for the model: the turns that belong to this question, and the image with the first of them."""
    turns = [*history, turn]
    shown_at = max((number for number, past in enumerate(turns) if past.images), default=None)
    image = None if shown_at is None else turns[shown_at].images[-1]
    answered = [past for past in turns[shown_at or 0 :] if past.answer or past is turn]
    kept = answered[-1 - (EXCHANGES_WITH_IMAGE if image else EXCHANGES_OF_TEXT) :]
    messages: list[BaseMessage] = []
    for number, past in enumerate(kept):
        text = with_captions(past.question, captions) if past is turn and captions else past.question
        messages.append(_asked(text, image if number == 0 else None))
        if past is not turn:
            messages.append(AIMessage(past.answer))
    return messages


def with_captions(question: str, hits: Sequence[Hit]) -> str:
    """The question with the captions of similar figures before it, for models that were trained to read them."""
    return prompts.load(CAPTIONS_PROMPT).render(question=question, captions=[hit.figure.caption for hit in hits])


def _asked(text: str, image: CleanImage | None) -> HumanMessage:
    if image is None:
        return HumanMessage(text)
    encoded = base64.b64encode(image.data).decode("ascii")
    picture = {"type": "image", "base64": encoded, "mime_type": "image/png"}
    return HumanMessage([picture, {"type": "text", "text": text}])
