"""Multipart forms of requests, read within limits, and the shape of every error answer."""

import asyncio
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message

from assistant.uploads import CleanImage, TooLargeError, UploadLimits, clean_upload

# Room beside the image for the question, the history and the multipart headers.
FORM_OVERHEAD_BYTES = 512 * 1024
MAX_FIELDS = 64


class RequestError(Exception):
    """A request that cannot be read; the message is a sentence for its sender."""

    code = "bad_request"


class ErrorBody(BaseModel):
    """What every error looks like: `{"error": {"code", "message"}}`; `findings` goes with `identity_found` only."""

    class Detail(BaseModel):
        code: str
        message: str
        findings: dict[str, Any] | None = None

    error: Detail


ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (400, 413, 415, 422, 503, 504)}


def error_response(code: str, message: str, status: int, **more: Any) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, **more}}, status_code=status)


async def bounded_form(request: Request, limits: UploadLimits) -> FormData:
    """The multipart form, refused while it is read once it has grown over the limit.

    Raises:
        TooLargeError: more bytes than the limits allow.
        RequestError: it is no form, or has more than one file.
    """
    received = bytearray()
    try:
        async for chunk in request.stream():
            received += chunk
            if len(received) > limits.max_bytes + FORM_OVERHEAD_BYTES:
                raise TooLargeError(
                    f"The request is larger than {limits.max_bytes / 1024 / 1024:g} MB. Please send a smaller image."
                )
    except ClientDisconnect as error:
        raise RequestError("The request ended before all of it had arrived.") from error

    async def replay() -> Message:
        return {"type": "http.request", "body": bytes(received), "more_body": False}

    try:
        # Parts of a form are limited to 1 MB by default, which counts only those that are not files.
        return await Request(request.scope, replay).form(max_files=1, max_fields=MAX_FIELDS)
    except HTTPException as error:
        raise RequestError("The form could not be read. Send its fields as multipart/form-data.") from error


def text_field(form: FormData, name: str) -> str:
    """A field's text; "" where it is not sent.

    Raises:
        RequestError: it is a file.
    """
    value = form.get(name)
    if isinstance(value, UploadFile):
        raise RequestError(f"The field `{name}` has to be text, not a file.")
    return value or ""


def yes_field(form: FormData, name: str) -> bool:
    """A field that says yes or no; no where it is not sent.

    Raises:
        RequestError: it says something else.
    """
    value = text_field(form, name).strip().lower()
    if value in ("true", "1", "yes", "on"):
        return True
    if value in ("", "false", "0", "no", "off"):
        return False
    raise RequestError(f"The field `{name}` has to be true or false.")


async def image_field(form: FormData, limits: UploadLimits) -> CleanImage | None:
    """The file in the field `image`; None where none is sent.

    Raises:
        RequestError: it is text.
        UploadError: its subclasses say why it is no image that is accepted.
    """
    upload = form.get("image")
    if isinstance(upload, str):
        if upload:
            raise RequestError("The field `image` has to be a file, not text.")
        return None
    if upload is None or not (upload.filename or upload.size):
        return None
    return await asyncio.to_thread(clean_upload, await upload.read(), upload.filename or "", limits)
