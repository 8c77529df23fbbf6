"""POST /api/search and the index's pictures, as a client sees them."""

import httpx
import pytest
from fastapi import FastAPI

from assistant.app import create_app
from assistant.settings import Settings
from tests.own_figures import CAPTIONS, EXAMPLES


@pytest.fixture(scope="module")
def web_app(own) -> FastAPI:
    return create_app(Settings(data_dir=own))


@pytest.fixture
async def client(web_app):
    transport = httpx.ASGITransport(web_app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=120) as client:
        yield client


async def test_search_over_rest(client):
    files = {"image": ("a.png", (EXAMPLES / "ct-head.png").read_bytes())}
    answer = await client.post("/api/search", data={"text": "CT of the head", "k": "2"}, files=files)
    assert answer.status_code == 200
    assert set(answer.json()) == {"hits"}
    first = answer.json()["hits"][0]
    assert first["figure"]["caption"] == CAPTIONS["ct-head.png"]
    assert {"score", "rank", "found_by", "relevance", "also"} <= set(first)
    assert "image_path" not in answer.text
    small = await client.get(first["figure"]["thumbnail"])
    large = await client.get("/pictures", params={"figure": first["figure"]["figure_id"]})
    for picture in (small, large):
        assert picture.headers["content-type"] == "image/jpeg"
        assert picture.content.startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    ("data", "captions"),
    [
        ({"text": "quarterly earnings of a shipping company"}, []),
        (
            {"text": "head", "modality": ["ct", "x-RAY"], "licence": "cc-by", "year_from": "2020"},
            [CAPTIONS["ct-head.png"]],
        ),
        ({"text": "CT of the head", "corpus": "roco"}, []),
        ({"text": "CT of the head", "year_to": "2020"}, []),
    ],
)
async def test_filters_and_nothing_similar_over_rest(client, data, captions):
    answer = await client.post("/api/search", data=data)
    assert [hit["figure"]["caption"] for hit in answer.json()["hits"]] == captions


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"data": {"text": "  "}},
        {"data": {"text": "x" * 5000}},
        {"data": {"text": "CT", "k": "0"}},
        {"data": {"text": "CT", "k": "9999999999999999999999"}},
        {"data": {"text": "CT", "k": "many"}},
        {"data": {"text": "CT", "year_from": "-4"}},
        {"data": {"text": "CT", "licence": "all rights"}},
        {"data": {"image": "text"}},
        {"files": {"modality": ("q.txt", b"CT"), "text": (None, b"CT")}},
        {"files": {"image": ("x.png", b"hello")}},
        {"json": {"text": "CT"}},
    ],
)
async def test_a_search_that_cannot_be_read_is_the_clients_fault(client, request_):
    answer = await client.post("/api/search", **request_)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].endswith((".", "."))


async def test_a_search_without_an_index_says_how_to_get_one(tmp_path):
    transport = httpx.ASGITransport(create_app(Settings(data_dir=tmp_path)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as lonely:
        answer = await lonely.post("/api/search", data={"text": "CT"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "index_not_ready"
    assert "medvint index build" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["own/nothing", "../../lock", "/etc/passwd", "..", "", "a\x00b"])
@pytest.mark.parametrize("address", ["/thumbnails", "/pictures"])
async def test_only_the_indexs_own_pictures_are_served(client, address, name):
    answer = await client.get(address, params={"figure": name})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


async def test_the_pages_are_there_and_the_search_describes_itself(client):
    for address in ("/", "/library/"):
        assert (await client.get(address)).status_code == 200
    assert (await client.get("/library")).headers["location"] == "library/"
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert "multipart/form-data" in paths["/api/search"]["post"]["requestBody"]["content"]
