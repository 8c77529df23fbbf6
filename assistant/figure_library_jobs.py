"""Work that writes the index, in the web process: one piece at a time, told as it goes, stopped when asked.

jobs = Jobs()
jobs.start("Adding own figures", lambda progress: "12 figures added.")
jobs.current.told()      # "embedding figures: 8 of 12"
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Literal

from assistant import figure_library_words as words
from assistant.pace import Pace
from retrieval.build import Progress
from retrieval.errors import IndexBusyError, RetrievalError

logger = logging.getLogger(__name__)

Work = Callable[[Progress], str]
"""Does the work, calling its argument as it goes, and says in a sentence what was done."""
State = Literal["running", "done", "stopped", "failed"]
SECONDS_TO_END = 5.0


class StoppedError(Exception):
    """The work was told to stop."""


class Job:
    """One piece of work in a thread of its own; readable from every thread."""

    def __init__(self, title: str, work: Work) -> None:
        self.title = title
        self.state: State = "running"
        self.outcome = ""
        self.started = time.monotonic()
        self.done, self.total = 0, 0
        self._stage = ""
        self._work = work
        self._pace = Pace()
        self._told_to_stop = threading.Event()
        # The index can be killed at any moment without loss, so the end of the process need not wait for this thread.
        self._thread = threading.Thread(target=self._run, daemon=True, name="index-writer")
        self._thread.start()

    @property
    def is_ending(self) -> bool:
        """Whether it was told to stop."""
        return self._told_to_stop.is_set()

    def stop(self) -> None:
        """Ends the work at its next report of progress."""
        self._told_to_stop.set()

    def wait(self, limit_s: float | None = None) -> bool:
        """Whether it has ended within the limit."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def told(self) -> str:
        """What it is doing, or how it ended, in words."""
        if self.state != "running":
            return self.outcome
        return words.STOPPING if self.is_ending else self._stage or words.STARTING

    def _progress(self, stage: str, done: int, total: int) -> None:
        if self.is_ending:
            raise StoppedError
        self.done, self.total = done, total
        self._stage = self._pace.told(stage, done, total)

    def _run(self) -> None:
        try:
            self.outcome = self._work(self._progress)
            self.state = "done"
        except StoppedError:
            self._end("stopped", words.STOPPED)
        except RetrievalError as error:
            self._end("failed", str(error))
        except Exception:
            logger.exception("Unexpected fault while: %s", self.title)
            self._end("failed", words.FAULT)

    def _end(self, state: State, outcome: str) -> None:
        # The words first: whoever sees the new state reads them at once.
        self.outcome = outcome
        self.state = state


class Jobs:
    """The one job that this process runs, or the last one that it ran."""

    def __init__(self) -> None:
        self.current: Job | None = None
        self._starting = threading.Lock()

    def start(self, title: str, work: Work) -> Job:
        """
        Raises:
            IndexBusyError: another job is running.
        """
        with self._starting:
            if self.current is not None and self.current.state == "running":
                raise IndexBusyError(words.BUSY.format(title=self.current.title, told=self.current.told()))
            self.current = Job(title, work)
            return self.current

    def close(self) -> None:
        """The process ends: a running job is told so, and is given a moment."""
        if self.current is not None and self.current.state == "running":
            self.current.stop()
            self.current.wait(SECONDS_TO_END)
