"""REST as a client sees it: real engine, real index, real HTTP forms."""

import io
import json
import struct
import zlib
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image
from pydicom.data import get_testdata_file

from assistant.app import create_app
from assistant.example_questions import read_examples
from assistant.settings import Settings


def png(size: tuple[int, int] = (60, 50)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).save(buffer, "PNG")
    return buffer.getvalue()


def bomb() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=120)


@pytest.fixture(scope="module")
def lonely_app(tmp_path_factory, free_port) -> FastAPI:
    """No model and no index: what a request meets before both are up."""
    data_dir = tmp_path_factory.mktemp("lonely")
    return create_app(Settings(data_dir=data_dir, model_port=free_port(), max_upload_mb=0.5))


@pytest.fixture
async def lonely(lonely_app):
    async with client_of(lonely_app) as client:
        yield client


@pytest.fixture
async def client(model_server, sample_index):
    async with client_of(create_app(Settings(data_dir=sample_index, model_url=model_server.url))) as client:
        yield client


def assert_is_error(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"].endswith((".", "."))
    assert "Traceback" not in answer.text
    return error["message"]


@pytest.mark.parametrize(
    "name, data, status, code",
    [
        ("x.png", b"hello", 400, "not_an_image"),
        ("x.png", b"", 400, "not_an_image"),
        ("x.png", png()[:200], 400, "truncated_image"),
        ("x.dcm", b"hello", 400, "not_an_image"),
        ("x.pdf", b"%PDF-1.4 and more", 415, "unsupported_type"),
        ("x.png", bomb(), 413, "too_large"),
        ("x.png", png((1000, 900)), 413, "too_large"),
        ("x.bin", b"\0" * 2_000_000, 413, "too_large"),
    ],
)
async def test_a_file_that_is_no_good(lonely, name, data, status, code):
    answer = await lonely.post("/api/ask", data={"question": "What?"}, files={"image": (name, data)})
    assert_is_error(answer, status, code)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"data": {"question": ""}},
        {"data": {"question": "  \n"}},
        {"json": {"question": 3}},
        {"content": b"no form at all"},
        {"content": b"--x\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        {"data": {"question": "What?", "history": "no json"}},
        {"data": {"question": "What?", "history": '{"question": "a"}'}},
        {"data": {"question": "What?", "history": '[{"question": 1}]'}},
        {"data": {"question": "What?", "redact": "perhaps"}},
        {"data": {"question": "What?", "region": "1,2,3"}},
        {"data": {"question": "What?", "region": "1,2,300,400"}},
        {"data": {"question": "What?", "region": "0,0,9,9"}, "files": {"image": ("a.png", png())}},
        {"data": {"question": "What?", "image": "text"}},
        {"files": {"question": ("q.txt", b"What?")}},
        {"data": {"question": "x" * 5000}},
        {"files": [("image", ("a.png", png())), ("image", ("b.png", png()))]},
    ],
)
async def test_a_request_that_cannot_be_read_is_the_clients_fault(lonely, request_):
    answer = await lonely.post("/api/ask", **request_)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("bad_request", "bad_region", "empty_question", "question_too_long")
    assert "pydantic" not in answer.text


async def test_the_upload_is_refused_while_it_is_read(lonely):
    async def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        while True:
            yield b"\0" * 100_000

    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert_is_error(await lonely.post("/api/ask", content=endless(), headers=headers), 413, "too_large")


async def test_no_model_yet(lonely):
    assert_is_error(await lonely.post("/api/ask", data={"question": "What?"}), 503, "model_not_ready")
    assert (await lonely.get("/healthz")).json() == {"status": "ok"}
    ready = await lonely.get("/readyz")
    assert ready.status_code == 503
    assert not ready.json()["model"]["ready"]
    assert "medvint index" in ready.json()["index"]["problem"]
    assert (await lonely.get("/api/status")).status_code == 200


@pytest.mark.parametrize("method, path", [("GET", "/api/ask"), ("GET", "/api/nothing"), ("POST", "/api/nothing")])
async def test_an_address_that_is_not_there(lonely, method, path):
    assert_is_error(await lonely.request(method, path), 404, "not_found")


async def test_the_interface_describes_itself(lonely):
    form = (await lonely.get("/openapi.json")).json()["paths"]["/api/ask"]["post"]["requestBody"]
    fields = {"question", "image", "history", "region", "redact", "confirm_identity"}
    assert set(form["content"]["multipart/form-data"]["schema"]["properties"]) == fields


async def test_an_image_is_answered_with_evidence(client):
    example = read_examples(None)[0]
    files = {"image": (example.image.name, example.image.read_bytes())}
    answer = await client.post("/api/ask", data={"question": example.question}, files=files)
    assert answer.status_code == 200
    body = answer.json()
    assert body["answer"]
    assert body["hits"]
    assert {"score", "rank", "found_by", "figure"} <= set(body["hits"][0])
    assert body["hits"][0]["figure"]["license"]
    assert body["support"][0]["verdict"] in ("supported", "contradicted", "not_found")
    assert 0 < body["confidence"]["value"] <= 1
    assert body["model"] == "demo"
    assert body["timings"]["total"] > 0


async def test_dicom_is_answered_and_what_was_done_to_it_is_said(client):
    with Path(get_testdata_file("CT_small.dcm")).open("rb") as stream:
        files = {"image": ("a.dcm", stream.read())}
    refused = await client.post("/api/ask", files=files)
    assert_is_error(refused, 422, "identity_found")
    assert "patient's name" in refused.json()["error"]["findings"]["tags"]
    assert "CompressedSamples" not in refused.text
    answer = await client.post("/api/ask", data={"redact": "true"}, files=files)
    assert answer.status_code == 200
    assert answer.json()["question"] == "What does this image show?"
    assert any("tags removed" in note for note in answer.json()["notes"])


async def test_words_alone_and_history(client):
    history = json.dumps([{"question": "What is a pneumothorax?", "answer": "Air in the pleural space."}])
    answer = await client.post("/api/ask", data={"question": "How does it look on CT?", "history": history})
    assert answer.status_code == 200
    assert len(answer.json()["answer"].split()) > 3


async def test_ready(client):
    ready = await client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["model"] == {"ready": True, "name": "demo", "demo": True, "note": ""}
