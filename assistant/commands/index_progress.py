"""How the commands of `medvint index` tell what they do, and what Ctrl-C leaves behind."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID

    from assistant.settings import Settings
    from retrieval.build import Progress

INTERRUPTED_STATUS = 130


def settings() -> "Settings":
    """The settings, imported only when a command runs."""
    from assistant.settings import Settings

    return Settings()


@contextmanager
def writing(interrupted: str) -> Iterator["Progress"]:
    """Progress with the time left; Ctrl-C and a polite kill end in one sentence and status 130.

    Args:
        interrupted: what is left then, as a sentence.
    """
    before = {ending: signal.signal(ending, signal.default_int_handler) for ending in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with _progress() as show:
            yield show
    except KeyboardInterrupt:
        typer.echo(f"medvint: Interrupted. {interrupted}", err=True)
        raise typer.Exit(INTERRUPTED_STATUS) from None
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)


@contextmanager
def _progress() -> Iterator["Progress"]:
    """Bars on a terminal, else a line for each tenth: into a log, or to `medvint up`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from assistant.pace import STAGES, Pace

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}
        said: dict[str, int] = {}
        pace = Pace()

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(STAGES.get(stage, stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)
            words = pace.told(stage, done, total)
            tenth = 10 * done // max(total, 1)
            if not console.is_terminal and said.get(stage) != tenth:
                said[stage] = tenth
                print(words, file=sys.stderr, flush=True)

        yield show
