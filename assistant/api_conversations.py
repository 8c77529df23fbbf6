"""A conversation as a file: GET /api/conversations/{id}.md, .html, .json. The signed-in person's own only."""

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from assistant.api import error_response
from assistant.conversation_files import as_html, as_json, as_markdown
from assistant.conversations import ConversationError, Conversations

TYPES = {"md": "text/markdown", "html": "text/html", "json": "application/json"}


def conversations_router(store: Conversations) -> APIRouter:
    """The one route over the kept conversations."""
    router = APIRouter(prefix="/api/conversations")

    @router.get("/{identity}.{kind}", response_model=None)
    def conversation(identity: str, kind: Literal["md", "html", "json"], request: Request) -> Response:
        """The conversation with its images (HTML and JSON) and sources."""
        try:
            turns, _ = store.load(request.scope.get("state", {}).get("user", ""), identity)
        except ConversationError as error:
            return error_response("not_found", str(error), 404)
        written = {"md": as_markdown, "html": as_html, "json": as_json}[kind](turns)
        headers = {"Content-Disposition": f'attachment; filename="conversation.{kind}"', "Cache-Control": "no-store"}
        return Response(written, media_type=TYPES[kind], headers=headers)

    return router
