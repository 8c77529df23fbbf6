"""REST of tutor mode: /api/study/... and the pictures. A thin skin over the gate.

curl -X POST -d '{"learner": "me"}' -H 'content-type: application/json' http://127.0.0.1:7860/api/study/next
"""

import asyncio
import hmac
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field

from assistant.api import error_response
from assistant.chat import Assistant, Turn
from assistant.settings import Settings
from assistant.study import blank, export, report, teacher, trial
from assistant.study.errors import (
    AlreadyCommittedError,
    NoSuchAttemptError,
    NotCommittedError,
    NothingToStudyError,
    PackError,
    StudyError,
)
from assistant.study.gate import Gate
from assistant.study.items import Commitment, Item, Mode
from assistant.study.other_reader import checked
from assistant.uploads import UploadLimits, clean_upload

_STATUS: dict[type[Exception], int] = {
    NoSuchAttemptError: 404,
    NothingToStudyError: 404,
    NotCommittedError: 403,
    AlreadyCommittedError: 409,
}
_NO_TRACE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
MAX_LOG_BYTES = 50 * 1024 * 1024


class TeacherOnlyError(StudyError):
    """Without the teacher's key."""

    code = "teacher_only"


class OtherLearnerError(StudyError):
    """Somebody else's log than that of the person who signed in."""

    code = "not_yours"


class NextBody(BaseModel):
    learner: str = ""
    mode: Mode = "practise"
    packs: list[str] = Field(default=[], max_length=64)


class AttemptBody(BaseModel):
    learner: str = ""
    attempt_id: str


class CommitBody(AttemptBody):
    answer: str = Field(default="", max_length=2000)
    certainty: int = 1
    point: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None
    ticks: list[str] = Field(default=[], max_length=20)
    gave_up: bool = False


class WordsBody(AttemptBody):
    words: str = Field(max_length=2000)


class ExamBody(BaseModel):
    learner: str = ""
    day: date | None


class AcceptBody(BaseModel):
    item_id: str = Field(max_length=300)
    answer: str = Field(min_length=1, max_length=300)


def add_study(app: FastAPI, gate: Gate, assistant: Assistant, settings: Settings) -> None:
    """Add the routes and their errors; before the chat's routes, whose last one answers whatever else is asked."""
    app.include_router(make_router(gate, assistant, settings))

    async def known(_: Request, error: Exception) -> JSONResponse:
        status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400)
        status = 403 if isinstance(error, TeacherOnlyError | OtherLearnerError) else status
        return error_response(getattr(error, "code", "bad_request"), str(error), status)

    app.add_exception_handler(StudyError, known)


def whose(request: Request, named: str) -> str:
    """The learner of a request: who signed in; where nobody does, whom it names.

    Raises OtherLearnerError where it names somebody else than the person who signed in.
    """
    user = str(request.scope.get("state", {}).get("user", ""))
    if user and named not in ("", user):
        raise OtherLearnerError(f"You are signed in as {user}; the log of another learner is not yours.")
    return user or named


def make_router(gate: Gate, assistant: Assistant, settings: Settings) -> APIRouter:
    """The routes over one gate."""
    router = APIRouter()
    _of_learners(router, gate, assistant, settings)
    _of_logs(router, gate)
    _of_teachers(router, gate, assistant, settings)
    return router


def _of_learners(router: APIRouter, gate: Gate, assistant: Assistant, settings: Settings) -> None:
    @router.post("/api/study/next")
    def next_item(request: Request, body: NextBody) -> dict[str, Any]:
        """The next question: all that may be known before an answer."""
        return gate.next(whose(request, body.learner), body.mode, body.packs).to_dict()

    @router.get("/study/image/{attempt_id}.png")
    def image(attempt_id: str) -> Response:
        """The picture of a question."""
        return Response(gate.image(attempt_id), media_type="image/png", headers=_NO_TRACE)

    @router.get("/study/example/{attempt_id}.png")
    def example(attempt_id: str) -> Response:
        """The picture beside a reveal, for comparison."""
        return Response(gate.example(attempt_id), media_type="image/png", headers=_NO_TRACE)

    @router.post("/api/study/hint")
    def hint(request: Request, body: AttemptBody) -> dict[str, Any]:
        """The next hint."""
        return gate.hint(whose(request, body.learner), body.attempt_id).to_dict()

    @router.post("/api/study/commit")
    def commit(request: Request, body: CommitBody) -> dict[str, Any]:
        """Commit an answer, or give up; the reveal. The same answer again gives the same reveal, another one 409."""
        said = (body.answer, body.certainty, body.point, body.gave_up, body.box, tuple(body.ticks))
        commitment = Commitment(body.attempt_id, *said)
        return gate.commit(whose(request, body.learner), commitment).to_dict()

    @router.post("/api/study/reading")
    async def reading(request: Request, body: AttemptBody) -> dict[str, Any]:
        """What the model says about the case, each sentence beside the key; after the commitment only."""
        item = await asyncio.to_thread(gate.may_talk, whose(request, body.learner), body.attempt_id)
        return await model_reading(gate, assistant, settings, item, body.attempt_id)

    @router.post("/api/study/ask")
    async def ask(request: Request, body: WordsBody) -> dict[str, Any]:
        """Talk about the case; after the commitment only."""
        item = await asyncio.to_thread(gate.may_talk, whose(request, body.learner), body.attempt_id)
        return await model_reading(gate, assistant, settings, item, body.attempt_id, body.words)

    @router.post("/api/study/mistake")
    def mistake(request: Request, body: WordsBody) -> dict[str, str]:
        """Report that an item is wrong."""
        gate.report_mistake(whose(request, body.learner), body.attempt_id, body.words)
        return {"status": "reported"}

    @router.get("/api/study/progress")
    def progress(request: Request, learner: str = "") -> dict[str, Any]:
        """What the log says about a learner."""
        learner = whose(request, learner)
        attempts, exam = gate.log.attempts(learner), gate.log.exam(learner)
        return report.progress(attempts, gate.shelf.items(), datetime.now(UTC), exam)

    @router.put("/api/study/exam")
    def exam(request: Request, body: ExamBody) -> dict[str, str | None]:
        """The day of an exam, until which nothing is to be forgotten; null for none."""
        gate.set_exam(whose(request, body.learner), body.day)
        return {"exam": body.day.isoformat() if body.day else None}

    @router.get("/api/study/packs")
    def packs() -> list[dict[str, Any]]:
        """What can be practised."""
        return [
            {
                "name": one.pack.name,
                "title": one.pack.title,
                "items": len(one.items),
                "normal_share": round(one.normal_share, 3),
                "licence": one.pack.licence,
                "source": one.pack.source,
                "note": one.pack.note,
                "version": one.pack.version,
            }
            for one in gate.shelf.all()
        ]


def _of_logs(router: APIRouter, gate: Gate) -> None:
    @router.get("/api/study/log")
    def log(request: Request, learner: str = "") -> PlainTextResponse:
        """A learner's own log, one attempt a line."""
        return PlainTextResponse(
            gate.log.export(whose(request, learner)), media_type="application/jsonl", headers=_NO_TRACE
        )

    @router.post("/api/study/log")
    async def take_in(request: Request, learner: str = "") -> dict[str, int]:
        """Bring an exported log back."""
        learner = whose(request, learner)
        text = (await _bounded(request, MAX_LOG_BYTES)).decode("utf-8", errors="replace")
        return {"new": await asyncio.to_thread(gate.log.take_in, learner, text)}

    @router.delete("/api/study/log")
    def forget(request: Request, learner: str = "") -> dict[str, int]:
        """Delete everything about a learner."""
        return {"deleted": gate.log.forget(whose(request, learner))}

    @router.get("/api/study/export.apkg")
    def answered(request: Request, learner: str = "") -> Response:
        """Anki cards of what this learner has answered."""
        items = answered_items(gate, whose(request, learner))
        return Response(_package(gate, items), media_type="application/apkg", headers=_NO_TRACE)


def _of_teachers(router: APIRouter, gate: Gate, assistant: Assistant, settings: Settings) -> None:
    def allowed(request: Request) -> None:
        given = request.headers.get("x-teacher-key", "")
        if not hmac.compare_digest(given.encode(), gate.log.secret().encode()):
            raise TeacherOnlyError("This needs the teacher's key: medvint study teacher-key shows it.")

    @router.post("/api/study/packs")
    async def packs(request: Request, name: str, title: str = "", publish: bool = False) -> dict[str, Any]:
        """A ZIP of cases as the body: its report; published where asked for and where no row has an error."""
        allowed(request)
        data = await _bounded(request, settings.max_upload_bytes * 10)
        return await asyncio.to_thread(take_zip, gate, data, name, title, publish)

    @router.post("/api/study/packs/{pack}/blank")
    async def ask_blank(request: Request, pack: str) -> dict[str, Any]:
        """Ask the model every question of a pack with a black picture; the pack's certificate keeps what it scored."""
        allowed(request)
        items = (await asyncio.to_thread(gate.shelf.open, pack)).items
        checked = await blank.check(assistant.model, items, settings)
        await asyncio.to_thread(gate.shelf.add_blind, pack, checked)
        return checked

    @router.get("/api/study/packs/{pack}/results.csv")
    def results(request: Request, pack: str, names: bool = False) -> PlainTextResponse:
        """Everyone's answers to a pack; without names unless asked for."""
        allowed(request)
        return PlainTextResponse(export.table(gate.log.attempts_on(pack), with_names=names), media_type="text/csv")

    @router.get("/api/study/packs/{pack}/export.{form}")
    def pack_export(request: Request, pack: str, form: str) -> Response:
        """A whole pack with its keys, for Anki (apkg) or Moodle (xml)."""
        allowed(request)
        items = gate.shelf.open(pack).items
        if form == "xml":
            return Response(export.moodle(gate.shelf, items), media_type="application/xml", headers=_NO_TRACE)
        if form == "apkg":
            return Response(_package(gate, items), media_type="application/apkg", headers=_NO_TRACE)
        raise PackError("A pack is exported as apkg or xml.")

    @router.get("/api/study/trial.csv")
    def trial_table(request: Request) -> PlainTextResponse:
        """The trial, one line a learner, without names."""
        allowed(request)
        return PlainTextResponse(trial.table(gate.log.everyones(), gate.log.secret()), media_type="text/csv")

    @router.post("/api/study/accept")
    def accept(request: Request, body: AcceptBody) -> dict[str, str]:
        """Take an answer that could not be marked as right from now on."""
        allowed(request)
        gate.log.accept(body.item_id, body.answer)
        return {"status": "accepted"}

    @router.get("/api/study/packs/{pack}/stats")
    def stats(request: Request, pack: str, names: bool = False) -> list[dict[str, Any]]:
        """Difficulty, discrimination, options, confident errors and answers to accept, by item."""
        allowed(request)
        return report.of_pack(gate.log.attempts_on(pack), gate.shelf.open(pack).items, with_names=names)


def take_zip(gate: Gate, data: bytes, name: str, title: str, publish: bool) -> dict[str, Any]:
    """Check a teacher's archive, and publish it where asked for and free of errors."""
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        file.write(data)
        file.flush()
        read = teacher.read_zip(Path(file.name), name, title)
    told = read.to_dict()
    if publish and not read.errors:
        told["version"] = teacher.publish(gate.shelf, read).version
    return told


def answered_items(gate: Gate, learner: str) -> list[Item]:
    """What a learner has committed on, as it is in the packs now."""
    done = {attempt.item_id for attempt in gate.log.attempts(learner)}
    return [item for item in gate.shelf.items() if item.item_id in done]


def _package(gate: Gate, items: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.apkg"
        export.anki(gate.shelf, items, path)
        return path.read_bytes()


async def _bounded(request: Request, most: int) -> bytes:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > most:
            raise StudyError(f"This is larger than {most // 1024 // 1024} MB.")
    return bytes(received)


async def model_reading(
    gate: Gate, assistant: Assistant, settings: Settings, item: Item, attempt_id: str, question: str = ""
) -> dict[str, Any]:
    """One chat turn about a case that was committed on, with the marks of code."""
    last: Turn | None = None
    async with model_turns(gate, assistant, settings, item, attempt_id, question) as turns:
        async for turn in turns:
            last = turn
    assert last is not None
    return {**last.to_dict(), "sentences": [one.to_dict() for one in checked(last.question, item.gold, last.answer)]}


@asynccontextmanager
async def model_turns(
    gate: Gate, assistant: Assistant, settings: Settings, item: Item, attempt_id: str, question: str = ""
) -> AsyncIterator[AsyncIterator[Turn]]:
    """The chat turn about a case as it grows."""
    data = await asyncio.to_thread(gate.image, attempt_id)
    limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)
    image = await asyncio.to_thread(clean_upload, data, "case.png", limits)
    async with aclosing(assistant.ask(question or item.stem, image)) as turns:
        yield turns
