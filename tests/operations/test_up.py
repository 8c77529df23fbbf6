"""`medvint up` as a person starts it: from a shell, in a folder of its own, ended with Ctrl-C."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Page, expect

from assistant.processes import health
from tests.e2e.test_chat_page import BOT, EXAMPLES, ask, wait_for_answer

READY = "The assistant is ready:"
RESTART_MS = 300_000


def _hears_ctrl_c():
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Up:
    """A running `medvint up` and what it has printed so far."""

    def __init__(self, command, **settings):
        self.process = subprocess.Popen(
            [command, "up"],
            env={**os.environ, **{f"MEDVINT_{key.upper()}": str(value) for key, value in settings.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell that starts the tests in the background has them ignore Ctrl-C, and they would pass that on.
            preexec_fn=_hears_ctrl_c,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    @property
    def text(self):
        return "\n".join(self.lines)

    def wait_for(self, words, limit_s=400):
        until = time.monotonic() + limit_s
        while words not in self.text:
            if self.process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"`medvint up` never said {words!r}:\n{self.text}")
            time.sleep(0.2)

    def below(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, signum=signal.SIGINT):
        self.process.send_signal(signum)
        status = self.process.wait(60)
        self._reader.join(10)
        return status


@pytest.fixture
def up(medvint):
    started = []

    def begin(**settings):
        started.append(Up(medvint, **settings))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            for process in [*one.below(), one.process]:
                process.kill()


def running(processes):
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def stamps(folder: Path):
    """When each file of models and index was last written."""
    files = [path for name in ("models", "index") for path in (folder / name).rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in files if "chroma" not in str(path)}


def test_with_a_model_elsewhere_it_starts_only_the_web_heals_and_builds_nothing_twice(
    up, model_server, tmp_path, free_port
):
    port = free_port()
    settings = {"model_url": model_server.url, "data_dir": tmp_path, "port": port}
    interrupted = up(**settings)
    interrupted.wait_for("Building the index")
    time.sleep(2)
    below = interrupted.below()
    assert interrupted.end() != 0
    assert "Traceback" not in interrupted.text
    assert not running(below)

    first = up(**settings)
    first.wait_for(READY)
    assert "Building the index" in first.text and "Assembling" not in first.text
    assert f"http://127.0.0.1:{port}" in first.text
    assert not [process for process in first.below() if "vllm" in " ".join(process.cmdline())]
    assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).status_code == 200

    other = up(**(settings | {"port": free_port()}))
    assert other.process.wait(60) == 1
    other._reader.join(10)
    assert "Another `medvint up`" in other.text and "Traceback" not in other.text

    below = first.below()
    assert below
    assert first.end() == 0
    assert first.lines[-1] == "Stopped."
    assert not running(below)
    assert health(f"http://127.0.0.1:{port}/healthz", 2) is None

    made = stamps(tmp_path)
    second = up(**settings)
    second.wait_for(READY)
    assert "Building" not in second.text
    assert stamps(tmp_path) == made
    below = second.below()
    assert second.end(signal.SIGHUP) == 0
    assert not running(below)


def test_a_port_in_use_ends_it_with_one_line(up, tmp_path, free_port):
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        refused = up(port=port, model_port=free_port(), data_dir=tmp_path)
        assert refused.process.wait(60) == 1
    refused._reader.join(10)
    assert len(refused.lines) == 1
    assert f"Port {port}" in refused.text and "MEDVINT_PORT=" in refused.text


def test_a_model_that_cannot_be_served_ends_it_and_says_where_to_look(up, sample_index, tmp_path, free_port):
    (tmp_path / "config.json").write_text("{}")
    failed = up(model=tmp_path, data_dir=sample_index, port=free_port(), model_port=free_port())
    assert failed.process.wait(300) == 1
    failed._reader.join(10)
    assert "stopped before it was ready" in failed.text and "logs" in failed.text
    assert "Traceback" not in failed.text


def test_the_whole_of_it_with_its_own_engine(up, browser_page: Page, demo_model, sample_index, free_port):
    """Model and web from the Procfile, used in the browser. A model that dies is told there, the conversation stays, and
    it works again when the model was started anew; Ctrl-C leaves nothing."""
    port, model_port = free_port(), free_port()
    web = f"http://127.0.0.1:{port}"
    whole = up(data_dir=sample_index, port=port, model_port=model_port)
    whole.wait_for(READY)
    assert "Assembling" not in whole.text and "Building" not in whole.text
    assert "a small demonstration model" in whole.text
    page = browser_page
    page.goto(web)
    expect(page.locator("#status.ready")).to_be_visible()
    ask(page, "Which organ is shown in this image?", EXAMPLES / "mri-brain.png")
    first = wait_for_answer(page)

    (server,) = [process for process in whole.below() if "api_server" in " ".join(process.cmdline())]
    engine = [server, *server.children(recursive=True)]
    server.send_signal(signal.SIGKILL)
    expect(page.locator("#status.problem")).to_contain_text("the conversation is kept", timeout=15_000)
    assert httpx.get(f"{web}/readyz").status_code == 503
    assert httpx.get(f"{web}/healthz").status_code == 200
    refused = httpx.post(f"{web}/api/ask", data={"question": "Are you there?"}, timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_not_ready")
    ask(page, "Which plane is it?")
    expect(page.locator(f"{BOT} .problem")).to_be_visible()
    expect(page.locator("#question textarea")).to_have_value("Which plane is it?")
    assert page.locator(BOT).first.inner_text() == first

    whole.wait_for("model ended (signal 9); starting it again")
    expect(page.locator("#status.ready")).to_be_visible(timeout=RESTART_MS)
    assert not running(engine)
    page.locator("#question textarea").press("Enter")
    assert wait_for_answer(page, 2)
    assert page.locator(BOT).first.inner_text() == first
    expect(page.locator(f"{BOT} .problem")).to_have_count(0)

    below = whole.below()
    memory = sum(process.memory_full_info().pss for process in [*below, psutil.Process(whole.process.pid)])
    assert memory < 5 * 2**30, f"{memory / 2**30:.2f} GiB"
    assert whole.end() == 0
    assert not running(below)
    assert health(f"http://127.0.0.1:{model_port}/health", 2) is None
