"""What the study screens' events do: call the gate off the event loop, and hand its answers on as HTML.

Components of Gradio get nothing but what the gate gives out; what is open is known by the attempt's id alone.
"""

import asyncio
import json
import secrets
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import gradio as gr

from assistant.chat import Assistant, QuestionError
from assistant.history import owner_of
from assistant.model import ModelError
from assistant.settings import Settings
from assistant.study import blank, export, gaps, html, report, teacher, texts
from assistant.study.api import answered_items, model_turns
from assistant.study.errors import StudyError
from assistant.study.gate import MODES, Gate
from assistant.study.items import Commitment, Mode, PublicItem
from assistant.study.other_reader import checked
from assistant.study.reading import SLOTS, read
from assistant.upload_limits import UploadError, UploadLimits
from assistant.upload_reader import UploadReader
from assistant.uploads_privacy import admit

Shown = tuple[Any, ...]
"""Attempt, question, options, free text, certainty, buttons that answer, reveal, buttons that follow, what was said,
features to tick."""


class StudySession:
    """The events of the screens; each visitor's learner and attempt travel through the arguments."""

    def __init__(self, gate: Gate, assistant: Assistant, settings: Settings) -> None:
        self._gate, self._assistant, self._settings = gate, assistant, settings
        self._limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)
        self._reader = UploadReader(self._limits)

    async def arrive(self, learner: str, request: gr.Request) -> tuple[Any, ...]:
        """A visitor comes: their learner's name, the packs, the three numbers; then they may start."""
        browsers = learner or secrets.token_urlsafe(12)
        learner = _whose(browsers, request)
        await asyncio.to_thread(self._gate.stock)
        choices = [
            (one.pack.title, one.pack.name) for one in self._gate.shelf.all() if not one.pack.name.startswith("judge")
        ]
        home = await asyncio.to_thread(self._home, learner)
        # A teacher's link names the pack that its learners are to practise.
        wanted = [name for _, name in choices if name == request.query_params.get("pack")]
        return browsers, gr.update(choices=choices, value=wanted), home, *[gr.update(interactive=True)] * len(MODES)

    def _home(self, learner: str) -> str:
        attempts, exam = self._gate.log.attempts(learner), self._gate.log.exam(learner)
        told = report.home(attempts, self._gate.shelf.items(), datetime.now(UTC), exam)
        return html.home(told, self._gate.shelf.all())

    async def next(self, learner: str, mode: Mode, packs: list[str] | None, request: gr.Request) -> Shown:
        """The next question, or the one that is still open."""
        try:
            item = await asyncio.to_thread(self._gate.next, _whose(learner, request), mode, packs or [])
        except StudyError as error:
            hidden = gr.update(visible=False)
            return ("", html.problem(str(error)), *[hidden] * 4, "", hidden, "", hidden)
        return _asked(item)

    async def hint(self, learner: str, attempt_id: str, request: gr.Request) -> Shown:
        """One hint more; it stands with the question."""
        learner = _whose(learner, request)
        try:
            await asyncio.to_thread(self._gate.hint, learner, attempt_id)
            item = await asyncio.to_thread(self._gate.open, learner, attempt_id)
        except StudyError as error:
            return _problem(str(error))
        shown = _asked(item)
        # What was ticked already stays.
        return (*shown[:9], gr.skip()) if item.options else (*shown[:3], gr.skip(), gr.skip(), *shown[5:9], gr.skip())

    async def commit(
        self,
        learner: str,
        attempt_id: str,
        point: str,
        option: str | None,
        text: str | None,
        certainty: int | None,
        ticks: list[str] | None,
        request: gr.Request,
    ) -> Shown:
        """An answer is committed; what it reveals."""
        if not attempt_id:
            return _problem(texts.NO_ATTEMPT)
        if certainty is None:
            return _problem(texts.SURE_FIRST)
        said = option or text or ""
        commitment = Commitment(attempt_id, said, int(certainty), ticks=tuple(ticks or ()), **_place(point))
        return await self._committed(_whose(learner, request), commitment)

    async def give_up(self, learner: str, attempt_id: str, request: gr.Request) -> Shown:
        """The key without an answer; it counts as not known."""
        return await self._committed(_whose(learner, request), Commitment(attempt_id, gave_up=True))

    async def _committed(self, learner: str, commitment: Commitment) -> Shown:
        try:
            reveal = await asyncio.to_thread(self._gate.commit, learner, commitment)
        except StudyError as error:
            return _problem(str(error))
        hidden = gr.update(visible=False)
        return gr.skip(), "", *[hidden] * 4, html.revealed(reveal), gr.update(visible=True), "", hidden

    async def read_on(
        self, learner: str, attempt_id: str, question: str, request: gr.Request
    ) -> AsyncGenerator[str, None]:
        """The model's reading as it grows, or its answer to a question about the case; after the commitment only."""
        started = time.monotonic()
        try:
            item = await asyncio.to_thread(self._gate.may_talk, _whose(learner, request), attempt_id)
            yield html.told(texts.ASKING)
            async with model_turns(
                self._gate, self._assistant, self._settings, item, attempt_id, question.strip()
            ) as turns:
                async for turn in turns:
                    marks = [] if turn.stage else checked(turn.question, item.gold, turn.answer)
                    yield html.reading(turn, marks, time.monotonic() - started)
        except (StudyError, QuestionError, ModelError) as error:
            yield html.problem(str(error))

    async def mistake(self, learner: str, attempt_id: str, words: str, request: gr.Request) -> str:
        """A question is wrong, says a learner."""
        try:
            await asyncio.to_thread(self._gate.report_mistake, _whose(learner, request), attempt_id, words or "")
        except StudyError as error:
            return html.problem(str(error))
        return html.told(texts.REPORTED)

    async def progress(self, learner: str, request: gr.Request) -> str:
        return html.progress(await asyncio.to_thread(self._progress, _whose(learner, request)))

    def _progress(self, learner: str) -> dict[str, Any]:
        attempts, exam = self._gate.log.attempts(learner), self._gate.log.exam(learner)
        return report.progress(attempts, self._gate.shelf.items(), datetime.now(UTC), exam)

    async def set_exam(self, learner: str, day: str | None, request: gr.Request) -> tuple[str, str]:
        """The day of an exam as YYYY-MM-DD, or nothing for none; the screen with it."""
        told = texts.EXAM_SET.format(day) if day else texts.EXAM_NONE
        try:
            wanted = date.fromisoformat(day.strip()) if day and day.strip() else None
            await asyncio.to_thread(self._gate.set_exam, _whose(learner, request), wanted)
            said = html.told(told)
        except ValueError:
            said = html.problem(texts.EXAM_FORM)
        except StudyError as error:
            said = html.problem(str(error))
        return said, await self.progress(learner, request)

    def exam(self, learner: str, request: gr.Request) -> str:
        day = self._gate.log.exam(_whose(learner, request))
        return day.isoformat() if day else ""

    def log_file(self, learner: str, request: gr.Request) -> str:
        return _file("medvint-study-log.jsonl", self._gate.log.export(_whose(learner, request)).encode())

    async def take_in(self, learner: str, file: str, request: gr.Request) -> str:
        learner, path = _whose(learner, request), Path(file)
        try:
            new = await asyncio.to_thread(self._gate.log.take_in, learner, path.read_text("utf-8", errors="replace"))
        except StudyError as error:
            return html.problem(str(error))
        finally:
            path.unlink(missing_ok=True)
        return html.told(f"{new} answers were new.")

    async def forget(self, learner: str, request: gr.Request) -> tuple[Any, Any]:
        if not learner:
            return gr.skip(), gr.skip()
        await asyncio.to_thread(self._gate.log.forget, _whose(learner, request))
        return html.told(texts.LOG_DELETED), await self.progress(learner, request)

    def anki_file(self, learner: str, request: gr.Request) -> str:
        path = Path(_file("medvint-study.apkg", b""))
        export.anki(self._gate.shelf, answered_items(self._gate, _whose(learner, request)), path)
        return str(path)

    async def own_image(
        self, file: str | None, modality: str, region: str, finding: str, side: str, certainty: int | None
    ) -> AsyncGenerator[Shown, None]:
        """The learner's own image: what they see is said first, then the ordinary chat turn runs."""
        hidden = [gr.update(visible=False)] * (gaps.MOST + 1)
        given = (file, modality, region, (finding or "").strip(), side, certainty)
        missing = [name for name, value in zip(texts.OWN_FIELDS, given, strict=True) if not value]
        if not file or not certainty or missing:
            yield html.problem(texts.OWN_NEEDS.format(", ".join(missing))), "", [], *hidden
            return
        own = {
            "image": f"{modality}, {region}",
            "finding": finding,
            "side": side,
            "sure": dict(_sure())[int(certainty)],
        }
        yield html.told(texts.ASKING), "", [], *hidden
        try:
            sent = await self._reader.read(Path(file))
            image = await asyncio.to_thread(admit, sent, redact=True)
            async with aclosing(self._assistant.ask(texts.OWN_QUESTION, image)) as turns:
                async for turn in turns:
                    last = turn
        except (UploadError, QuestionError, ModelError) as error:
            yield html.problem(str(error)), "", [], *hidden
            return
        made = gaps.make_gaps(last.hits)
        boxes = [
            gr.update(visible=True, value="", label=f"{gap.text} ({gap.headline})") if gap else gr.update(visible=False)
            for gap in [*made, None, None, None][: gaps.MOST]
        ]
        said, mine = read(last.answer), read(f"{'' if 'none' in side else side} {finding}")
        slots = [(name, ", ".join(sorted(mine.slot(name))), ", ".join(sorted(said.slot(name)))) for name in SLOTS]
        slots = [("finding", ", ".join(sorted(mine.terms)), ", ".join(sorted(said.terms)))] + [
            row for row in slots if row[1:] != ("", "")
        ]
        kept = texts.OWN_KEPT if image is sent else f"{texts.OWN_KEPT} {texts.OWN_BLACKED_OUT}"
        yield html.differences(own, last, slots), html.told(kept), made, gr.update(visible=bool(made)), *boxes

    def check_gaps(self, made: list[gaps.Gap], *said: str) -> str:
        """The gaps filled in, each with the caption's own word."""
        lines = []
        for gap, words in zip(made, said, strict=False):
            outcome = gap.check(words or "").outcome
            lines.append(f"{outcome}: the caption says “{gap.key}” ({gap.headline}, {gap.figure.license})")
        return "".join(html.told(line) for line in lines)

    def _is_teacher(self, key: str) -> bool:
        return secrets.compare_digest((key or "").strip().encode(), self._gate.log.secret().encode())

    async def look_at(self, key: str, file: str, name: str) -> tuple[Any, ...]:
        """A teacher's ZIP: its report; what can be published is kept for the button."""
        path = Path(file)
        try:
            if not self._is_teacher(key):
                return html.problem(texts.WRONG_KEY), None, *[gr.update(visible=False)] * 2
            found = await asyncio.to_thread(teacher.read_zip, path, name or "own", "", self._limits)
        except StudyError as error:
            return html.problem(str(error)), None, *[gr.update(visible=False)] * 2
        finally:
            path.unlink(missing_ok=True)
        can_ask = any(item.options for item in found.items)
        return (
            html.rows(found), found, gr.update(visible=bool(found.items) and not found.errors),
            gr.update(visible=can_ask),
        )  # fmt: skip

    async def ask_blank(self, key: str, found: teacher.Read | None) -> AsyncGenerator[tuple[str, Any], None]:
        """The model's guesses at a teacher's questions with a black picture, beside the other blind checks."""
        if not self._is_teacher(key) or found is None:
            yield html.problem(texts.WRONG_KEY), gr.skip()
            return
        yield html.told(texts.ASKING), gr.skip()
        try:
            checked = await blank.check(self._assistant.model, found.items, self._settings)
        except ModelError as error:
            yield html.problem(str(error)) + html.rows(found), gr.skip()
            return
        found = replace(found, blind={**found.blind, **checked})
        yield html.rows(found), found

    async def publish(self, key: str, found: teacher.Read | None) -> str:
        if not self._is_teacher(key) or found is None:
            return html.problem(texts.WRONG_KEY)
        try:
            pack = await asyncio.to_thread(teacher.publish, self._gate.shelf, found)
        except StudyError as error:
            return html.problem(str(error))
        return html.published(pack)

    async def results(self, key: str, name: str) -> tuple[str, Any, Any]:
        """A pack's items as they were answered, and the answers that could not be marked."""
        try:
            if not self._is_teacher(key):
                return html.problem(texts.WRONG_KEY), gr.skip(), gr.skip()
            items = self._gate.shelf.open(name).items
            attempts = await asyncio.to_thread(self._gate.log.attempts_on, name)
        except StudyError as error:
            return html.problem(str(error)), gr.skip(), gr.skip()
        found = report.of_pack(attempts, items)
        unmarked = [
            (f"{row['stem']} (key: {row['key']}): {said}", [row["item_id"], said])
            for row in found
            for said in row["not_graded"]
            if said not in self._gate.log.accepted(row["item_id"])
        ]
        choices = [(label, json.dumps(value)) for label, value in unmarked]
        return html.results(found), gr.update(visible=bool(choices)), gr.update(choices=choices, value=None)

    async def accept(self, key: str, name: str, chosen: str | None) -> tuple[str, Any, Any]:
        """An answer is right from now on."""
        if self._is_teacher(key) and chosen:
            item_id, said = json.loads(chosen)
            await asyncio.to_thread(self._gate.log.accept, item_id, said)
        return await self.results(key, name)

    async def files(self, key: str, name: str) -> tuple[str, Any]:
        """A pack for Anki and Moodle, and its results as a table without names."""
        try:
            if not self._is_teacher(key):
                return html.problem(texts.WRONG_KEY), gr.skip()
            items = self._gate.shelf.open(name).items
        except StudyError as error:
            return html.problem(str(error)), gr.skip()
        apkg = Path(_file(f"{name}.apkg", b""))
        await asyncio.to_thread(export.anki, self._gate.shelf, items, apkg)
        xml = _file(f"{name}.xml", await asyncio.to_thread(export.moodle, self._gate.shelf, items))
        table = export.table(self._gate.log.attempts_on(name), with_names=False)
        made = [str(apkg), xml, _file(f"{name}.csv", table.encode())]
        return "", gr.update(value=made, visible=True)


def _whose(browsers: str, request: gr.Request) -> str:
    """The learner: who signed in, whatever the browser says; where nobody signs in the browser's own name."""
    return owner_of(request) or browsers


def _asked(item: PublicItem) -> Shown:
    is_text = item.kind == "text" and not item.options
    return (
        item.attempt_id,
        html.question(item),
        gr.update(choices=list(item.options), value=None, visible=bool(item.options)),
        gr.update(choices=list(item.suggestions), value=None, visible=is_text),
        gr.update(value=None, visible=True),
        gr.update(visible=True),
        "",
        gr.update(visible=False),
        "",
        gr.update(choices=list(item.checklist), value=[], visible=bool(item.checklist)),
    )


def _problem(words: str) -> Shown:
    """All as it was, and what is wrong."""
    return (*[gr.skip()] * 6, html.problem(words), *[gr.skip()] * 3)


def _place(text: str) -> dict[str, Any]:
    """What the page says of where: "x,y" a point, "x,y,width,height" a box, anything else nothing."""
    try:
        values = tuple(float(part) for part in (text or "").split(","))
    except ValueError:
        return {}
    name = {2: "point", 4: "box"}.get(len(values))
    return {name: values} if name else {}


def _sure() -> list[tuple[int, str]]:
    return [(value, words) for words, value in texts.CERTAINTY_CHOICES]


def _file(name: str, data: bytes) -> str:
    path = Path(tempfile.mkdtemp(prefix="medvint-study-")) / name
    path.write_bytes(data)
    return str(path)
