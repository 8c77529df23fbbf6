"""The served model as the chat turn sees it: a stream of tokens with log-probabilities, and whether it is there.

model = ModelClient(Settings())
async with aclosing(model.stream([HumanMessage("What is a pneumothorax?")])) as tokens:
    async for token in tokens:
        print(token.text, token.logprobs)
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import httpx
import openai
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_openai import ChatOpenAI

from assistant.request_id import request_id
from assistant.served_model import READS_NO_IMAGES, ServedModel, ask_server, read
from assistant.settings import Settings

HEALTH_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 5.0
# The page asks for the server's state more often; between two questions nothing has to be asked again.
BELIEVED_S = 30.0


class ModelError(Exception):
    """The model gave no answer; the message is a sentence for the person who asked."""

    code = "model_error"


class ModelNotReadyError(ModelError):
    """Nothing answers at the model's address, or it stopped in the middle of an answer."""

    code = "model_not_ready"


class ModelTimeoutError(ModelError):
    """The model was silent for longer than `model_timeout_s`."""

    code = "model_too_slow"


class ConversationTooLongError(ModelError):
    """The conversation does not fit into the model's context."""

    code = "conversation_too_long"


class ImageNotReadError(ModelError):
    """The model reads text only."""

    code = READS_NO_IMAGES


class ImageNeededError(ModelError):
    """The model answers questions about an image only."""

    code = "model_needs_an_image"


class ModelRefusedError(ModelError):
    """The server did not accept the request."""

    code = "model_refused"


@dataclass(frozen=True)
class Token:
    """A piece of the answer; one `logprob` for each token in it."""

    text: str
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True)
class ModelState:
    """Whether the model answers, and what it calls itself ("" until it has answered once)."""

    ready: bool
    name: str
    is_demo: bool
    served: ServedModel | None = None

    @property
    def note(self) -> str:
        """What a person should know of the model's kind; "" where there is nothing."""
        return self.served.note if self.served else ""


class ModelClient:
    """One OpenAI-compatible server and one model on it. Use it within one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = ModelState(False, "", settings.is_demo)
        self._card: dict[str, Any] = {}
        self._heard = 0.0
        self._asking = asyncio.Lock()
        trust_env = not settings.model_is_here
        self._http = httpx.AsyncClient(
            timeout=HEALTH_TIMEOUT_S,
            trust_env=trust_env,
            headers={"Authorization": f"Bearer {settings.model_api_key.get_secret_value()}"},
        )
        self._blocking_http = httpx.Client(trust_env=trust_env)
        self._answers_http = httpx.AsyncClient(trust_env=trust_env, event_hooks={"request": [_name_request]})
        self._chat = ChatOpenAI(
            model=settings.served_model_name,
            base_url=settings.model_base_url,
            api_key=settings.model_api_key,
            temperature=0,
            max_completion_tokens=settings.max_answer_tokens,
            logprobs=True,
            # Asking again by itself would hide a dead model from the person who waits.
            max_retries=0,
            timeout=httpx.Timeout(settings.model_timeout_s, connect=CONNECT_TIMEOUT_S),
            stream_chunk_timeout=None,
            http_client=self._blocking_http,
            http_async_client=self._answers_http,
        )

    @property
    def name(self) -> str:
        """The model's name as last heard, or the one it is asked for by."""
        return self._state.name or self._settings.served_model_name

    async def state(self) -> ModelState:
        """Ask the server now; at most `HEALTH_TIMEOUT_S`, and longer once for a model that is new. Never raises."""
        try:
            await self._look()
        except (ModelError, httpx.HTTPError, ValueError, KeyError):
            return self._lost()
        return self._state

    async def served(self) -> ServedModel:
        """The model that answers now, and what it can be given; as last heard where that was a moment ago.

        Raises ModelNotReadyError, ModelTimeoutError, ModelRefusedError where the server has no model of that name.
        """
        if self._state.ready and self._state.served and time.monotonic() - self._heard < BELIEVED_S:
            return self._state.served
        try:
            return await self._look()
        except httpx.TimeoutException as error:
            self._lost()
            raise ModelTimeoutError("The model's server was silent. Please ask again when it is ready.") from error
        except (httpx.HTTPError, ValueError, KeyError) as error:
            self._lost()
            raise ModelNotReadyError(_NOT_READY) from error

    async def count(self, messages: Sequence[BaseMessage]) -> int | None:
        """Tokens of a conversation as the server reads it, images included; None where it does not say."""
        served = await self.served()
        try:
            told = await read(self._http, self._settings.model_root_url, served.id, _plain(messages))
        except httpx.HTTPError:
            # The question itself will tell what is wrong with the server.
            return None
        return len(told.tokens) if told and not told.refusal else None

    async def _look(self) -> ServedModel:
        async with self._asking:
            health = await self._http.get(f"{self._settings.model_root_url}/health")
            # Other servers of the same interface have no such address; their list of models says as much.
            if health.status_code not in (200, 404):
                health.raise_for_status()
            listed = await self._http.get(f"{self._settings.model_base_url}/models")
            listed.raise_for_status()
            cards = listed.json()["data"]
            card = self._chosen(cards)
            known = {key: card.get(key) for key in ("id", "root", "max_model_len")}
            if self._state.served is None or not self._state.ready or known != self._card:
                context = card.get("max_model_len") or next(
                    (other["max_model_len"] for other in cards if other.get("max_model_len")), None
                )
                served = await ask_server(self._http, self._settings.model_root_url, card, context)
                self._card = known
                self._state = ModelState(True, served.name, served.is_demo, served)
            self._heard = time.monotonic()
            assert self._state.served is not None
            return self._state.served

    def _chosen(self, cards: list[dict[str, Any]]) -> dict[str, Any]:
        wanted = self._settings.served_model_name
        names = [str(card["id"]) for card in cards]
        if wanted in names:
            return cards[names.index(wanted)]
        if len(cards) == 1 and "served_model_name" not in self._settings.model_fields_set:
            return cards[0]
        raise ModelRefusedError(
            f"The model's server has no model named {wanted}. It has: {', '.join(names) or 'none'}. "
            "MEDVINT_SERVED_MODEL_NAME chooses one."
        )

    async def stream(self, messages: Sequence[BaseMessage], temperature: float = 0.0) -> AsyncGenerator[Token, None]:
        """The answer's tokens as they come. Closing the iterator closes the request, and the server stops working.

        Raises ModelNotReadyError, ModelTimeoutError, ConversationTooLongError, ModelRefusedError.
        """
        patience = self._settings.model_timeout_s
        served = await self.served()
        try:
            async with aclosing(self._chat.astream(list(messages), model=served.id, temperature=temperature)) as chunks:  # type: ignore[type-var]
                while True:
                    async with asyncio.timeout(patience):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        self._heard = time.monotonic()
                        return
                    yield _token(chunk)
        except (TimeoutError, openai.APITimeoutError, httpx.TimeoutException) as error:
            raise ModelTimeoutError(
                f"The model was silent for {patience:.0f} s and was stopped. Please ask again, or shorter."
            ) from error
        except ContextOverflowError as error:
            raise ConversationTooLongError(_TOO_LONG) from error
        except openai.BadRequestError as error:
            # It may be another model by now, under the same name.
            self._lost()
            if "context length" in str(error) or "max_model_len" in str(error):
                raise ConversationTooLongError(_TOO_LONG) from error
            if "chat template" in str(error):
                raise ModelRefusedError(
                    f"{served.name} has no chat template, so it cannot be asked in a chat. "
                    "Put a chat_template.jinja into its folder, or choose a model that was trained for chat."
                ) from error
            raise ModelRefusedError(
                "The model's server did not accept this request. Please start a new chat."
            ) from error
        except (openai.APIError, httpx.HTTPError) as error:
            self._lost()
            raise ModelNotReadyError(_NOT_READY) from error

    async def score(self, messages: Sequence[BaseMessage], answer: str) -> tuple[float, ...]:
        """The log-probability of each token of a given answer; () where the server does not say, as not all do.

        Args:
            answer: as the model would write it, with the space that it begins with.

        Raises ModelNotReadyError, ModelTimeoutError.
        """
        served = await self.served()
        body = {
            "model": served.id,
            "messages": [*_plain(messages), {"role": "assistant", "content": answer}],
            "add_generation_prompt": False,
            "continue_final_message": True,
            "prompt_logprobs": 0,
            "max_tokens": 1,
            "temperature": 0,
        }
        address = f"{self._settings.model_base_url}/chat/completions"
        try:
            told = await self._http.post(address, json=body, timeout=self._settings.model_timeout_s)
            if told.status_code == 400:
                return ()
            told.raise_for_status()
            return _of_end(told.json().get("prompt_logprobs") or [], answer)
        except httpx.TimeoutException as error:
            raise ModelTimeoutError("The model was silent for too long. Please try again.") from error
        except (httpx.HTTPError, ValueError) as error:
            self._lost()
            raise ModelNotReadyError(_NOT_READY) from error

    async def close(self) -> None:
        await self._http.aclose()
        await self._answers_http.aclose()
        self._blocking_http.close()

    def _lost(self) -> ModelState:
        self._state = replace(self._state, ready=False)
        return self._state


_NOT_READY = "The model does not answer: it is starting or has stopped. Please ask again when it is ready."
_TOO_LONG = "The conversation is too long for this model. Please start a new chat, or ask shorter."


async def _name_request(request: httpx.Request) -> None:
    if identity := request_id.get():
        request.headers["X-Request-Id"] = identity


def _plain(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    converted = convert_to_openai_messages(list(messages))
    return converted if isinstance(converted, list) else [converted]


def _of_end(told: Sequence[dict[str, Any] | None], answer: str) -> tuple[float, ...]:
    """The log-probabilities of the last tokens, as many as make the answer; () where they do not make it."""
    text, found = "", []
    for entry in reversed(told):
        if entry is None or len(text.strip()) >= len(answer.strip()):
            break
        [token] = entry.values()
        text = str(token["decoded_token"]) + text
        found.append(float(token["logprob"]))
    return tuple(reversed(found)) if text.strip() == answer.strip() else ()


def _token(chunk: AIMessageChunk) -> Token:
    told = (chunk.response_metadata.get("logprobs") or {}).get("content") or []
    return Token(str(chunk.text), tuple(float(item["logprob"]) for item in told))
