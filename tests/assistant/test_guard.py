"""What stands before page and API: host, origin, sign-in, rate, headers. The real application, without a model."""

import base64
import itertools
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from assistant import users
from assistant.app import create_app
from assistant.guard import OpenToTheWorldError, check_open
from assistant.settings import Settings
from assistant.users import Users, UsersError

PASSWORD = "correct horse battery"
_ADDRESSES = itertools.count(1)


def _app(data_dir: Path, port: int, **changed: object) -> FastAPI:
    return create_app(Settings(data_dir=data_dir, model_port=port, **changed))


@pytest.fixture(scope="module")
def open_app(tmp_path_factory, free_port: Callable[[], int]) -> FastAPI:
    """On loopback, for all; it answers to one more name."""
    return _app(tmp_path_factory.mktemp("open"), free_port(), allowed_hosts="lab.example")


@pytest.fixture(scope="module")
def closed_app(tmp_path_factory, free_port: Callable[[], int]) -> FastAPI:
    """Only anna may come in, and `medvint up` itself."""
    folder = tmp_path_factory.mktemp("closed")
    users.add(folder / "users.txt", "anna", PASSWORD)
    return _app(folder, free_port(), users_file=folder / "users.txt", up_token="of-up")


def client(app: FastAPI, base_url: str = "http://127.0.0.1") -> httpx.AsyncClient:
    """A client from an address of its own: guesses and requests are counted by address."""
    number = next(_ADDRESSES)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(f"10.0.0.{number}", 1))
    return httpx.AsyncClient(transport=transport, base_url=base_url, timeout=60)


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    path = tmp_path / "users.txt"
    users.add(path, "anna", PASSWORD)
    return path


@pytest.mark.parametrize("address", ["/", "/healthz", "/api/status", "/metrics", "/api/none"])
async def test_every_answer_has_the_headers_and_an_id(open_app, address):
    async with client(open_app) as http:
        answer = await http.get(address)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(("given", "is_kept"), [("teacher-42", True), ("a b\n", False), ("x" * 200, False)])
async def test_a_request_id_is_kept_where_it_is_one(open_app, given, is_kept):
    async with client(open_app) as http:
        answer = await http.get("/healthz", headers={"X-Request-ID": given.strip() if is_kept else given.strip("\n")})
    assert (answer.headers["x-request-id"] == given) is is_kept


@pytest.mark.parametrize(
    ("base_url", "status"),
    [("http://localhost", 200), ("http://[::1]", 200), ("http://evil.example", 421), ("http://lab.example", 200)],
)
async def test_on_loopback_no_other_name_is_answered(open_app, base_url, status):
    async with client(open_app, base_url) as http:
        assert (await http.get("/api/status")).status_code == status


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"Origin": "http://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}, False),
        ({}, False),
    ],
)
async def test_other_sites_pages_cannot_ask(open_app, headers, refused):
    async with client(open_app) as http:
        answer = await http.post("/api/ask", data={"question": ""}, headers=headers)
        allowed = await http.options(
            "/api/ask", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        )
    assert answer.status_code == (403 if refused else 400)
    assert "access-control-allow-origin" not in allowed.headers


def _basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (_basic("anna", PASSWORD), 200),
        ({"Authorization": f"Bearer anna:{PASSWORD}"}, 200),
        ({"Authorization": "Bearer of-up"}, 200),
        (_basic("anna", "wrong password"), 401),
        (_basic("bert", PASSWORD), 401),
        ({"Authorization": "Basic %%%"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({}, 401),
    ],
)
@pytest.mark.parametrize("address", ["/", "/api/status", "/v1/models", "/metrics"])
async def test_with_users_all_have_to_sign_in(closed_app, headers, status, address):
    async with client(closed_app) as http:
        answer = await http.get(address, headers=headers)
        assert answer.status_code == status
        assert (await http.get("/healthz")).status_code == 200
    assert ("www-authenticate" in answer.headers) is (status == 401)


async def test_guessing_passwords_ends_soon(closed_app):
    async with client(closed_app) as http, client(closed_app) as another:
        tries = [await http.get("/api/status", headers=_basic("anna", f"guess number {i}")) for i in range(12)]
        assert (await another.get("/api/status", headers=_basic("anna", PASSWORD))).status_code == 200
    assert [answer.status_code for answer in tries] == [401] * 10 + [429] * 2


async def test_too_many_requests_wait(tmp_path, free_port):
    async with client(_app(tmp_path, free_port(), requests_per_minute=3)) as http:
        answers = [await http.post("/api/ask", data={"question": ""}) for _ in range(4)]
        # On every page; the steps between, of which a question has several, have a limit of their own.
        assert (await http.post("/compare/gradio_api/queue/join", json={})).status_code == 429
        steps = [(await http.post("/gradio_api/run/predict", json={})).status_code for _ in range(61)]
        assert steps[-1] == 429 and 429 not in steps[:-1]
        assert (await http.get("/healthz")).status_code == 200
    assert [answer.status_code for answer in answers] == [400] * 3 + [429]
    assert answers[-1].headers["retry-after"]
    assert "wait" in answers[-1].json()["error"]["message"]


@pytest.mark.parametrize(
    ("changed", "is_open"),
    [
        ({"host": "127.0.0.1"}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "192.168.1.2"}, True),
        ({"host": "0.0.0.0", "allow_open": True}, False),
    ],
)
def test_the_world_is_let_in_on_purpose_only(changed, is_open):
    if is_open:
        with pytest.raises(OpenToTheWorldError, match="MEDVINT_USERS_FILE"):
            check_open(Settings(**changed))
    else:
        check_open(Settings(**changed))


def test_with_users_it_may_listen_for_the_world(users_file):
    check_open(Settings(host="0.0.0.0", users_file=users_file))
    users.remove(users_file, "anna")
    with pytest.raises(UsersError, match="names nobody"):
        check_open(Settings(host="0.0.0.0", users_file=users_file))


def test_a_changed_password_is_the_only_one(users_file):
    users.add(users_file, "bert", PASSWORD)
    users.add(users_file, "anna", "another password")
    read = Users.read(users_file)
    assert not read.check("anna", PASSWORD)
    assert read.check("anna", "another password")
    assert read.check("bert", PASSWORD)
    assert users_file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("line", ["anna", "anna:plain", "a b:$2b$12$" + "x" * 53, ":$2b$12$" + "x" * 53])
def test_a_file_of_another_form_is_refused_by_line(tmp_path, line):
    path = tmp_path / "users.txt"
    path.write_text(f"# who\n{line}\n")
    with pytest.raises(UsersError, match="Line 2"):
        Users.read(path)


@pytest.mark.parametrize(
    ("name", "password"), [("", PASSWORD), ("a:b", PASSWORD), ("anna", "short"), ("anna", "x" * 73)]
)
def test_names_and_passwords_have_limits(tmp_path, name, password):
    with pytest.raises(UsersError):
        users.add(tmp_path / "users.txt", name, password)
    assert not (tmp_path / "users.txt").exists()
