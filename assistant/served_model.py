"""What the model's server says about its model: name, context, images, and whose prompt form it uses.

MedVInT, MedGemma, Qwen-VL and the rest are all asked through their own chat template, which the server applies. It is
asked with tiny conversations how it would read them (vLLM's `/tokenize`); the model itself has nothing to do for that.

    served = await ask_server(http, "http://127.0.0.1:8000", card)
    served.name, served.context, served.max_images
"""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import httpx
from PIL import Image

from serving.server import TE_OWNER

MAX_IMAGES = 4
"""More images than these are never put into one conversation."""

READS_NO_IMAGES = "model_reads_no_images"
"""The error code of a question with an image to a model that reads text only."""

PROBE_TIMEOUT_S = 30.0
MEDVINT_PROMPT = "medvint_chat"
MEDVINT_LLAMA_PROMPT = "medvint_llama_chat"
MEDVINT_TE_PROMPT = "blank"
OWN_TEMPLATE = "the model's own chat template"

ANSWERS_ALONE = (
    "MedVInT-TE gives one short answer to one question about an image: it knows no dialogue and cannot explain."
)

_WORDS = "word"
_IMAGE_LIMIT = re.compile(r"At most (\d+) image")


@dataclass(frozen=True)
class ServedModel:
    """One model behind one server.

    Attributes:
        id: the name under which the server is asked for it.
        name: what people know it by: the last part of its folder or hub id.
        context: tokens of prompt and answer together; None where the server does not say.
        max_images: in one conversation; 0 for a model that reads text only, None where the server does not say.
        prompt: the name of its prompt form; `OWN_TEMPLATE` for all models but MedVInT.
        image_tokens: tokens of any image; None where that depends on the image or is not known.
        counts: whether the server counts a conversation's tokens.
    """

    id: str
    name: str
    context: int | None = None
    max_images: int | None = None
    prompt: str = OWN_TEMPLATE
    image_tokens: int | None = None
    counts: bool = False

    @property
    def is_medvint(self) -> bool:
        return self.prompt != OWN_TEMPLATE

    @property
    def answers_alone(self) -> bool:
        """Whether it is a MedVInT-TE: a short answer to one question about one image, no dialogue."""
        return self.prompt == MEDVINT_TE_PROMPT

    @property
    def note(self) -> str:
        """What a person should know of its kind before asking; "" where there is nothing."""
        return ANSWERS_ALONE if self.answers_alone else ""

    @property
    def is_demo(self) -> bool:
        return self.is_medvint and self.name == "demo"


@dataclass(frozen=True)
class Reading:
    """How the server reads a conversation: its tokens, or why it does not take it."""

    tokens: tuple[int, ...] = ()
    refusal: str = ""


async def read(http: httpx.AsyncClient, root_url: str, model: str, messages: list[dict[str, Any]]) -> Reading | None:
    """A conversation's tokens, with those of its images; None where the server offers no such thing.

    Raises httpx.HTTPError where it cannot be reached.
    """
    answer = await http.post(
        f"{root_url}/tokenize", json={"model": model, "messages": messages}, timeout=PROBE_TIMEOUT_S
    )
    if answer.status_code not in (200, 400):
        return None
    body = answer.json()
    if answer.status_code == 400:
        return Reading(refusal=str(body.get("error", {}).get("message", "no reason given")))
    # Other servers have an address of this name that answers something else.
    return Reading(tuple(body["tokens"])) if "max_model_len" in body else None


async def ask_server(http: httpx.AsyncClient, root_url: str, card: dict[str, Any], context: int | None) -> ServedModel:
    """Find out all that the chat turn needs to know.

    Args:
        card: the model's entry in `/v1/models`.
        context: of the model, in tokens; an adapter's entry does not say it, that of its base does.

    Raises httpx.HTTPError where the server cannot be reached, ValueError where it answers what is no JSON.
    """
    identity = str(card["id"])
    name = PurePath(str(card.get("root") or identity)).name
    if card.get("owned_by") == TE_OWNER:
        return ServedModel(identity, name, context, max_images=1, prompt=MEDVINT_TE_PROMPT, counts=True)
    one = await read(http, root_url, identity, _question(images=1))
    if one is None:
        return ServedModel(identity, name, context)
    if one.refusal:
        alone = await read(http, root_url, identity, _question(images=0))
        # A model that reads words but not this image reads none; one that reads neither may lack a template.
        reads_text = alone is not None and not alone.refusal
        return ServedModel(identity, name, context, 0 if reads_text else None, counts=reads_text)
    prompt, image_tokens = await _medvint_form(http, root_url, identity, one.tokens)
    many = await read(http, root_url, identity, _question(images=MAX_IMAGES))
    limit = _IMAGE_LIMIT.search(many.refusal) if many else None
    max_images = int(limit[1]) if limit else 1 if many is None or many.refusal else MAX_IMAGES
    return ServedModel(identity, name, context, max_images, prompt, image_tokens, counts=True)


async def _medvint_form(
    http: httpx.AsyncClient, root_url: str, identity: str, tokens: Sequence[int]
) -> tuple[str, int | None]:
    """MedVInT is known by its prompt, which no other model has: embeddings, then `Question: ...The Answer is:`."""
    words = [token for token in tokens if token != tokens[0]]
    if f"Question: {_WORDS}The Answer is:" not in await _text(http, root_url, identity, words):
        return OWN_TEMPLATE, None
    alone = await read(http, root_url, identity, _question(images=0))
    text = await _text(http, root_url, identity, alone.tokens) if alone else ""
    prompt = MEDVINT_LLAMA_PROMPT if f"Question: {_WORDS}" in text else MEDVINT_PROMPT
    return prompt, len(tokens) - len(words)


async def _text(http: httpx.AsyncClient, root_url: str, identity: str, tokens: Sequence[int]) -> str:
    body = {"model": identity, "tokens": list(tokens)}
    answer = await http.post(f"{root_url}/detokenize", json=body, timeout=PROBE_TIMEOUT_S)
    return str(answer.json()["prompt"]) if answer.status_code == 200 else ""


def _question(images: int) -> list[dict[str, Any]]:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    pictures: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}}] * images
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": _WORDS}]}]
