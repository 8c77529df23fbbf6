"""REST: POST /api/search; the pictures of its finds at GET /thumbnails and GET /pictures, and GET /look-alike.

curl -F text="left pleural effusion" -F k=5 -F modality=CT http://127.0.0.1:7860/api/search
curl -F image=@chest.png -F licence="CC BY" http://127.0.0.1:7860/api/search
"""

import asyncio
from html import escape
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.datastructures import FormData

from assistant import figure_cards
from assistant.figure_search import FigureSearch
from assistant.forms import ERRORS, RequestError, bounded_form, error_response, image_field, text_field
from assistant.lookalikes import NoLookAlikeError, look_alike
from assistant.narrowing import as_stored
from assistant.pages import root_of
from assistant.settings import Settings
from assistant.uploads import ACCEPTED, UploadLimits
from retrieval.errors import CorpusError, RetrievalError, WeightsMissingError
from retrieval.figures import Hit
from retrieval.filters import Filters

DEFAULT_K, MAX_K = 8, 50
NO_PICTURE = "This figure has no picture on this machine."
_KEPT = {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"}
_FRAGMENT = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_STRINGS = {"type": "array", "items": {"type": "string"}}
_FORM_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "text": {"type": "string", "description": "what to look for; with or without an image"},
                        "image": {"type": "string", "format": "binary", "description": ACCEPTED},
                        "k": {"type": "integer", "minimum": 1, "maximum": MAX_K, "default": DEFAULT_K},
                        "modality": {**_STRINGS, "description": "only these, such as CT; may be repeated"},
                        "region": {**_STRINGS, "description": "only these, such as chest; may be repeated"},
                        "licence": {**_STRINGS, "description": "only these, such as CC BY; may be repeated"},
                        "corpus": {**_STRINGS, "description": "only these, such as roco; may be repeated"},
                        "year_from": {"type": "integer"},
                        "year_to": {"type": "integer"},
                    },
                }
            }
        },
    }
}


def make_search_router(figures: FigureSearch, settings: Settings) -> APIRouter:
    """The routes over one index."""
    router = APIRouter()
    limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)

    @router.post("/api/search", openapi_extra=_FORM_SCHEMA, responses=ERRORS)
    async def search(request: Request) -> JSONResponse:
        """Figures by words, by an image, or by both; `hits` is empty where nothing is similar."""
        form = await bounded_form(request, limits)
        try:
            text, k, filters = text_field(form, "text").strip(), _number(form, "k", DEFAULT_K, 1, MAX_K), _filters(form)
            if len(text) > settings.max_question_chars:
                raise RequestError(f"The field `text` has more than {settings.max_question_chars:,} characters.")
            image = await image_field(form, limits)
        finally:
            await form.close()
        if not text and image is None:
            raise RequestError("There is nothing to look for: send `text`, an `image`, or both.")
        pixels = image.image if image else None

        def found() -> list[Hit]:
            opened = figures.open()
            return opened.search(text, pixels, k or DEFAULT_K, filters=as_stored(filters, opened.facets()))

        try:
            hits = await asyncio.to_thread(found)
        except WeightsMissingError as error:
            return error_response("no_image_search", str(error), 400)
        except CorpusError as error:
            raise RequestError(str(error)) from error
        except RetrievalError as error:
            return error_response("index_not_ready", str(error), 503)
        return JSONResponse({"hits": [_public(hit, figures, request) for hit in hits]})

    @router.get("/thumbnails", name="thumbnail", responses={404: {}})
    async def thumbnail(figure: str) -> Response:
        """A figure's small picture, where the index made one from a local file."""
        file = await asyncio.to_thread(figures.thumbnail, figure)
        if file is None:
            return error_response("not_found", NO_PICTURE, 404)
        return FileResponse(file, media_type="image/jpeg", headers=_KEPT)

    @router.get("/pictures", responses={404: {}})
    async def picture(figure: str) -> Response:
        """A figure's picture, at most 1,024 pixels, where its file lies on this machine."""
        try:
            data = await asyncio.to_thread(figures.large_jpeg, figure)
        except RetrievalError as error:
            return error_response("not_found", str(error), 404)
        if data is None:
            return error_response("not_found", NO_PICTURE, 404)
        return Response(data, media_type="image/jpeg", headers=_KEPT)

    @router.get("/look-alike", response_class=HTMLResponse)
    async def alike(figure: str, page: Literal["Chat", "Library"] = "Chat") -> HTMLResponse:
        """A part of a page: the figure beside the nearest one with a different finding, or why there is none."""
        try:
            found = await asyncio.to_thread(lambda: look_alike(figures.open(), figure))
        except (NoLookAlikeError, RetrievalError) as error:
            return HTMLResponse(f'<p class="small">{escape(str(error))}</p>', headers=_FRAGMENT)
        return HTMLResponse(figure_cards.look_alike(found, root_of(page), figures.picture), headers=_FRAGMENT)

    return router


def _public(hit: Hit, figures: FigureSearch, request: Request) -> dict[str, Any]:
    """A hit with the address of its small picture."""
    told = hit.to_dict()
    for shown in (told["figure"], *told["also"]):
        figure_id = shown["figure_id"]
        address = request.url_for("thumbnail").include_query_params(figure=figure_id)
        shown["thumbnail"] = f"{address.path}?{address.query}" if figures.thumbnail(figure_id) else None
    return told


def _filters(form: FormData) -> Filters:
    def several(name: str) -> frozenset[str]:
        values = form.getlist(name)
        if not all(isinstance(value, str) for value in values):
            raise RequestError(f"The field `{name}` has to be text, not a file.")
        return frozenset(str(value).strip() for value in values if str(value).strip())

    return Filters(
        modalities=several("modality"),
        regions=several("region"),
        licences=several("licence"),
        corpora=several("corpus"),
        year_from=_number(form, "year_from", None, 0, 9999),
        year_to=_number(form, "year_to", None, 0, 9999),
    )


def _number(form: FormData, name: str, default: int | None, least: int, most: int) -> int | None:
    text = text_field(form, name).strip()
    if not text:
        return default
    if len(text) > 9 or not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
        raise RequestError(f"The field `{name}` has to be a whole number from {least} to {most}.")
    return int(text)
