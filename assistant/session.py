"""What the screen's events do: run the chat turn and hand on what it yields. State is a list of turns."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from assistant import render
from assistant.chat import Assistant, QuestionError, Turn
from assistant.model import ModelError
from assistant.settings import Settings
from assistant.uploads import CleanImage, TooLargeError, UploadError, UploadLimits, clean_upload

# A browser draws no faster than this with images in the history, and slower if more is sent.
SECONDS_BETWEEN_UPDATES = 0.06
SECONDS_BETWEEN_SIGNS_OF_LIFE = 1.0
SECONDS_FOR_LAST_WORDS = 0.3

Update = tuple[Any, Any, Any, Any]
"""Messages, panel, question box, turns: the outputs of every event."""


class Session:
    """The events of one screen; the state of each visitor travels through the arguments."""

    def __init__(self, assistant: Assistant, settings: Settings, chatbot: gr.Chatbot) -> None:
        self._assistant = assistant
        self._limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)
        self._cache = chatbot.GRADIO_CACHE

    async def ask(self, message: dict[str, Any], turns: list[Turn]) -> AsyncGenerator[Update, None]:
        """A question was sent, perhaps with a file, which is read once and then deleted: it may name a patient."""
        files = [Path(file) for file in message.get("files") or []]
        question = message.get("text") or ""
        waiting = Turn(question, stage="reading the image" if files else "thinking")
        yield self._update([*turns, waiting], _BUSY)
        try:
            image = await self._read(files[0]) if files else None
        except UploadError as error:
            yield self._update([*turns, waiting], _idle(question), problem=str(error), keep=turns)
            return
        finally:
            for file in files:
                file.unlink(missing_ok=True)
        async with aclosing(self._run(question, image, turns)) as updates:
            async for update in updates:
                yield update

    async def ask_example(self, chosen: gr.SelectData, turns: list[Turn]) -> AsyncGenerator[Update, None]:
        """An example was clicked."""
        question = chosen.value["text"]
        files = [file["path"] if isinstance(file, dict) else file for file in chosen.value.get("files") or []]
        waiting = Turn(question, stage="reading the image")
        yield self._update([*turns, waiting], _BUSY)
        image = await self._read(Path(files[0])) if files else None
        async with aclosing(self._run(question, image, turns)) as updates:
            async for update in updates:
                yield update

    async def stopped(self, turns: list[Turn]) -> Update:
        """Stop was pressed: what was said so far stays."""
        # The browser may still be drawing the cancelled run's last words, which would undo this update.
        await asyncio.sleep(SECONDS_FOR_LAST_WORDS)
        if turns and turns[-1].stage:
            said = replace(turns[-1], stage="", notes=(*turns[-1].notes, "stopped"))
            turns = [*turns[:-1], said]
        return self._update(turns, _idle())

    def failed(self, turns: list[Turn]) -> Update:
        """Something broke that has no words of its own; Gradio has logged it. The box must not stay locked."""
        turns = [turn for turn in turns if turn.answer]
        gr.Warning("Something went wrong here. It was logged; please ask again.")
        return self._update(turns, _idle())

    def start_again(self) -> Update:
        """A new chat."""
        return self._update([], _idle())

    async def _run(self, question: str, image: CleanImage | None, turns: list[Turn]) -> AsyncGenerator[Update, None]:
        started = shown = time.monotonic()
        turn = Turn(question, (image,) if image else (), stage="thinking")
        try:
            source = self._assistant.ask(question, image, turns)
            async with aclosing(_with_signs_of_life(source, SECONDS_BETWEEN_SIGNS_OF_LIFE)) as signs:
                async for new in signs:
                    turn = new or turn
                    now = time.monotonic()
                    if turn.answer and turn.stage and now - shown < SECONDS_BETWEEN_UPDATES:
                        continue
                    shown = now
                    yield self._update([*turns, turn], _BUSY if turn.stage else _idle(), waited_s=now - started)
        except (QuestionError, ModelError) as error:
            # The turn stays with what was said; the question goes back into the box to be sent again.
            keep = [*turns, replace(turn, stage="")] if turn.answer else turns
            file = self._save(image) if image and not turn.answer else None
            kept = "What it had said is kept." if turn.answer else "Your question is kept in the box below."
            yield self._update([*turns, turn], _idle(question, file), problem=f"{error} {kept}", keep=keep)

    def _update(
        self,
        turns: list[Turn],
        box: dict[str, Any],
        *,
        waited_s: float = 0,
        problem: str = "",
        keep: list[Turn] | None = None,
    ) -> Update:
        chat = render.messages(turns, self._save, waited_s=waited_s, problem=problem)
        return chat, render.panel(turns), box, turns if keep is None else keep

    async def _read(self, file: Path) -> CleanImage:
        if file.stat().st_size > self._limits.max_bytes:
            raise TooLargeError(f"The file is larger than {self._limits.max_bytes / 1024 / 1024:g} MB.")
        return await asyncio.to_thread(lambda: clean_upload(file.read_bytes(), file.name, self._limits))

    def _save(self, image: CleanImage) -> str:
        return save_bytes_to_cache(image.data, f"{image.sha256[:16]}.png", self._cache)


_BUSY = gr.update(value=None, submit_btn=False, stop_btn=True)


def _idle(question: str = "", file: str | None = None) -> dict[str, Any]:
    value = {"text": question, "files": [file] if file else []} if question or file else None
    return gr.update(value=value, submit_btn=True, stop_btn=False)


async def _with_signs_of_life(source: AsyncGenerator[Turn, None], period_s: float) -> AsyncGenerator[Turn | None, None]:
    """What `source` yields, and None whenever it has been silent for `period_s`."""
    step: Callable[[], Any] = source.__anext__
    pending = asyncio.ensure_future(step())
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=period_s)
            if not done:
                yield None
                continue
            try:
                turn = pending.result()
            except StopAsyncIteration:
                return
            yield turn
            pending = asyncio.ensure_future(step())
    finally:
        pending.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration, QuestionError, ModelError):
            await pending
        await source.aclose()
