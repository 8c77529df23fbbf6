"""What every training stage keeps: a checkpoint that is whole or absent, and a log with the time left."""

import json
import time
from pathlib import Path
from typing import Any

import torch
import typer


def save(path: Path, state: dict[str, Any]) -> None:
    """Written aside and renamed: a kill in the middle leaves the one before."""
    aside = path.with_suffix(".tmp")
    torch.save(state, aside)
    aside.replace(path)


def load(path: Path) -> dict[str, Any] | None:
    """The last checkpoint, None before the first."""
    return torch.load(path, weights_only=True) if path.exists() else None


class Log:
    """Appends records to `log.jsonl` and says them, with the minutes left of `steps`."""

    def __init__(self, path: Path, first: int, steps: int) -> None:
        self.path, self.first, self.steps = path, first, steps
        self.started = time.monotonic()

    def write(self, step: int, **measured: Any) -> None:
        """`step` is the number of steps done; None values are left out."""
        seconds = time.monotonic() - self.started
        record: dict[str, Any] = {"step": step, "seconds": round(seconds)}
        record |= {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in measured.items()
            if value is not None
        }
        with self.path.open("a") as log:
            log.write(json.dumps(record) + "\n")
        left = (self.steps - step) * seconds / max(step - self.first, 1)
        typer.echo(f"{record}  {left / 60:.0f} min left")
