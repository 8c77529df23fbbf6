"""Keeps one of the Procfile's processes running: starts it, starts it again when it dies, and ends all of it.

honcho stops everything when one process ends, so what it runs is this keeper. A process that was healthy once is
started again; one that ends before it ever was healthy ends the keeper, so that a mistake is seen at once.

    python -m assistant.processes model
    python -m assistant.processes web
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from assistant.settings import Settings

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# honcho waits five seconds before it kills, so the orderly end has to be shorter.
ORDERLY_S = 3.0
POLL_S = 0.5
HEALTH_EVERY_S = 2.0
UNHEALTHY_LIMIT = 3
RESTARTS = 3
MARK = "medvint: "
# A proxy that is set for the internet does not reach this machine's own addresses.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Service:
    """A process and the address that answers 200 while it is well."""

    name: str
    command: Sequence[str]
    health_url: str


def die_with_parent(signum: int = signal.SIGTERM) -> None:
    """Have the kernel send `signum` to this process when the one that started it ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signum), 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose own parent dies, so that `end_descendants` finds all of them."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants(grace_s: float) -> None:
    """End every process below this one: asked first, killed after `grace_s` seconds."""
    below = psutil.Process().children(recursive=True)
    for process in below:
        _signal(process.terminate)
    psutil.wait_procs(below, timeout=grace_s)
    # Again from the top: some may have been started meanwhile, orphans have moved up.
    below = psutil.Process().children(recursive=True)
    for process in below:
        _signal(process.kill)
    psutil.wait_procs(below, timeout=grace_s)


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return


def web_url(host: str, port: int) -> str:
    """Where a browser on this machine finds the web process, also where it listens on every address."""
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{local}:{port}"


def health(url: str, seconds: float = 5.0) -> int | None:
    """HTTP status of a health address; None where nothing answers in time."""
    try:
        with _DIRECT.open(url, timeout=seconds) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, OSError):
        return None


def child_environment(settings: Settings) -> dict[str, str]:
    """What our own processes are started with: this Python first on the path, and the settings that options changed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {
        **os.environ,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "MEDVINT_HOST": settings.host,
        "MEDVINT_PORT": str(settings.port),
        "MEDVINT_MODEL_PORT": str(settings.model_port),
        "MEDVINT_DATA_DIR": str(settings.data_dir.resolve()),
        "MEDVINT_UP_TOKEN": settings.up_token.get_secret_value(),
    }


class Stopped(Exception):
    """The keeper was asked to stop."""


class Keeper:
    """Runs a service until it is told to stop or the service cannot be brought to health."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._was_healthy = False
        self._failures = 0

    def run(self) -> int:
        """Returns the exit status: 0 where it was asked to stop, else the service's own."""
        adopt_orphans()
        die_with_parent()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self._stop)
        try:
            while True:
                status = self._run_once()
                if not self._was_healthy or self._failures >= RESTARTS:
                    self._say(f"{self.service.name} ended ({status}) and is not started again")
                    return status or 1
                self._failures += 1
                self._say(f"{self.service.name} ended ({_words(status)}); starting it again")
        except Stopped:
            return 0
        finally:
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(signum, signal.SIG_IGN)
            end_descendants(ORDERLY_S)

    def _run_once(self) -> int:
        child = subprocess.Popen(self.service.command)
        next_look = time.monotonic()
        healthy = False
        unwell = 0
        while child.poll() is None:
            time.sleep(POLL_S)
            if time.monotonic() < next_look:
                continue
            status = health(self.service.health_url)
            next_look = time.monotonic() + HEALTH_EVERY_S
            if status == 200 and not healthy:
                healthy = self._was_healthy = True
                self._failures = 0
                self._say(f"{self.service.name} is ready")
            # Busy is not unwell: only a server that says itself that it is broken is replaced.
            unwell = unwell + 1 if healthy and status is not None and status >= 500 else 0
            if unwell >= UNHEALTHY_LIMIT:
                self._say(f"{self.service.name} says that it is broken ({status})")
                break
        end_descendants(ORDERLY_S)
        return child.wait()

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        raise Stopped

    def _say(self, line: str) -> None:
        print(MARK + line, flush=True)


def _words(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def main(arguments: list[str]) -> int:
    """Keep the service that the command line names, with the settings' addresses; returns the exit status."""
    settings = Settings()
    services = {
        "model": ("serve", f"{settings.model_root_url}/health"),
        "web": ("web", f"{web_url(settings.host, settings.port)}/healthz"),
    }
    if len(arguments) != 1 or arguments[0] not in services:
        print(f"usage: python -m assistant.processes {'|'.join(services)}", file=sys.stderr)
        return 2
    command, url = services[arguments[0]]
    return Keeper(Service(arguments[0], [sys.executable, "-m", "assistant", command], url)).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
