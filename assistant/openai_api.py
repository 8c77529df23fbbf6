"""The OpenAI form of the chat turn, for clients that speak it: GET /v1/models, POST /v1/chat/completions.

    OpenAI(base_url="http://127.0.0.1:7860/v1", api_key="none").chat.completions.create(
        model="medvint", messages=[{"role": "user", "content": "What is a pneumothorax?"}])

Text in an image that may name a person is blacked out before anything is kept or sent on, and `notes` say so.

The last message of the answer has one more field, `medvint`: hits, support, confidence, as `POST /api/ask` has them.
"""

import asyncio
import base64
import binascii
import json
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assistant.api import RequestError
from assistant.chat import Assistant, QuestionError, Turn
from assistant.model import ModelError
from assistant.settings import Settings
from assistant.uploads import CleanImage, NotAnImageError, TooLargeError, UploadLimits, clean_upload
from assistant.uploads_privacy import admit

MODEL_ID = "medvint"
MAX_MESSAGES = 200
# Base64 makes four bytes of three, and a conversation may have had several images.
BODY_OF_IMAGES = 4


class MessagesError(RequestError):
    """Messages that make no conversation; the message is a sentence for their sender."""

    code = "bad_request"


class ImageUrl(BaseModel):
    """Only `data:` URLs are read: fetching an address that a client names would reach into this network."""

    url: str


class Part(BaseModel):
    """Text or an image."""

    type: Literal["text", "image_url"]
    text: str = ""
    image_url: ImageUrl | None = None


class Message(BaseModel):
    """One message; `system` and `developer` messages are read and not used: the model has a prompt of its own."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None


class ChatRequest(BaseModel):
    """What is read of a request; further fields, such as `temperature`, change nothing."""

    model_config = ConfigDict(extra="ignore")

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    model: str = MODEL_ID
    stream: bool = False


_SCHEMA = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": ChatRequest.model_json_schema()}}}
}


def openai_router(assistant: Assistant, settings: Settings) -> APIRouter:
    """The two routes over one assistant."""
    router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])
    limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)

    @router.get("/models")
    async def models() -> dict[str, Any]:
        """The one model, by the name that the product has."""
        state = await assistant.model.state()
        return {"object": "list", "data": [{"id": MODEL_ID, "object": "model", "owned_by": state.name or "medvint"}]}

    @router.post("/chat/completions", response_model=None, openapi_extra=_SCHEMA)
    async def chat(http: Request) -> Response:
        """Answer the last user message, with the images and exchanges before it."""
        request = await _read(http, BODY_OF_IMAGES * limits.max_bytes)
        history, question, image = await asyncio.to_thread(conversation, request.messages, limits)
        turns = assistant.ask(question, image, history)
        # The first turn comes before any token; what is wrong with the request shows here, as a status.
        first = await anext(turns)
        identity = f"chatcmpl-{uuid.uuid4().hex}"
        if request.stream:
            return StreamingResponse(_events(identity, first, turns), media_type="text/event-stream")
        last = first
        async with aclosing(turns):
            async for turn in turns:
                last = turn
        message = {"role": "assistant", "content": last.answer}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse(_body(identity, "chat.completion", choice) | {"medvint": last.to_dict()})

    return router


async def _read(http: Request, most: int) -> ChatRequest:
    body = bytearray()
    async for piece in http.stream():
        body += piece
        if len(body) > most:
            raise TooLargeError(f"The request is larger than {most / 1024 / 1024:g} MB. Please send fewer images.")
    try:
        return ChatRequest.model_validate_json(bytes(body))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise MessagesError(f"The request could not be read: {where or 'body'}: {fault['msg']}.") from error


def conversation(messages: list[Message], limits: UploadLimits) -> tuple[list[Turn], str, CleanImage | None]:
    """Earlier turns, the question, and its image.

    Raises MessagesError where the last message is not a user's; the uploads' errors for an image that cannot be read.
    """
    said = [message for message in messages if message.role in ("user", "assistant")]
    if not said or said[-1].role != "user":
        raise MessagesError("The last message has to be the user's question.")
    history: list[Turn] = []
    for message in said[:-1]:
        text, image = _content(message, limits)
        if message.role == "user":
            history.append(Turn(text, (image,) if image else ()))
        elif history:
            history[-1] = Turn(history[-1].question, history[-1].images, answer=text)
    question, image = _content(said[-1], limits)
    return history, question, image


def _content(message: Message, limits: UploadLimits) -> tuple[str, CleanImage | None]:
    if message.content is None or isinstance(message.content, str):
        return message.content or "", None
    text = "\n".join(part.text for part in message.content if part.type == "text")
    urls = [part.image_url.url for part in message.content if part.image_url]
    if len(urls) > 1:
        raise MessagesError("A message may have one image. Send further images with messages of their own.")
    return text, _image(urls[0], limits) if urls else None


def _image(url: str, limits: UploadLimits) -> CleanImage:
    head, _, data = url.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64"):
        raise MessagesError("Images are read as data: URLs in base64; addresses are not fetched.")
    try:
        return admit(clean_upload(base64.b64decode(data, validate=True), "", limits), redact=True)
    except binascii.Error as error:
        raise NotAnImageError("The image is not valid base64.") from error


async def _events(identity: str, turn: Turn, turns: AsyncGenerator[Turn, None]) -> AsyncGenerator[str, None]:
    yield _event(_chunk(identity, {"role": "assistant", "content": ""}))
    said = ""
    try:
        async with aclosing(turns):
            async for turn in turns:
                # The last turn's answer is stripped: it adds nothing to what was sent.
                if turn.answer.startswith(said) and (new := turn.answer[len(said) :]):
                    said = turn.answer
                    yield _event(_chunk(identity, {"content": new}))
    except (ModelError, QuestionError) as error:
        yield _event({"error": {"code": error.code, "message": str(error)}})
        return
    yield _event(_chunk(identity, {}, "stop") | {"medvint": turn.to_dict()})
    yield "data: [DONE]\n\n"


def _chunk(identity: str, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return _body(identity, "chat.completion.chunk", {"index": 0, "delta": delta, "finish_reason": finish_reason})


def _body(identity: str, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": identity, "object": kind, "created": int(time.time()), "model": MODEL_ID, "choices": [choice]}


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
