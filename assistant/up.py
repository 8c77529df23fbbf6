"""What `medvint up` does: check the machine, make what is missing, start the Procfile, say when it answers.

medvint up
MEDVINT_MODEL_URL=http://gpu-server:8000 medvint up
"""

import fcntl
import io
import os
import secrets
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

import httpx
from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Message
from honcho.process import Process
from pydantic import SecretStr

from assistant.guard import check_open
from assistant.preflight import (
    PreflightError,
    check_disk,
    check_memory,
    check_model_folder,
    check_port,
    check_writable,
)
from assistant.prepare import ROOT, Preparation
from assistant.processes import (
    MARK,
    adopt_orphans,
    child_environment,
    die_with_parent,
    end_descendants,
    health,
    web_url,
)
from assistant.progress import BEAT_S, elapsed, last_line, say
from assistant.served_model import READS_NO_IMAGES
from assistant.settings import Settings

WARM_UP_IMAGE = ROOT / "assistant" / "examples" / "mri-brain.png"
WARM_UP_QUESTION = "What is shown in this image?"
WARM_UP_LIMIT_S = 300.0


@dataclass(frozen=True)
class Needs:
    """What starting takes, in GiB: memory with our own model, memory of the web alone, disk for model and index."""

    memory_with_model: float = 4.0
    memory_web: float = 1.5
    disk: float = 2.0


class StoppedEarlyError(Exception):
    """A process ended before the assistant was ready."""


def preflight(settings: Settings, needs: Needs) -> None:
    """Refuse to start on a machine that is not ready.

    Raises:
        PreflightError: with one sentence and a way out.
        OpenToTheWorldError, UsersError: everybody who reaches this machine could use it.
    """
    check_writable(settings.data_dir)
    check_open(settings)
    check_port(settings.host, settings.port, "web", "MEDVINT_PORT")
    if settings.model_url is None:
        check_port("127.0.0.1", settings.model_port, "model", "MEDVINT_MODEL_PORT")
    check_memory(needs.memory_web if settings.model_url else needs.memory_with_model)
    if not settings.model_dir.exists() or not settings.index_dir.exists():
        check_disk(settings.data_dir, needs.disk)
    if settings.model_url is None:
        check_model_folder(settings.model)


def own_data_dir(settings: Settings) -> TextIO:
    """The lock on the state folder: one process owns the index. Held as long as the returned file is open.

    Raises:
        PreflightError: another `medvint up` has it.
    """
    lock = (settings.data_dir / "up.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise PreflightError(
            f"Another `medvint up` uses {settings.data_dir}. Stop it, or use another folder: "
            "MEDVINT_DATA_DIR=/path make up"
        ) from error
    return lock


class BoundProcess(Process):
    """A honcho process that does not outlive the manager, even where that is killed."""

    def run(self, events: object = None, ignore_signals: bool = False) -> None:
        die_with_parent(signal.SIGKILL)
        super().run(events, ignore_signals)


class LogPrinter:
    """honcho's printer: every line goes to the process's log, the keeper's own words to the terminal too."""

    def __init__(self, folder: Path, verbose: bool) -> None:
        self.width = 0
        self._verbose = verbose
        self._folder = folder
        self._logs: dict[str, io.TextIOWrapper] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def write(self, message: Message) -> None:
        text = message.data.decode("utf-8", "replace") if isinstance(message.data, bytes) else message.data
        if message.name not in self._logs:
            self._logs[message.name] = self.path(message.name).open("w", encoding="utf-8")
        self._logs[message.name].write(text)
        self._logs[message.name].flush()
        for line in text.splitlines():
            if line.startswith(MARK):
                say(f"   {line.removeprefix(MARK)}")
            elif self._verbose and message.name != "system":
                say(f"   {message.name}| {line}")


class Supervisor(Manager):
    """honcho's manager, with a watcher that runs from when all processes have started until they are to stop."""

    def __init__(self, printer: LogPrinter, readiness: "Readiness") -> None:
        super().__init__(printer)
        self._process_ctor = BoundProcess
        self._readiness = readiness

    def _start(self) -> None:
        super()._start()
        # After the forks: a thread does not survive one.
        self._readiness.thread.start()

    def terminate(self) -> None:
        self._readiness.over.set()
        if not self._all_started():
            # honcho cannot end what has not told it its process id yet; the caller ends everything below this process.
            raise KeyboardInterrupt
        super().terminate()


class Readiness:
    """Waits in a thread until the whole path has answered a question, and says how far it is."""

    def __init__(self, settings: Settings, printer: LogPrinter) -> None:
        self.settings = settings
        self.ready = threading.Event()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self._printer = printer
        self._url = web_url(settings.host, settings.port)
        self._start = time.monotonic()
        self._said = 0.0

    def _watch(self) -> None:
        self._start = time.monotonic()
        say("-- Starting model and web" if self.settings.model_url is None else "-- Starting the web")
        if self.settings.model_url is None:
            self._wait_for("model", f"{self.settings.model_root_url}/health")
        self._wait_for("web", f"{self._url}/healthz")
        seconds = self._warm_up()
        if self.over.is_set():
            return
        if self.settings.model_url:
            model = str(self.settings.model_url)
        else:
            model = "the demo, a small demonstration model" if self.settings.is_demo else self.settings.model
        say("")
        say(f"The assistant is ready:  {self._url}")
        say(f"   model: {model}; the first question took {seconds:.1f} s")
        say(f"   logs: {self.settings.data_dir / 'logs'}; Ctrl-C stops everything. A study aid, not for diagnosis.")
        self.ready.set()

    def _beat(self, what: str) -> None:
        if time.monotonic() - self._said >= BEAT_S and not self.over.is_set():
            self._said = time.monotonic()
            say(f"   … {elapsed(self._start)}: {what}")

    def _wait_for(self, name: str, url: str) -> None:
        while not self.over.is_set() and health(url, 2) != 200:
            self._beat(f"{name} is starting ({last_line(self._printer.path(name), 80) or 'loading libraries'})")
            self.over.wait(0.5)

    def _warm_up(self) -> float:
        """One question, with an image if the model reads any, through the whole path; returns its seconds."""
        began = time.monotonic()
        while not self.over.is_set():
            began = time.monotonic()
            answered: list[httpx.Response | httpx.HTTPError] = []
            asking = threading.Thread(target=self._ask, args=(answered,), daemon=True)
            asking.start()
            while asking.is_alive():
                asking.join(0.5)
                self._beat("asking the warm-up question")
            reply = answered[0]
            if isinstance(reply, httpx.Response) and reply.status_code == 200:
                break
            reason = reply.text[:200] if isinstance(reply, httpx.Response) else str(reply)
            self._beat(f"the warm-up question was not answered yet ({reason})")
            self.over.wait(1)
        return time.monotonic() - began

    def _ask(self, answered: list[httpx.Response | httpx.HTTPError]) -> None:
        try:
            files = {"image": (WARM_UP_IMAGE.name, WARM_UP_IMAGE.read_bytes(), "image/png")}
            form = {"question": WARM_UP_QUESTION}
            # A proxy that is set for the internet does not reach this machine's own address.
            headers = {"Authorization": f"Bearer {self.settings.up_token.get_secret_value()}"}
            with httpx.Client(timeout=WARM_UP_LIMIT_S, trust_env=False, headers=headers) as client:
                reply = client.post(f"{self._url}/api/ask", data=form, files=files)
                if reply.status_code == 400 and reply.json()["error"]["code"] == READS_NO_IMAGES:
                    reply = client.post(f"{self._url}/api/ask", data=form)
                answered.append(reply)
        except httpx.HTTPError as error:
            answered.append(error)


def run(settings: Settings, verbose: bool = False, needs: Needs | None = None) -> int:
    """Start everything and stay until Ctrl-C or until a process cannot be kept running; returns the exit status.

    Raises:
        PreflightError, PrepareError: nothing was started.
        StoppedEarlyError: a process ended for good; all others were stopped.
    """
    preflight(settings, needs or Needs())
    settings = settings.model_copy(update={"up_token": SecretStr(secrets.token_urlsafe(32))})
    lock = own_data_dir(settings)
    try:
        Preparation(settings).run()
        return _supervise(settings, verbose)
    finally:
        lock.close()


def _supervise(settings: Settings, verbose: bool) -> int:
    adopt_orphans()
    printer = LogPrinter(settings.data_dir / "logs", verbose)
    readiness = Readiness(settings, printer)
    manager = Supervisor(printer, readiness)
    for name, command in parse_procfile((ROOT / "Procfile").read_text()).processes.items():
        if name != "model" or settings.model_url is None:
            manager.add_process(name, command, env=child_environment(settings), cwd=str(Path.cwd()))

    def hang_up(signum: int, frame: FrameType | None) -> None:
        # honcho knows SIGINT and SIGTERM; a closed terminal ends it the same way.
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGHUP, hang_up)
    try:
        manager.loop()
        asked_to_stop = manager.returncode in (130, 143)
    except KeyboardInterrupt:
        asked_to_stop = True
    finally:
        end_descendants(grace_s=2)
    if asked_to_stop:
        say("Stopped.")
        return 0
    names = [name for name in ("model", "web") if printer.path(name).exists()]
    tails = "; ".join(f"{name}: {last_line(printer.path(name), 200)}" for name in names)
    when = "stopped" if readiness.ready.is_set() else "stopped before it was ready"
    raise StoppedEarlyError(f"The assistant {when}. Last lines: {tails}. Logs: {settings.data_dir / 'logs'}")
