"""The assistant as tools for other programs, by the Model Context Protocol: `ask_image` and `search_figures` at /mcp.

tools = make_tools(assistant, settings)
app.router.routes.extend(tools.routes); async with tools.running(): ...
"""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import Field
from starlette.routing import BaseRoute

from assistant.chat import Assistant, QuestionError
from assistant.model import ModelError
from assistant.region import read_region
from assistant.settings import Settings
from assistant.uploads import CleanImage, UploadError, UploadLimits, clean_upload
from assistant.uploads_privacy import admit

ADDRESS = "/mcp"
INSTRUCTIONS = (
    "Answers about medical images and similar figures from PubMed Central, for teaching and learning. "
    "A study aid, not a diagnostic device: answers are often wrong and have to be checked."
)


@dataclass(frozen=True)
class Tools:
    """The routes, and what has to run as long as they are used."""

    routes: Sequence[BaseRoute]
    server: MCPServer

    def running(self) -> AbstractAsyncContextManager[None]:
        """Holds the protocol's sessions."""
        return self.server.session_manager.run()


def make_tools(assistant: Assistant, settings: Settings) -> Tools:
    """The tools over one assistant."""
    limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)
    server: MCPServer = MCPServer("medvint-assistant", instructions=INSTRUCTIONS, log_level="WARNING")

    @server.tool()
    async def ask_image(
        question: Annotated[str, Field(description="in plain words; may be empty where there is an image")],
        image: Annotated[str, Field(description="an image file as base64 or data: URL; empty for none")] = "",
        region: Annotated[str, Field(description="left,top,right,bottom: what of the image it is about")] = "",
    ) -> dict[str, Any]:
        """Ask MedVInT about a medical image: answer, confidence, similar figures, and which sentences they support.

        Text in the image that may name a person is blacked out before anything is kept or asked; `notes` say so.
        """
        try:
            clean = await asyncio.to_thread(_redacted, image, limits) if image else None
            async with aclosing(assistant.ask(question, clean, region=read_region(region))) as turns:
                async for turn in turns:
                    last = turn
        except (UploadError, QuestionError, ModelError) as error:
            raise ToolError(str(error)) from error
        return last.to_dict()

    @server.tool()
    async def search_figures(
        words: Annotated[str, Field(description="what the caption should speak of; may be empty with an image")] = "",
        image: Annotated[str, Field(description="an image file as base64 or data: URL; empty for none")] = "",
        k: Annotated[int, Field(ge=1, le=50, description="how many figures at most")] = 8,
    ) -> dict[str, Any]:
        """Figures from open-access articles that look like an image or speak of some words, with licence and link."""
        if not words.strip() and not image:
            raise ToolError("Give words, an image, or both.")
        try:
            clean = await asyncio.to_thread(_decoded, image, limits) if image else None
        except UploadError as error:
            raise ToolError(str(error)) from error
        hits, notes = await assistant.figures.search(words, clean.image if clean else None, k)
        return {"hits": [hit.to_dict() for hit in hits], "notes": list(notes)}

    app = server.streamable_http_app(
        streamable_http_path=ADDRESS,
        stateless_http=True,
        json_response=True,
        max_request_body_size=2 * settings.max_upload_bytes,
        # The guard in front has checked host and origin.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return Tools(app.routes, server)


def _redacted(image: str, limits: UploadLimits) -> CleanImage:
    return admit(_decoded(image, limits), redact=True)


def _decoded(image: str, limits: UploadLimits) -> CleanImage:
    data = image.partition(",")[2] if image.startswith("data:") else image
    try:
        return clean_upload(base64.b64decode(data, validate=True), "", limits)
    except binascii.Error as error:
        raise ToolError("The image is not valid base64.") from error
