"""What the tests share: one demo model, one index, one real vLLM, one web process and one browser for a whole run."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

# A missing file has to fail at once, and not after a hub's time-out.
os.environ["HF_HUB_OFFLINE"] = "1"
for name in [name for name in os.environ if name.startswith("MEDVINT_")]:
    del os.environ[name]

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
ENGINE_START_S = 300
ITEM_LIMIT_S = 420
PRODUCT = {"data_dir", "up", "browser"}


# Before `-m` chooses by these.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if PRODUCT & set(fixtures):
            item.add_marker("product")
        if {"model_server", "web_server"} & set(fixtures):
            item.add_marker("engine")
        if "browser_page" in fixtures:
            item.add_marker("browser")
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(ITEM_LIMIT_S))


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that gives a TCP port that nobody listens on."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public data sets beside the repository; tests that need them skip where they are missing."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data, which is not on this machine")
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of this run."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def demo_model(data_dir: Path) -> Path:
    """The folder of the demo model, assembled as `medvint up` does it."""
    from assistant.prepare import Preparation
    from assistant.settings import Settings

    settings = Settings(data_dir=data_dir)
    Preparation(settings).model()
    return settings.model_dir


@pytest.fixture(scope="session")
def visual_tokens(demo_model: Path) -> int:
    """How many embeddings stand for an image in the demo's prompts."""
    from serving.medvint.configuration import MedVInTConfig

    return MedVInTConfig.from_pretrained(demo_model).projector.num_queries


@pytest.fixture(scope="session")
def sample_index(data_dir: Path) -> Path:
    """The state folder with the index of sample figures in it, built as `medvint up` does it."""
    from assistant.prepare import Preparation
    from assistant.settings import Settings

    Preparation(Settings(data_dir=data_dir)).index()
    return data_dir


@dataclass
class Server:
    """A process of the product under its keeper. `url` is its root, without /v1."""

    url: str
    health_url: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait_until_healthy(self, limit_s: float = ENGINE_START_S) -> None:
        from assistant.processes import health

        until = time.monotonic() + limit_s
        while health(self.health_url, 2) != 200:
            if self.process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{self.url} did not become ready:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.3)

    def members(self) -> list[psutil.Process]:
        """All processes below the keeper."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            for member in [*self.members(), psutil.Process(self.process.pid)]:
                member.kill()
            raise


def start(name: str, url: str, health: str, settings: dict[str, object], log: Path) -> Server:
    """Start one of the Procfile's processes and wait until it is healthy."""
    environment = {**os.environ, **{f"MEDVINT_{key.upper()}": str(value) for key, value in settings.items()}}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "assistant.processes", name],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
        )
    server = Server(url, url + health, process, log)
    try:
        server.wait_until_healthy()
    except BaseException:
        server.stop()
        raise
    return server


@pytest.fixture(scope="session")
def model_server(demo_model: Path, data_dir: Path, free_port: Callable[[], int]) -> Iterator[Server]:
    """One real vLLM with the demo model; `model_server.url + "/v1"` is its OpenAI API, the name is "medvint"."""
    port = free_port()
    settings = {"data_dir": data_dir, "model_port": port}
    server = start("model", f"http://127.0.0.1:{port}", "/health", settings, data_dir / "model.log")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def web_server(model_server: Server, sample_index: Path, free_port: Callable[[], int]) -> Iterator[Server]:
    """The real web process over that engine and index."""
    port = free_port()
    settings = {
        "data_dir": sample_index,
        "model_port": model_server.url.rsplit(":", 1)[1],
        "port": port,
        # Long enough to be stopped in its middle by a slow browser.
        "max_answer_tokens": 600,
        # All tests come from one address, some within a second.
        "requests_per_minute": 100_000,
    }
    server = start("web", f"http://127.0.0.1:{port}", "/healthz", settings, sample_index / "web.log")
    yield server
    server.stop()


# Not for the whole session: as long as Playwright's synchronous interface is open, no asynchronous test can run.
@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Chromium, headless. In CI a missing one is a failure."""
    from playwright.sync_api import sync_playwright

    from tests.browser import find_chromium

    path = find_chromium()
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs Chromium: python -m tests.browser")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def browser_page(browser, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[object]:
    """A fresh page; its console errors fail nothing, but a failed test leaves a screenshot in `test-results/`."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    failed_before = request.session.testsfailed
    yield page
    if request.session.testsfailed > failed_before:
        folder = ROOT / ".pytest_cache" / "screenshots"
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{request.node.name}.png", full_page=True)
    context.close()


@pytest.fixture(scope="session")
def medvint() -> str:
    """The command as it was installed."""
    path = Path(sys.executable).parent / "medvint"
    found = str(path) if path.exists() else shutil.which("medvint")
    assert found, "the command medvint is not installed"
    return found
