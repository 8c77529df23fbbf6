"""What the screen's events do: run the chat turn and hand on what it yields. State is a list of turns."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from assistant import render
from assistant.chat import Assistant, QuestionError, Turn, current_image
from assistant.example_questions import Example
from assistant.feedback_screen import thumbs
from assistant.history import last_answered
from assistant.looking import did_it_look
from assistant.model import ModelError
from assistant.pace import Pace
from assistant.privacy_screen import CONFIRMED, PrivacyGate, Waiting
from assistant.runs import Run, Runs, with_signs_of_life
from assistant.settings import Settings
from assistant.upload_limits import UploadError, UploadLimits
from assistant.upload_reader import UploadReader
from assistant.uploads import CleanImage, clean_upload
from assistant.uploads_privacy import inspect
from assistant.where_html import where_map
from assistant.where_looked import cost, where_looked

# A browser draws no faster than this with images in the history, and slower if more is sent.
SECONDS_BETWEEN_UPDATES = 0.06
# Enough for another wording or another finding, not so much that nonsense is drawn.
TEMPERATURE_AGAIN = 0.8

Update = tuple[Any, Any, Any, Any]
"""Messages, panel, question box, turns: the outputs of every event."""


class Session:
    """The events of one screen; the state of each visitor travels through the arguments."""

    def __init__(
        self,
        assistant: Assistant,
        settings: Settings,
        chatbot: gr.Chatbot,
        gate: PrivacyGate,
        examples: Sequence[Example] = (),
    ) -> None:
        self._assistant = assistant
        self._gate = gate
        self._settings = settings
        self._examples = examples
        self._limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)
        self._reader = UploadReader(self._limits)
        self._cache = chatbot.GRADIO_CACHE
        self._runs = Runs()

    async def ask(
        self, message: dict[str, Any], turns: list[Turn], request: gr.Request
    ) -> AsyncGenerator[Update, None]:
        """A question was sent, perhaps with a file, which is read once and then deleted: it may name a patient. If it
        does, the question waits at the gate."""
        files = [Path(file) for file in message.get("files") or []]
        question = (message.get("text") or "").strip()
        waiting = Turn(question, stage="reading the image" if files else "thinking")
        with self._runs.run(request.session_hash) as run:
            yield self._update([*turns, waiting], _BUSY)
            try:
                image = await self._reader.read(files[0]) if files else None
            except UploadError as error:
                yield self._update([*turns, waiting], _idle(question), problem=str(error), keep=turns)
                return
            visitor = str(request.session_hash)
            if image:
                yield self._update([*turns, replace(waiting, stage="looking for names in the image")], _BUSY)
                findings = await asyncio.to_thread(inspect, image)
                if self._gate.needs_word(visitor, image, findings):
                    if run.told_to_end.is_set():
                        yield self._update([] if run.forget else turns, _idle())
                        return
                    self._gate.hold(visitor, Waiting(question, image, findings))
                    yield self._update(turns, _AT_THE_GATE)
                    return
            async with aclosing(self._run(run, question, image, turns)) as updates:
                async for update in updates:
                    yield update

    async def go_on(
        self, chosen: list[int], drawn: str, turns: list[Turn], request: gr.Request
    ) -> AsyncGenerator[Update, None]:
        """At the gate: ask, with the chosen places and the drawn boxes black."""
        async with aclosing(self._from_the_gate(chosen, drawn, turns, request)) as updates:
            async for update in updates:
                yield update

    async def go_on_as_it_is(self, turns: list[Turn], request: gr.Request) -> AsyncGenerator[Update, None]:
        """At the gate: ask, since the image names nobody."""
        async with aclosing(self._from_the_gate([], "", turns, request)) as updates:
            async for update in updates:
                yield update

    def do_not_send(self, turns: list[Turn], request: gr.Request) -> Update:
        """At the gate: the image is forgotten, the question goes back into the box."""
        held = self._gate.let_go(str(request.session_hash))
        return self._update(turns, _idle(held.question if held else ""))

    async def _from_the_gate(
        self, chosen: list[int], drawn: str, turns: list[Turn], request: gr.Request
    ) -> AsyncGenerator[Update, None]:
        visitor = str(request.session_hash)
        held = self._gate.let_go(visitor)
        if held is None:
            gr.Info("The image waited too long and was forgotten. Please send it again.")
            yield self._update(turns, _idle())
            return
        image = await asyncio.to_thread(self._gate.admitted, visitor, held, chosen, drawn)
        if image is held.image:
            image = replace(image, notes=(*image.notes, CONFIRMED))
        with self._runs.run(request.session_hash) as run:
            async with aclosing(self._run(run, held.question, image, turns)) as updates:
                async for update in updates:
                    yield update

    async def ask_example(
        self, chosen: gr.SelectData, turns: list[Turn], request: gr.Request
    ) -> AsyncGenerator[Update, None]:
        """An example was clicked."""
        # By its number: what else the browser says of it, a path above all, is not to be believed.
        example = self._examples[chosen.index if isinstance(chosen.index, int) else chosen.index[0]]
        waiting = Turn(example.question, stage="reading the image")
        with self._runs.run(request.session_hash) as run:
            yield self._update([*turns, waiting], _BUSY)
            data = await asyncio.to_thread(example.image.read_bytes)
            image = await asyncio.to_thread(clean_upload, data, example.image.name, self._limits)
            async with aclosing(self._run(run, example.question, image, turns)) as updates:
                async for update in updates:
                    yield update

    async def take_back(self, turns: list[Turn], request: gr.Request) -> Update:
        """The last question goes back into the box, with its image, to be written anew."""
        if self.is_answering(request):
            gr.Info("Wait for the answer first, or stop it.")
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        await self._runs.over(request.session_hash)
        if not turns:
            return self._update(turns, _idle())
        last = turns[-1]
        file = self._save(last.images[-1]) if last.images else None
        return self._update(turns[:-1], _idle(last.question, file))

    async def again(self, turns: list[Turn], retry: gr.RetryData, request: gr.Request) -> AsyncGenerator[Update, None]:
        """Another answer to the same question, drawn at random; those before it stay beside it."""
        index = retry.index if isinstance(retry.index, int) else retry.index[0]
        number = render.turn_of_message(turns, index)
        old = turns[number]
        image = old.images[-1] if old.images else None
        earlier = (*old.earlier_answers, *([old.answer] if old.answer else []))
        with self._runs.run(request.session_hash) as run:
            new = self._run(run, old.question, image, turns[:number], earlier, TEMPERATURE_AGAIN, turns)
            async with aclosing(new) as updates:
                async for update in updates:
                    yield update

    async def look(self, turns: list[Turn], request: gr.Request) -> AsyncGenerator[Update, None]:
        """ "Did it look?": the last answer's question once more without its image."""
        number, image = _about_image(turns)
        if number is None or image is None:
            gr.Info("Ask a question about an image first.")
            yield self._update(turns, gr.skip())
            return
        turn = turns[number]
        asking = replace(turn, looked="asking the same without the image, and with another one …")
        with self._runs.run(request.session_hash):
            yield self._update([*turns[:number], asking, *turns[number + 1 :]], _BUSY, keep=turns)
            try:
                looked = await did_it_look(self._assistant, self._settings, turn, image)
            except ModelError as error:
                gr.Warning(str(error))
                yield self._update(turns, _idle())
                return
        told = replace(turn, looked=looked.words())
        yield self._update([*turns[:number], told, *turns[number + 1 :]], _idle())

    async def where(self, turns: list[Turn], request: gr.Request) -> AsyncGenerator[Update, None]:
        """ "Where did it look?": the last answer's question once more for each part of its image, covered."""
        number, image = _about_image(turns)
        if number is None or image is None:
            gr.Info("Ask a question about an image first.")
            yield self._update(turns, gr.skip())
            return
        turn, pace = turns[number], Pace()

        def shown(new: Turn) -> list[Turn]:
            return [*turns[:number], new, *turns[number + 1 :]]

        with self._runs.run(request.session_hash) as run:
            told = f"{cost(turn)}: asking with the whole image first"
            yield self._update(shown(replace(turn, notes=(*turn.notes, told))), _BUSY, keep=turns)
            try:
                async with aclosing(where_looked(self._assistant, self._settings, turn, image)) as steps:
                    async for step in steps:
                        if run.told_to_end.is_set():
                            break
                        if step.where:
                            turn = replace(turn, where=step.where)
                            break
                        told = pace.told("where", step.done, step.total)
                        yield self._update(shown(replace(turn, notes=(*turn.notes, told))), _BUSY, keep=turns)
            except ModelError as error:
                gr.Warning(str(error))
            yield self._update([] if run.forget else shown(turn), _idle())

    def redraw(self, turns: list[Turn]) -> Update:
        """The turns as they are now; what is being written in the box stays."""
        return self._update(turns, gr.skip())

    def is_answering(self, request: gr.Request) -> bool:
        """Whether a run is writing to this visitor's turns."""
        return self._runs.running(request.session_hash) is not None

    def show(self, turns: list[Turn]) -> Update:
        """A conversation that was opened."""
        return self._update(turns, _idle())

    def stop(self, turns: list[Turn], request: gr.Request) -> Update:
        """Stop was pressed: what was said so far stays. Where nothing runs any more, the box is unlocked."""
        run = self._runs.running(request.session_hash)
        if run is None:
            return self._update(turns, _idle())
        run.told_to_end.set()
        return gr.skip(), gr.skip(), gr.skip(), gr.skip()

    async def start_again(self, request: gr.Request) -> Update:
        """A new chat."""
        if run := self._runs.running(request.session_hash):
            run.forget = True
            run.told_to_end.set()
        await self._runs.over(request.session_hash)
        self._gate.let_go(str(request.session_hash))
        return self._update([], _idle())

    def shown(self, turns: list[Turn], request: gr.Request) -> tuple[dict[str, Any], ...]:
        """The page shows the end of a run: what can now be done about the last answer."""
        self._runs.shown(request.session_hash)
        return self.after_answer(turns)

    def after_answer(self, turns: list[Turn]) -> tuple[dict[str, Any], ...]:
        """What can be done about the last answer; looking again only where it was about an image."""
        number, image = _about_image(turns)
        has_image, about = image is not None, turns[number] if number is not None else None
        where = gr.update(visible=has_image, value=f"Where did it look? ({cost(about)})")
        return gr.update(visible=number is not None), gr.update(visible=has_image), where

    def leave(self, request: gr.Request) -> None:
        """The page is closed."""
        self._runs.leave(request.session_hash)

    def failed(self, turns: list[Turn]) -> Update:
        """Something broke that has no words of its own; Gradio has logged it. The box must not stay locked."""
        turns = [turn for turn in turns if turn.answer]
        gr.Warning("Something went wrong here. It was logged; please ask again.")
        return self._update(turns, _idle())

    async def _run(
        self,
        run: Run,
        question: str,
        image: CleanImage | None,
        turns: list[Turn],
        earlier: tuple[str, ...] = (),
        temperature: float = 0.0,
        before: list[Turn] | None = None,
    ) -> AsyncGenerator[Update, None]:
        """Ask and show. `before` is what stays where there is no answer at all; `turns` if it is not given."""
        started = shown = time.monotonic()
        turn = Turn(question, (image,) if image else (), stage="thinking", earlier_answers=earlier)
        try:
            source = self._assistant.ask(question, image, turns, temperature=temperature)
            async with aclosing(with_signs_of_life(source, run.told_to_end)) as signs:
                async for new in signs:
                    turn = replace(new, earlier_answers=earlier) if new else turn
                    now = time.monotonic()
                    if turn.answer and turn.stage and now - shown < SECONDS_BETWEEN_UPDATES:
                        continue
                    shown = now
                    yield self._update([*turns, turn], _BUSY if turn.stage else _idle(), waited_s=now - started)
            if run.forget:
                yield self._update([], _idle())
            elif turn.stage:
                said = replace(turn, stage="", notes=(*turn.notes, "stopped"))
                yield self._update([*turns, said], _idle())
        except (QuestionError, ModelError) as error:
            # The turn stays with what was said; the question goes back into the box to be sent again.
            keep = [*turns, replace(turn, stage="")] if turn.answer else turns if before is None else before
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
        shown = gr.update(value=chat, feedback_value=thumbs(turns))
        panel = self._map(turns) + render.panel(turns, self._assistant.figures.picture)
        return shown, panel, box, turns if keep is None else keep

    def _map(self, turns: list[Turn]) -> str:
        """Where the last answer looked, if somebody asked."""
        number, image = _about_image(turns)
        where = turns[number].where if number is not None else None
        return where_map(where, f"./gradio_api/file={quote(self._save(image))}") if where and image else ""

    def _save(self, image: CleanImage) -> str:
        return save_bytes_to_cache(image.data, f"{image.sha256[:16]}.png", self._cache)


_BUSY = gr.update(value=None, submit_btn=False, stop_btn=True, visible=True)
# The buttons of the gate stand in its place: another question would have to push this one out.
_AT_THE_GATE = gr.update(value=None, submit_btn=True, stop_btn=False, visible=False)


def _idle(question: str = "", file: str | None = None) -> dict[str, Any]:
    value = {"text": question, "files": [file] if file else []} if question or file else None
    return gr.update(value=value, submit_btn=True, stop_btn=False, visible=True)


def _about_image(turns: list[Turn]) -> tuple[int | None, CleanImage | None]:
    """The number of the last answer, and the image that it was about."""
    number = last_answered(turns)
    return number, current_image(turns[: number + 1]) if number is not None else None
