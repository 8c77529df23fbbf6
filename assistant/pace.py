"""How far a long piece of work is, in words, with the time that is left.

pace = Pace()
pace.told("embed", 128, 9692)      # "embedding figures: 128 of 9,692"
pace.told("embed", 256, 9692)      # "embedding figures: 256 of 9,692, about 3 min left"
"""

import time
from collections.abc import Callable

STAGES = {
    "where": "asking with a part covered",
    "download": "downloading",
    "read": "reading figures",
    "embed": "embedding figures",
    "index": "writing the search database",
    "verify": "checking files",
    "export": "writing the archive",
    "import": "reading the archive",
}
WITHOUT_TOTAL = {"read"}
"""Stages that learn how much there is only at their end."""
SECONDS_BEFORE_A_GUESS = 2.0


class Pace:
    """Watches one run of stages. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._began, self._first = 0.0, 0

    def told(self, stage: str, done: int, total: int) -> str:
        """The stage in words, with the time left once its pace is known."""
        if stage != self._stage:
            self._stage, self._began, self._first = stage, self._clock(), done
        words = f"{STAGES.get(stage, stage)}: {done:,}" + (f" of {total:,}" if stage not in WITHOUT_TOTAL else "")
        taken, gained = self._clock() - self._began, done - self._first
        if gained <= 0 or done >= total or taken < SECONDS_BEFORE_A_GUESS:
            return words
        return f"{words}, {in_words(taken / gained * (total - done))} left"


def in_words(seconds: float) -> str:
    """A guess of a duration: "about 40 s", "about 3 min", "about 2 h"."""
    if seconds < 90:
        return f"about {max(5, round(seconds / 5) * 5)} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.0f} h"
