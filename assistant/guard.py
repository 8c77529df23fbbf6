"""What every request passes before it reaches page or API: host, origin, sign-in, rate, and headers on the way back.

app.add_middleware(Guard, settings=settings)
"""

import asyncio
import base64
import binascii
import hmac
import json
import logging
import re
import time
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assistant.request_id import request_id
from assistant.settings import Settings
from assistant.users import Users

logger = logging.getLogger("assistant.requests")

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What makes somebody else's work: questions, searches, changes. Pages, styles and signs of life are free.
# The pages beside the chat have Gradio's addresses under their own.
COUNTED = re.compile(r"/(api/(?!status)|v1/|mcp)|(/[a-z]+)?/gradio_api/(queue/join|upload|call)")
# The steps between, several to a question: one that were refused would leave the page half changed.
STEPS = re.compile(r"(/[a-z]+)?/gradio_api/run")
STEPS_TO_A_REQUEST = 20
OPEN_TO_ALL = frozenset({"/healthz"})
FAILED_SIGN_INS_A_MINUTE = 10
REALM = 'Basic realm="MedVInT assistant", charset="UTF-8"'
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class OpenToTheWorldError(Exception):
    """The page would be open to everybody who reaches this machine; the message says the ways out."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_open(settings: Settings) -> None:
    """Refuse to listen for the world without sign-in. Raises OpenToTheWorldError; UsersError for a broken file."""
    if settings.users_file:
        Users.read(settings.users_file)
    elif not is_loopback(settings.host) and not settings.allow_open:
        raise OpenToTheWorldError(
            f"{settings.host} can be reached by others, and nobody has to sign in. Name a file of users: "
            "MEDVINT_USERS_FILE=users.txt (`medvint users add NAME`), or let everybody in: MEDVINT_ALLOW_OPEN=1"
        )


@dataclass(frozen=True)
class Refusal(Exception):
    """Why a request goes no further."""

    status: int
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()


class Guard:
    """ASGI middleware; the signed-in person's name is in `scope["state"]["user"]`, "" where nobody signs in."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._users = Users.read(settings.users_file) if settings.users_file else None
        self._token = settings.up_token.get_secret_value()
        self._hosts = {name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()}
        self._is_local = is_loopback(settings.host)
        self._headers = _headers(settings.framed_by, settings.remote_thumbnails)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._per_minute = RateLimitItemPerMinute(settings.requests_per_minute)
        self._steps_per_minute = RateLimitItemPerMinute(STEPS_TO_A_REQUEST * settings.requests_per_minute)
        self._failures = RateLimitItemPerMinute(FAILED_SIGN_INS_A_MINUTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        identity = given if _ID.fullmatch(given) else uuid.uuid4().hex
        token = request_id.set(identity)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = MutableHeaders(scope=message)
                sent["X-Request-ID"] = identity
                for name, value in self._headers.items():
                    sent.setdefault(name, value)
            await send(message)

        try:
            scope.setdefault("state", {})["user"] = await self._admit(scope, headers)
            await self._app(scope, receive, answer)
        except Refusal as refusal:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            body = {"error": {"code": refusal.code, "message": refusal.message}}
            response = JSONResponse(body, refusal.status, dict(refusal.headers))
            await response(scope, receive, answer)
        finally:
            request_id.reset(token)
            if COUNTED.match(scope["path"]) or status >= HTTPStatus.BAD_REQUEST:
                _log(scope, identity, status, time.monotonic() - began)

    async def _admit(self, scope: Scope, headers: Headers) -> str:
        """The signed-in person's name. Raises Refusal."""
        path = scope["path"]
        self._check_host(headers)
        self._check_origin(scope, headers)
        client = (scope.get("client") or ("unknown", 0))[0]
        user = "" if path in OPEN_TO_ALL else await self._signed_in(headers, client)
        if STEPS.match(path):
            allowed = self._limiter.hit(self._steps_per_minute, "steps", user or client)
        else:
            allowed = not COUNTED.match(path) or self._limiter.hit(self._per_minute, "requests", user or client)
        if not allowed:
            raise Refusal(
                429,
                "too_many_requests",
                f"More than {self._per_minute.amount} requests in a minute. Please wait a little.",
                (("Retry-After", "10"),),
            )
        return user

    def _check_host(self, headers: Headers) -> None:
        # A page of another site can have its own name point here (DNS rebinding); its requests carry that name.
        name = _host_name(headers.get("host", ""))
        if self._is_local and not is_loopback(name) and name not in self._hosts:
            raise Refusal(
                421, "unknown_host", "This server is not known by that name. MEDVINT_ALLOWED_HOSTS can name it."
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
            return
        origin = headers.get("origin")
        foreign = headers.get("sec-fetch-site") == "cross-site"
        if origin is not None:
            foreign = foreign or origin.partition("://")[2].lower() != headers.get("host", "").lower()
        if foreign:
            raise Refusal(403, "cross_site", "Requests from pages of other sites are not accepted.")

    async def _signed_in(self, headers: Headers, client: str) -> str:
        if self._users is None:
            return ""
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._token and hmac.compare_digest(value.encode(), self._token.encode()):
            return "up"
        name, password = _credentials(kind, value)
        if not self._limiter.test(self._failures, "failures", client):
            raise Refusal(429, "too_many_sign_ins", "Too many wrong passwords. Please wait a minute.")
        if name:
            is_right: bool = await asyncio.to_thread(self._users.check, name, password)
            if is_right:
                return name
            self._limiter.hit(self._failures, "failures", client)
        raise Refusal(401, "sign_in", "Please sign in with name and password.", (("WWW-Authenticate", REALM),))


def _credentials(kind: str, value: str) -> tuple[str, str]:
    """Name and password of a Basic header, or of a Bearer key `name:password`, which is what OpenAI clients send."""
    if kind.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
    elif kind.lower() != "bearer":
        return "", ""
    name, _, password = value.partition(":")
    return name, password


def _host_name(host: str) -> str:
    """Without the port: `[::1]:7860` and `localhost:7860`."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0].lower()


def _headers(framed_by: str, remote_images: bool) -> dict[str, str]:
    frames = " ".join(["'self'", *framed_by.replace(",", " ").split()])
    policy = {
        "default-src": "'self'",
        # Gradio's page starts from inline scripts and compiles its components' code.
        "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": f"'self' data: blob:{' https:' if remote_images else ''}",
        "font-src": "'self' data:",
        "connect-src": "'self' data: blob:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": frames,
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def _log(scope: Scope, identity: str, status: int, seconds: float) -> None:
    # No query, which could hold words of a question, and no file's name, which could be a patient's.
    line = {
        "id": identity,
        "method": scope.get("method", "WEBSOCKET"),
        "path": scope["path"].partition("=")[0],
        "status": status,
        "seconds": round(seconds, 3),
    }
    logger.info(json.dumps(line))
