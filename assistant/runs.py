"""Answers under way, one a visitor: who may end one, when it is over, and signs of life while it is silent."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from assistant.chat import QuestionError, Turn
from assistant.model import ModelError

SECONDS_BETWEEN_SIGNS_OF_LIFE = 1.0
SECONDS_FOR_LAST_WORDS = 5.0


class Run:
    """A question that is being answered. As long as it runs, it alone writes to its visitor's screen: whoever wants it
    to end asks it to, and it shows the end itself. Gradio sends a run's last update a second time when it completes,
    so a run has `ended` when it has nothing more to say and `is_over` when the page has told that it shows the end."""

    def __init__(self) -> None:
        self.told_to_end = asyncio.Event()
        self.ended = False
        self.is_over = asyncio.Event()
        self.forget = False


class Runs:
    """By the page's session; None is a caller without one."""

    def __init__(self) -> None:
        self._runs: dict[str | None, Run] = {}

    @contextmanager
    def run(self, visitor: str | None) -> Iterator[Run]:
        """A new run, which has ended afterwards."""
        if before := self._runs.get(visitor):
            before.is_over.set()
        run = self._runs[visitor] = Run()
        try:
            yield run
        finally:
            run.ended = True

    def running(self, visitor: str | None) -> Run | None:
        """The visitor's run, unless it has ended."""
        run = self._runs.get(visitor)
        return None if run is None or run.ended else run

    def shown(self, visitor: str | None) -> None:
        """The page shows the end of a run; a newer one goes on."""
        if (run := self._runs.get(visitor)) and run.ended:
            self.leave(visitor)

    def leave(self, visitor: str | None) -> None:
        """Nobody waits for the visitor's run any more."""
        if run := self._runs.pop(visitor, None):
            run.is_over.set()

    async def over(self, visitor: str | None) -> None:
        """Wait until the page shows the end of the visitor's run, but not for ever."""
        if run := self._runs.get(visitor):
            with suppress(TimeoutError):
                async with asyncio.timeout(SECONDS_FOR_LAST_WORDS):
                    await run.is_over.wait()


async def with_signs_of_life(
    source: AsyncGenerator[Turn, None], told_to_end: asyncio.Event
) -> AsyncGenerator[Turn | None, None]:
    """What `source` yields, and None whenever it has been silent for a while; ends when told to."""
    step: Callable[[], Any] = source.__anext__
    pending = asyncio.ensure_future(step())
    ending = asyncio.ensure_future(told_to_end.wait())
    try:
        while True:
            await asyncio.wait(
                {pending, ending}, timeout=SECONDS_BETWEEN_SIGNS_OF_LIFE, return_when=asyncio.FIRST_COMPLETED
            )
            if ending.done():
                return
            if not pending.done():
                yield None
                continue
            try:
                turn = pending.result()
            except StopAsyncIteration:
                return
            yield turn
            pending = asyncio.ensure_future(step())
    finally:
        ending.cancel()
        pending.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration, QuestionError, ModelError):
            await pending
        await source.aclose()
