"""MedVInT-TE behind the endpoints that the product asks of vLLM, which cannot run it: it is no decoder.

    python -m serving.medvint_te.server --model data/models/te --port 8000
    curl http://127.0.0.1:8000/v1/models

Questions that wait at the same time become one batch, and an image is looked at once however many questions it has.
"""

import argparse
import asyncio
import base64
import binascii
import hashlib
import io
import json
import math
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image
from pydantic import BaseModel, Field

from serving.choices import ChoiceError
from serving.medvint_te.answering import Answerer, Asked
from serving.medvint_te.text import QuestionTooLongError
from serving.server import SERVED_NAME, TE_OWNER

IMAGES_KEPT = 64
QUESTIONS_AT_ONCE = 32
_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,(.+)", re.DOTALL)
_CHOICES = re.compile(r"(.*)Choices:(\s*A:.+)", re.DOTALL)
_LETTER = re.compile(r"(?:^|\s)\s*([A-Z]):")


class RefusedError(Exception):
    """A request that this model cannot answer; the message says why."""


class Message(BaseModel):
    """One message of a conversation, its content words or parts as OpenAI's API has them."""

    role: str
    content: str | list[dict[str, Any]] | None = None


class ChatRequest(BaseModel):
    """What is read of a chat request; sampling settings have no meaning here and are not."""

    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    logprobs: bool = False


class TokenizeRequest(BaseModel):
    """Either a text or a conversation."""

    prompt: str = ""
    messages: list[Message] = []


@dataclass(frozen=True)
class Question:
    """`image` is a picture's file, `choices` their texts where the question has some."""

    text: str
    image: bytes
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Said:
    """Pieces of an answer, each with the log-probability of a token."""

    pieces: tuple[tuple[str, float], ...]

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.pieces)


def split_choices(text: str) -> tuple[str, tuple[str, ...]]:
    """A question in PMC-VQA's form, "...?Choices: A:Axial  B:Coronal ", and its choices; none in any other form."""
    found = _CHOICES.fullmatch(text)
    if not found:
        return text, ()
    marks = list(_LETTER.finditer(found[2]))
    letters = [mark[1] for mark in marks]
    if letters != [chr(ord("A") + number) for number in range(len(letters))]:
        return text, ()
    ends = [mark.start() for mark in marks[1:]] + [len(found[2])]
    return found[1], tuple(found[2][mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True))


def read_question(messages: Sequence[Message]) -> Question:
    """The last message's words and the last image before them: there is no dialogue in this model.

    Raises:
        RefusedError: no image, several in one message, or none that is given as data.
    """
    words, image = "", ""
    for message in messages:
        parts: list[dict[str, Any]] = (
            [{"type": "text", "text": message.content}] if isinstance(message.content, str) else message.content or []
        )
        pictures = [
            str((part.get("image_url") or {}).get("url", "")) for part in parts if part.get("type") == "image_url"
        ]
        if len(pictures) > 1:
            raise RefusedError("At most 1 image(s) may be provided in one prompt.")
        image = pictures[0] if pictures else image
        if message.role == "user":
            words = "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    if not image:
        raise RefusedError("MedVInT-TE answers questions about an image: none was given.")
    data = _DATA_URI.fullmatch(image)
    if data is None:
        raise RefusedError("Images are taken as data URIs only.")
    try:
        content = base64.b64decode(data[1], validate=True)
    except binascii.Error as error:
        raise RefusedError("The image's data URI is not base64.") from error
    question, choices = split_choices(words)
    return Question(question, content, choices)


@dataclass
class _Waiting:
    question: Question
    said: "asyncio.Future[Said]"


@dataclass
class Batches:
    """Answers what waits, as many at once as there are, in a thread of its own; one pass at a time."""

    answerer: Answerer
    _queue: "asyncio.Queue[_Waiting]" = field(default_factory=asyncio.Queue)
    _seen: "OrderedDict[str, torch.Tensor]" = field(default_factory=OrderedDict)

    async def ask(self, question: Question) -> Said:
        """Raises RefusedError where the image or the question cannot be read."""
        waiting = _Waiting(question, asyncio.get_running_loop().create_future())
        await self._queue.put(waiting)
        return await waiting.said

    async def work(self) -> None:
        """Runs for as long as the server does."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < QUESTIONS_AT_ONCE and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                results = await asyncio.to_thread(self.answers, [each.question for each in batch])
            except (RuntimeError, MemoryError) as error:
                results = [error] * len(batch)
            for each, result in zip(batch, results, strict=True):
                if each.said.done():
                    continue
                if isinstance(result, Said):
                    each.said.set_result(result)
                else:
                    each.said.set_exception(result)

    def answers(self, questions: Sequence[Question]) -> Sequence[Said | Exception]:
        """Each question's answer, or why there is none."""
        answers: list[Said | Exception | None] = [None] * len(questions)
        names = [hashlib.sha256(question.image).hexdigest() for question in questions]
        self._look(dict(zip(names, (question.image for question in questions), strict=True)))
        free: list[int] = []
        for number, (question, name) in enumerate(zip(questions, names, strict=True)):
            if name not in self._seen:
                answers[number] = RefusedError("The image could not be read.")
                continue
            asked = Asked(self._seen[name], question.text)
            try:
                if question.choices:
                    answers[number] = self._chosen(asked, question.choices)
                else:
                    text = self.answerer.text
                    text.masked(text.blank(question.text), self.answerer.most_slots)
                    free.append(number)
            except (QuestionTooLongError, ChoiceError) as error:
                answers[number] = RefusedError(f"{error} (maximum context length: {self.answerer.text.longest})")
        told = self.answerer.answer([Asked(self._seen[names[n]], questions[n].text) for n in free])
        for number, answer in zip(free, told, strict=True):
            # All words came at once: they stand with the first token.
            words = [answer.text, *[""] * len(answer.logprobs)]
            answers[number] = Said(tuple(zip(words, answer.logprobs, strict=False)))
        while len(self._seen) > IMAGES_KEPT:
            self._seen.popitem(last=False)
        return [answer for answer in answers if answer is not None]

    def _look(self, images: dict[str, bytes]) -> None:
        new: dict[str, Image.Image] = {}
        for name, content in images.items():
            if name in self._seen:
                self._seen.move_to_end(name)
                continue
            try:
                with Image.open(io.BytesIO(content)) as opened:
                    new[name] = opened.convert("RGB")
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue  # who asks about it is told
        for name, picture in new.items():
            # One by one: on a CPU the activations of a batch leave the cache.
            self._seen[name] = self.answerer.look([picture])[0]

    def _chosen(self, asked: Asked, choices: tuple[str, ...]) -> Said:
        best = max(self.answerer.choose(asked, choices), key=lambda choice: choice.probability)
        return Said(((f"{best.letter}:{best.text}", math.log(max(best.probability, 1e-30))),))


def build_app(answerer: Answerer, root: str = "") -> FastAPI:
    """The endpoints: `/health`, `/v1/models`, `/v1/chat/completions`, `/tokenize`.

    Args:
        root: the model's folder, which `/v1/models` tells as vLLM does.
    """
    batches = Batches(answerer)

    @asynccontextmanager
    async def working(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(batches.work())
        yield
        task.cancel()

    app = FastAPI(title="MedVInT-TE", docs_url=None, redoc_url=None, lifespan=working)
    image_tokens = answerer.config.projector.num_queries
    length = image_tokens + answerer.text.longest

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        return _error(str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return _error("The request is not one of OpenAI's API.")

    @app.get("/health")
    async def health() -> Response:
        return Response()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        card = {"id": SERVED_NAME, "object": "model", "owned_by": TE_OWNER, "root": root, "max_model_len": length}
        return {"object": "list", "data": [card]}

    @app.post("/tokenize")
    async def tokenize(asked: TokenizeRequest) -> dict[str, Any]:
        text = answerer.text
        if asked.messages:
            question = read_question(asked.messages)
            prompt = text.blank(question.text)
            ids = [text.pad_id] * image_tokens + [
                text.first_id,
                *prompt,
                *[answerer.config.mask_token_id] * answerer.most_slots,
            ]
        else:
            ids = text.answer(asked.prompt)
        return {"count": len(ids), "max_model_len": length, "tokens": ids}

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(asked: ChatRequest) -> Response:
        said = await batches.ask(read_question(asked.messages))
        about = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": SERVED_NAME}
        told = _logprobs(said) if asked.logprobs else None
        if asked.stream:
            return StreamingResponse(_streamed(said, told, about), media_type="text/event-stream")
        message = {"role": "assistant", "content": said.text}
        choice = {"index": 0, "message": message, "logprobs": told, "finish_reason": "stop"}
        return JSONResponse({**about, "object": "chat.completion", "choices": [choice]})

    return app


async def _streamed(said: Said, told: dict[str, Any] | None, about: dict[str, Any]) -> AsyncIterator[str]:
    """The whole answer is there at once; it is one piece of a stream."""
    head = {**about, "object": "chat.completion.chunk"}
    delta = {"role": "assistant", "content": said.text}
    yield _event(head | {"choices": [{"index": 0, "delta": delta, "logprobs": told, "finish_reason": None}]})
    yield _event(head | {"choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]})
    yield "data: [DONE]\n\n"


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _logprobs(said: Said) -> dict[str, Any]:
    return {
        "content": [
            {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}
            for text, logprob in said.pieces
        ]
    }


def _error(message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": "BadRequestError", "code": 400}}, status_code=400)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a MedVInT-TE.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    options = parser.parse_args()
    answerer = Answerer.load(options.model, None if options.dtype == "auto" else getattr(torch, options.dtype))
    app = build_app(answerer, str(options.model))
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
