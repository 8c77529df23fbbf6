"""A line at least every few seconds while something long runs, so that a terminal is never silent.

Standard library only: the installer uses it before anything is installed.

    with Heartbeat("Building the index"):
        build()
"""

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

BEAT_S = 5.0


def say(line: str) -> None:
    """Print one line at once, also where standard output is a pipe."""
    print(line, flush=True)


def elapsed(since: float) -> str:
    """Time since a `time.monotonic()` value, such as "42 s" or "2 min 05 s"."""
    seconds = int(time.monotonic() - since)
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02d} s"


TIME_TO_UNDO_S = 10.0


class Heartbeat:
    """Announces a step, then says every `beat_s` seconds that it still runs and, by `detail`, what it does."""

    def __init__(self, title: str, detail: Callable[[], str] | None = None, beat_s: float = BEAT_S) -> None:
        self.title = title
        self._detail = detail
        self._beat_s = beat_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._start = time.monotonic()

    def _beat(self) -> None:
        while not self._over.wait(self._beat_s):
            detail = self._detail() if self._detail else ""
            say(f"   … {elapsed(self._start)}" + (f": {detail}" if detail else ""))

    def __enter__(self) -> "Heartbeat":
        say(f"-- {self.title}")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if error is None:
            say(f"   done in {elapsed(self._start)}")


def last_line(path: Path, width: int = 110) -> str:
    """The last line with text of a log that is being written, shortened to `width`; "" where there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 4096))
        lines = log.read().decode("utf-8", "replace").splitlines()
    text = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return text if len(text) <= width else text[: width - 1] + "…"


def run_logged(
    title: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> int:
    """Run a command with its output in `log`, a line every few seconds on the terminal; returns its exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out, Heartbeat(title, lambda: last_line(log)):
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=cwd)
        try:
            return child.wait()
        except BaseException:
            # Ctrl-C reaches the child too; it is given the time to undo what it was doing.
            child.terminate()
            try:
                child.wait(TIME_TO_UNDO_S)
            except subprocess.TimeoutExpired:
                # Every step can be killed and repeated; a person who pressed Ctrl-C must not wait for one that hangs.
                child.kill()
                child.wait()
            raise
