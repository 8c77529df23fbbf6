"""A conversation as a file: Markdown and HTML to read, with images and sources; JSON to read in again.

data = as_json(turns)
read_json(data, UploadLimits()) == turns
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from assistant.chat import Turn
from assistant.conversations import ConversationError, read_turn, title_of, turn_json, with_images
from assistant.evidence import mark
from assistant.uploads import UploadError, UploadLimits, clean_upload

FORMAT = "medvint-conversation"
VERSION = 1
MOST_TURNS = 2_000
NOTICE = "A study aid, not a diagnostic device. Answers can be wrong; check them against the sources."

_PAGES = Environment(
    loader=PackageLoader("assistant", "."),
    autoescape=select_autoescape(["html.jinja"]),
    trim_blocks=True,
    lstrip_blocks=True,
)


def as_json(turns: Sequence[Turn]) -> bytes:
    """All that is known of the conversation, images included."""
    images = {image.sha256: base64.b64encode(image.data).decode() for turn in turns for image in turn.images}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "turns": [json.loads(turn_json(turn)) for turn in turns],
        "images": images,
    }
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def read_json(data: bytes, limits: UploadLimits) -> list[Turn]:
    """The inverse. The file is not trusted: every image is decoded anew, as an upload is.

    Raises ConversationError in one sentence.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConversationError("This file is not JSON. Choose one that was exported here as JSON.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise ConversationError("This file is not a conversation that was exported here as JSON.")
    told, encoded = content.get("turns"), content.get("images")
    if not isinstance(told, list) or not isinstance(encoded, dict) or len(told) > MOST_TURNS:
        raise ConversationError(f"This conversation is damaged, or has more than {MOST_TURNS:,} turns.")
    images = {name: _decoded(value, limits) for name, value in encoded.items()}
    return [_safe(with_images(read_turn(json.dumps(turn)), images), limits) for turn in told]


def as_markdown(turns: Sequence[Turn]) -> str:
    """To read and to print; images are named, not shown."""
    return _render("conversation.md.jinja", turns)


def as_html(turns: Sequence[Turn]) -> str:
    """One page with the images in it; it loads nothing from anywhere."""
    return _render("conversation.html.jinja", turns)


def _render(template: str, turns: Sequence[Turn]) -> str:
    return _PAGES.get_template(template).render(
        title=title_of(turns),
        turns=turns,
        mark=mark,
        notice=NOTICE,
        day=datetime.now(UTC).date().isoformat(),
        in_base64=lambda data: base64.b64encode(data).decode(),
    )


def _decoded(value: Any, limits: UploadLimits) -> bytes:
    try:
        return clean_upload(base64.b64decode(str(value), validate=True), "", limits).data
    except (binascii.Error, UploadError) as error:
        raise ConversationError(f"An image of this conversation cannot be read: {error}") from error


def _safe(turn: Turn, limits: UploadLimits) -> Turn:
    """Images by the hash of what they hold now; no figure may name a file of this machine."""
    images = tuple(
        replace(clean_upload(image.data, "", limits), notes=image.notes, format=image.format) for image in turn.images
    )
    hits = tuple(replace(hit, figure=replace(hit.figure, image_path=None)) for hit in turn.hits)
    return replace(turn, images=images, hits=hits)
