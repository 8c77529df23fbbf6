"""REST: POST /api/ask, GET /healthz, GET /readyz. A thin skin over the chat turn.

curl -F question="Which organ has a lesion?" -F image=@liver.png http://127.0.0.1:7860/api/ask

An image that may name a person is refused with 422 `identity_found` and the boxes, before anything is kept or sent to
the model, unless `redact=true` or `confirm_identity=true` comes with it.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from assistant.chat import Assistant, QuestionError, Turn
from assistant.forms import ERRORS, RequestError, bounded_form, error_response, image_field, text_field, yes_field
from assistant.model import (
    ConversationTooLongError,
    ModelError,
    ModelNotReadyError,
    ModelRefusedError,
    ModelTimeoutError,
)
from assistant.region import Region, read_region
from assistant.settings import Settings
from assistant.uploads import (
    ACCEPTED,
    CleanImage,
    NotAnImageError,
    TooLargeError,
    TruncatedImageError,
    UnsupportedTypeError,
    UploadError,
    UploadLimits,
)
from assistant.uploads_privacy import IdentityFoundError, admit
from assistant.uploads_text import TextReaderMissingError

logger = logging.getLogger(__name__)

MAX_HISTORY = 50
REDACT = "redact=true to have the boxes blacked out"
CONFIRM = "confirm_identity=true if you have looked and it names nobody."

_STATUS: dict[type[Exception], int] = {
    NotAnImageError: 400,
    TruncatedImageError: 400,
    TooLargeError: 413,
    UnsupportedTypeError: 415,
    IdentityFoundError: 422,
    TextReaderMissingError: 503,
    ConversationTooLongError: 400,
    ModelRefusedError: 400,
    ModelNotReadyError: 503,
    ModelTimeoutError: 504,
}
_FORM_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "question": {"type": "string"},
                        "image": {"type": "string", "format": "binary", "description": ACCEPTED},
                        "region": {
                            "type": "string",
                            "description": "left,top,right,bottom in pixels: the part of the image that the question "
                            "is about",
                        },
                        "redact": {
                            "type": "boolean",
                            "description": "black out text that is burned into the image and may name a person",
                        },
                        "confirm_identity": {
                            "type": "boolean",
                            "description": "the sender has looked: the image names nobody; it is not looked through",
                        },
                        "history": {
                            "type": "string",
                            "description": 'earlier exchanges as JSON: [{"question": "...", "answer": "..."}]; '
                            "they are about the image that is sent along, if one is",
                        },
                    },
                }
            }
        },
    }
}


class PastExchange(BaseModel):
    """One element of `history`."""

    question: str = Field(max_length=20_000)
    answer: str = Field(max_length=20_000)


_HISTORY = TypeAdapter(list[PastExchange])


def make_router(assistant: Assistant, settings: Settings) -> APIRouter:
    """The routes over one assistant."""
    router = APIRouter()
    limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)

    @router.post("/api/ask", openapi_extra=_FORM_SCHEMA, responses=ERRORS)
    async def ask(request: Request) -> JSONResponse:
        """Answer a question, about an image if one is sent."""
        turn = await _last(assistant, *await _read(request, limits))
        return JSONResponse(turn.to_dict())

    @router.get("/healthz")
    async def health() -> dict[str, str]:
        """This process answers."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def ready() -> JSONResponse:
        """Whether a question would be answered now: 200, or 503 with what is missing."""
        body = await _status(assistant)
        return JSONResponse(body, status_code=200 if body["status"] == "ready" else 503)

    @router.get("/api/status")
    async def status() -> JSONResponse:
        """The same for the page, which asks every few seconds: "not ready" is an answer and no failure."""
        return JSONResponse(await _status(assistant))

    @router.api_route("/api/{rest:path}", methods=["GET", "POST", "PUT", "DELETE"], include_in_schema=False)
    async def no_such_address(rest: str) -> JSONResponse:
        return error_response("not_found", "There is no such address. POST /api/ask answers questions.", 404)

    return router


async def _status(assistant: Assistant) -> dict[str, Any]:
    model = await assistant.model.state()
    problem = await asyncio.to_thread(assistant.figures.problem)
    return {
        "status": "ready" if model.ready and not problem else "not ready",
        "model": {"ready": model.ready, "name": model.name, "demo": model.is_demo, "note": model.note},
        "index": {"ready": not problem, "problem": problem},
    }


def add_error_handlers(app: FastAPI) -> None:
    """Every error under this app becomes JSON with a code and a sentence."""

    async def known(_: Request, error: Exception) -> JSONResponse:
        status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400)
        return error_response(getattr(error, "code", "bad_request"), str(error), status)

    async def identity(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, IdentityFoundError)
        found = error.findings
        ways = CONFIRM if found.unread else f"{REDACT}, or {CONFIRM}"
        return error_response(error.code, f"{error} Send {ways}", _STATUS[IdentityFoundError], findings=found.to_dict())

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        return error_response(code, str(error.detail), error.status_code)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        return error_response("bad_request", "The request could not be read. See /docs for its form.", 400)

    async def unknown(request: Request, error: Exception) -> JSONResponse:
        logger.error("Unexpected %s in %s", type(error).__name__, request.url.path, exc_info=error)
        return error_response("internal_error", "Something went wrong here. It was logged; please try again.", 500)

    for kind in (UploadError, QuestionError, ModelError, RequestError):
        app.add_exception_handler(kind, known)
    app.add_exception_handler(IdentityFoundError, identity)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unknown)


async def _last(
    assistant: Assistant, question: str, image: CleanImage | None, history: Sequence[Turn], region: Region | None
) -> Turn:
    last: Turn | None = None
    async with aclosing(assistant.ask(question, image, history, region=region)) as turns:
        async for turn in turns:
            last = turn
    assert last is not None
    return last


async def _read(request: Request, limits: UploadLimits) -> tuple[str, CleanImage | None, list[Turn], Region | None]:
    form = await bounded_form(request, limits)
    try:
        question, history = text_field(form, "question").strip(), _past(text_field(form, "history"))
        region = read_region(text_field(form, "region"))
        redact, confirmed = yes_field(form, "redact"), yes_field(form, "confirm_identity")
        image = await image_field(form, limits)
        if image:
            image = await asyncio.to_thread(admit, image, redact=redact, confirmed=confirmed)
        return question, image, history, region
    finally:
        await form.close()


def _past(text: str) -> list[Turn]:
    if not text.strip():
        return []
    try:
        exchanges = _HISTORY.validate_json(text)
    except (ValidationError, json.JSONDecodeError) as error:
        raise RequestError(
            'The field `history` has to be a JSON list of {"question": "...", "answer": "..."}.'
        ) from error
    return [Turn(item.question, answer=item.answer) for item in exchanges[-MAX_HISTORY:]]
