"""The served model as the chat turn sees it: a stream of tokens with log-probabilities, and whether it is there.

model = ModelClient(Settings())
async with aclosing(model.stream([HumanMessage("What is a pneumothorax?")])) as tokens:
    async for token in tokens:
        print(token.text, token.logprobs)
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import httpx
import openai
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_openai import ChatOpenAI

from assistant.settings import Settings

HEALTH_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 5.0


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


class ModelClient:
    """One OpenAI-compatible server and one model on it. Use it within one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = ModelState(False, "", settings.is_demo)
        self._http = httpx.AsyncClient(timeout=HEALTH_TIMEOUT_S)
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
        )

    @property
    def name(self) -> str:
        """The model's name as last heard, or the one it is asked for by."""
        return self._state.name or self._settings.served_model_name

    async def state(self) -> ModelState:
        """Ask the server now; at most `HEALTH_TIMEOUT_S`. Never raises."""
        try:
            health = await self._http.get(f"{self._settings.model_root_url}/health")
            # Other servers of the same interface have no such address; their list of models says as much.
            if health.status_code not in (200, 404):
                return self._remember(ready=False)
            if self._state.ready and health.status_code == 200:
                return self._state
            models = await self._http.get(f"{self._settings.model_base_url}/models", headers=self._authorisation())
            models.raise_for_status()
            return self._remember(ready=True, served=_find(models.json(), self._settings.served_model_name))
        except (httpx.HTTPError, ValueError):
            return self._remember(ready=False)

    async def stream(self, messages: Sequence[BaseMessage]) -> AsyncGenerator[Token, None]:
        """The answer's tokens as they come. Closing the iterator closes the request, and the server stops working.

        Raises ModelNotReadyError, ModelTimeoutError, ConversationTooLongError, ModelRefusedError.
        """
        patience = self._settings.model_timeout_s
        if not self._state.name:
            # Nobody has asked for the state yet, and an answer names the model that gave it.
            await self.state()
        try:
            async with aclosing(self._chat.astream(list(messages))) as chunks:  # type: ignore[type-var]
                while True:
                    async with asyncio.timeout(patience):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        return
                    yield _token(chunk)
        except (TimeoutError, openai.APITimeoutError, httpx.TimeoutException) as error:
            raise ModelTimeoutError(
                f"The model was silent for {patience:.0f} s and was stopped. Please ask again, or shorter."
            ) from error
        except ContextOverflowError as error:
            raise ConversationTooLongError(_TOO_LONG) from error
        except openai.BadRequestError as error:
            if "context length" in str(error) or "max_model_len" in str(error):
                raise ConversationTooLongError(_TOO_LONG) from error
            raise ModelRefusedError(
                "The model's server did not accept this request. Please start a new chat."
            ) from error
        except (openai.APIError, httpx.HTTPError) as error:
            self._remember(ready=False)
            raise ModelNotReadyError(
                "The model does not answer: it is starting or has stopped. Please ask again when it is ready."
            ) from error

    async def close(self) -> None:
        await self._http.aclose()

    def _authorisation(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._settings.model_api_key.get_secret_value()}"}

    def _remember(self, *, ready: bool, served: dict[str, Any] | None = None) -> ModelState:
        if served is None:
            self._state = ModelState(ready, self._state.name, self._state.is_demo)
        else:
            name = PurePath(str(served.get("root") or served["id"])).name
            self._state = ModelState(ready, name, name == "demo")
        return self._state


_TOO_LONG = "The conversation is too long for this model. Please start a new chat, or ask shorter."


def _find(models: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((model for model in models.get("data", []) if model.get("id") == name), None)


def _token(chunk: AIMessageChunk) -> Token:
    told = (chunk.response_metadata.get("logprobs") or {}).get("content") or []
    return Token(str(chunk.text), tuple(float(item["logprob"]) for item in told))
