"""REST of tutor mode without a model: the crawler finds nothing, and refusals have words."""

import asyncio
import io
import shutil
import time
import zipfile
from contextlib import AsyncExitStack

import gradio as gr
import httpx
import pytest
from fastapi import FastAPI, Request

from assistant import users
from assistant.api import add_error_handlers, make_router
from assistant.chat import Assistant
from assistant.figure_search import FigureSearch
from assistant.guard import Guard
from assistant.model import ModelClient
from assistant.settings import Settings
from assistant.study.api import add_study
from assistant.study.evaluation.played import crawl_api
from assistant.study.gate import Gate, open_gate
from assistant.study.items import Commitment
from assistant.study.log import Log
from assistant.study.packs import Shelf
from assistant.study.session import StudySession
from tests.study.own_cases import case, make_zip

ME = {"learner": "me"}
PASSWORD = "a long enough one"


@pytest.fixture(scope="module")
def settings(tmp_path_factory, drawn_shelf, free_port) -> Settings:
    folder = tmp_path_factory.mktemp("studying")
    shutil.copytree(drawn_shelf, folder / "study" / "packs")
    return Settings(data_dir=folder, model_port=free_port())


def later() -> float:
    return time.time() + 60


@pytest.fixture(scope="module")
def app(settings):
    """The routes as the application has them, without its screens."""
    app, assistant = FastAPI(), Assistant(ModelClient(settings), FigureSearch(settings), settings)
    # A minute later, so that hints are given at once.
    gate = Gate(Shelf(settings.data_dir / "study" / "packs"), Log(settings.data_dir / "study" / "study.db"), later)
    add_study(app, gate, assistant, settings)
    app.include_router(make_router(assistant, settings))
    add_error_handlers(app)
    return app


@pytest.fixture
async def client(app):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
        yield client


@pytest.fixture
def log_gate(settings):
    return open_gate(settings.data_dir)


async def ask(client, path: str, **body) -> httpx.Response:
    return await client.post(f"/api/study/{path}", json={**ME, **body})


async def test_the_crawler_finds_nothing(app, log_gate):
    found = await crawl_api(app, log_gate, 15)
    assert found["leaks"] == []


async def test_a_question_is_asked_answered_and_revealed(client, log_gate):
    question = (await ask(client, "next")).json()
    picture = await client.get(question["image"])
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["cache-control"] == "no-store"
    assert "content-disposition" not in picture.headers
    item = log_gate.log.served(question["attempt_id"]).item
    body = {"attempt_id": question["attempt_id"], "answer": item.gold.answer, "certainty": 3}
    if item.kind == "place":
        body["point"] = [item.gold.boxes[0][0], item.gold.boxes[0][1]]
    reveal = await ask(client, "commit", **body)
    assert reveal.json()["verdict"]["outcome"] == "right"
    assert reveal.json()["key"] == item.gold.answer
    assert (await ask(client, "commit", **body)).json() == reveal.json()
    again = await ask(client, "commit", **{**body, "certainty": 1})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "already_committed")


@pytest.mark.parametrize("path", ["reading", "ask", "mistake"])
async def test_before_the_answer_there_is_no_talk(client, path: str):
    question = (await ask(client, "next")).json()
    refused = await ask(client, path, attempt_id=question["attempt_id"], words="Is it the left lung?")
    assert refused.status_code == 403
    assert refused.json()["error"] == {"code": "not_committed", "message": "Answer first, or give up."}


async def test_after_the_answer_a_missing_model_is_said(client):
    question = (await ask(client, "next")).json()
    await ask(client, "commit", attempt_id=question["attempt_id"], gave_up=True)
    answer = await ask(client, "reading", attempt_id=question["attempt_id"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_ready")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("next", {"learner": "no spaces please"}, 400),
        ("next", {"mode": "exam"}, 400),
        ("next", {"packs": ["nothing"]}, 400),
        ("commit", {"attempt_id": "x"}, 404),
        ("hint", {"attempt_id": "x"}, 404),
        ("commit", {}, 400),
    ],
)
async def test_what_cannot_be_done_is_said_in_the_usual_form(client, path: str, body, status: int):
    answer = await ask(client, path, **body)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message"}


async def test_a_log_goes_out_and_in_and_away(client):
    question = (await ask(client, "next")).json()
    await ask(client, "commit", attempt_id=question["attempt_id"], gave_up=True)
    log = (await client.get("/api/study/log", params=ME)).text
    count = len(log.splitlines())
    assert (await client.delete("/api/study/log", params=ME)).json() == {"deleted": count}
    assert (await client.post("/api/study/log", params=ME, content=log)).json() == {"new": count}
    assert (await client.get("/api/study/progress", params=ME)).json()["answers"] == count
    package = await client.get("/api/study/export.apkg", params=ME)
    assert "collection.anki2" in zipfile.ZipFile(io.BytesIO(package.content)).namelist()


@pytest.fixture
async def signed_in(app, settings, tmp_path):
    """A client a person: the same routes behind the guard, with a file of users."""
    for name in ("anna", "ben"):
        users.add(tmp_path / "users.txt", name, PASSWORD)
    guarded = Guard(app, settings.model_copy(update={"users_file": tmp_path / "users.txt"}))
    async with AsyncExitStack() as stack:

        def client(name: str) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(guarded, raise_app_exceptions=False)
            return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", auth=(name, PASSWORD))

        yield {name: await stack.enter_async_context(client(name)) for name in ("anna", "ben")}


async def test_a_log_is_its_persons_where_people_sign_in(signed_in, log_gate):
    anna, ben = signed_in["anna"], signed_in["ben"]
    question = (await anna.post("/api/study/next", json={})).json()
    given_up = {"attempt_id": question["attempt_id"], "gave_up": True}
    assert (await ben.post("/api/study/commit", json=given_up)).status_code == 404
    assert (await anna.post("/api/study/commit", json=given_up)).status_code == 200
    assert [one.learner for one in log_gate.log.attempts("anna")] == ["anna"]
    for method, address in (("get", "log"), ("get", "progress"), ("get", "export.apkg"), ("delete", "log")):
        refused = await ben.request(method, f"/api/study/{address}", params={"learner": "anna"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_yours")
    assert (await ben.get("/api/study/progress")).json()["answers"] == 0
    assert (await anna.delete("/api/study/log")).json() == {"deleted": 1}


def test_the_page_goes_by_who_signed_in(settings, log_gate):
    """Whatever name the browser has kept, of whoever sat there before."""
    session = StudySession(log_gate, Assistant(ModelClient(settings), FigureSearch(settings), settings), settings)

    def request(user: str) -> gr.Request:
        return gr.Request(request=Request({"type": "http", "headers": [], "state": {"user": user}}))

    asked = asyncio.run(session.next("browser-1", "practise", [], request("anna")))
    assert log_gate.log.served(asked[0]).learner == "anna"
    asked = asyncio.run(session.next("browser-1", "practise", [], request("")))
    assert log_gate.log.served(asked[0]).learner == "browser-1"


async def test_an_exam_is_planned_and_called_off(client, log_gate):
    put = {"learner": "me", "day": "2099-03-01"}
    assert (await client.put("/api/study/exam", json=put)).json() == {"exam": "2099-03-01"}
    assert (await client.get("/api/study/progress", params=ME)).json()["exam"] == "2099-03-01"
    for day in ("2001-01-01", "tomorrow"):
        assert (await client.put("/api/study/exam", json={**put, "day": day})).status_code == 400
    await client.put("/api/study/exam", json={**put, "day": None})
    assert (await client.get("/api/study/progress", params=ME)).json()["exam"] is None


@pytest.mark.parametrize(("moved", "status", "outcome"), [(0.0, 200, "right"), (0.3, 200, "wrong"), (2.0, 400, None)])
async def test_a_place_is_answered_by_a_box(client, log_gate, item_of, moved: float, status: int, outcome):
    served = log_gate.log.serve("me", "practise", item_of("Click on the dark spot"))
    x, y, wide, high = served.item.gold.boxes[0]
    box = [x + (moved if x < 0.5 or moved > 1 else -moved), y, wide, high]
    answer = await ask(client, "commit", attempt_id=served.attempt_id, box=box, certainty=2)
    assert answer.status_code == status
    assert answer.json().get("verdict", {}).get("outcome") == outcome
    assert status == 400 or answer.json()["box"] == pytest.approx(box)


async def test_packs_are_listed_without_their_items(client):
    (pack,) = [one for one in (await client.get("/api/study/packs")).json() if one["name"] == "phantoms"]
    assert pack["licence"] == "MIT"
    assert isinstance(pack["items"], int)


@pytest.mark.parametrize("address", ["export.xml", "export.apkg", "results.csv", "stats"])
async def test_the_keys_of_a_pack_are_the_teachers(client, log_gate, address: str):
    refused = await client.get(f"/api/study/packs/phantoms/{address}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "teacher_only")
    key = {"x-teacher-key": log_gate.log.secret()}
    assert (await client.get(f"/api/study/packs/phantoms/{address}", headers=key)).status_code == 200


async def test_a_teacher_sends_a_zip(client, log_gate, tmp_path):
    key = {"x-teacher-key": log_gate.log.secret()}
    rows = [case(0), case(1, answer="mass")]
    data = make_zip(tmp_path, rows).read_bytes()
    found = (await client.post("/api/study/packs", params={"name": "mine"}, content=data, headers=key)).json()
    assert [(one["row"], one["kind"]) for one in found["report"] if one["is_error"]] == [(3, "key among no options")]
    rows[1]["answer"] = "effusion"
    data = make_zip(tmp_path, rows).read_bytes()
    wanted = {"name": "mine", "publish": "true"}
    assert (await client.post("/api/study/packs", params=wanted, content=data, headers=key)).json()["version"]
    assert (await client.post("/api/study/packs", params=wanted, content=data)).status_code == 403
    log_gate.shelf.remove("mine")


async def test_a_teacher_accepts_an_unmarked_answer_with_one_click(settings, log_gate, item_of):
    session = StudySession(log_gate, Assistant(ModelClient(settings), FigureSearch(settings), settings), settings)
    served = log_gate.log.serve("me", "practise", item_of("What is the shape"))
    log_gate.commit("me", Commitment(served.attempt_id, "like a zeppelinoid", 1))
    key, pack = log_gate.log.secret(), served.item.pack
    for wrong in (session.results("", pack), session.accept("guess", pack, None)):
        assert "not the teacher" in (await wrong)[0]
    _, row, answers = await session.results(key, pack)
    ((label, value),) = [one for one in answers["choices"] if "zeppelinoid" in one[0]]
    assert row["visible"]
    assert f"(key: {served.item.gold.answer})" in label
    _, _, answers = await session.accept(key, pack, value)
    assert not [one for one in answers["choices"] if "zeppelinoid" in one[0]]
    assert log_gate.log.accepted(served.item.item_id) == ("like a zeppelinoid",)
