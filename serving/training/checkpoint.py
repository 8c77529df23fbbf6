"""What every training stage keeps: files that are whole or absent, and a log with the time left."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import typer


def save_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Written aside and renamed: a kill in the middle leaves the one before."""
    aside = path.with_name(f".{path.name}.tmp")
    write(aside)
    aside.replace(path)


def save(path: Path, state: dict[str, Any]) -> None:
    """A checkpoint, whole."""
    save_whole(path, lambda aside: torch.save(state, aside))


def load(path: Path) -> dict[str, Any] | None:
    """The last checkpoint, None before the first."""
    return torch.load(path, weights_only=True) if path.exists() else None


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a `log.jsonl`; a last line that a kill cut off is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


class Log:
    """Appends records to `log.jsonl` and says them, with the minutes left of `steps`.

    A run that goes on from step `first` writes the later steps again: their old records are dropped.
    """

    def __init__(self, path: Path, first: int, steps: int) -> None:
        self.path, self.first, self.steps = path, first, steps
        self.started = time.monotonic()
        kept = [record for record in read_log(path) if record["step"] <= first]
        self.before = max((record["seconds"] for record in kept), default=0)
        save_whole(path, lambda aside: aside.write_text("".join(json.dumps(record) + "\n" for record in kept)))

    def write(self, step: int, **measured: Any) -> None:
        """`step` is the number of steps done; None values are left out."""
        seconds = time.monotonic() - self.started
        record: dict[str, Any] = {"step": step, "seconds": self.before + round(seconds)}
        record |= {
            name: float(f"{value:.6g}") if isinstance(value, float) else value
            for name, value in measured.items()
            if value is not None
        }
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        left = (self.steps - step) * seconds / max(step - self.first, 1)
        said = "  ".join(f"{name} {value}" for name, value in record.items() if name != "seconds")
        typer.echo(f"{said}  {left / 60:.0f} min left")
