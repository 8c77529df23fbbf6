"""The answers of a run on disk: written as they come, found again after a kill, and never of two models in one folder.

with AnswerLog(Path("out"), {"model": "demo", ...}) as log:
    log.add("slake/1", "blank", Answered("CT", 0.9))
    log.done["slake/1", "blank"].answer
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from serving.evaluation.benchmarks import BenchmarkError
from serving.evaluation.controls import Caption


class OtherRunError(BenchmarkError):
    """The folder holds answers of another model or benchmark, or another process writes there."""


@dataclass(frozen=True)
class Answered:
    """What the chat turn gave.

    `probability` is of the whole answer where `whole`, else the mean of a word's; None where the server tells none.
    `failure` says why there is no answer; such a question counts as wrong.
    """

    answer: str
    probability: float | None = None
    whole: bool = True
    failure: str = ""


class AnswerLog:
    """`answers.jsonl` beside `run.json`, which says whose answers they are. `done` is by question and condition."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._path = folder / "answers.jsonl"
        self._identity_path = folder / "run.json"
        self._folder, self._identity = folder, dict(identity)
        self.done: dict[tuple[str, str], Answered] = {}
        self.captions: dict[tuple[str, str], tuple[Caption, ...]] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8")
        try:
            self._lock()
            self._check_identity()
            for row in read_lines(self._path):
                key = row["question_id"], row["condition"]
                self.done[key] = Answered(row["answer"], row["probability"], row["whole"], row["failure"])
                self.captions[key] = tuple(Caption(**caption) for caption in row.get("captions", ()))
            if self._path.stat().st_size:
                self._file.write("\n")  # behind a line that a killed run left unfinished
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, question_id: str, condition: str, said: Answered, captions: Iterable[Caption] = ()) -> None:
        """Keep an answer; once this returns, a killed process does not lose it."""
        key = question_id, condition
        self.done[key], self.captions[key] = said, tuple(captions)
        line = {"question_id": question_id, "condition": condition, **asdict(said)}
        if self.captions[key]:
            line["captions"] = [asdict(caption) for caption in self.captions[key]]
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OtherRunError(f"Another run writes to {self._folder} now: choose another --out.") from None

    def _check_identity(self) -> None:
        if not self._identity_path.exists():
            if self._path.stat().st_size:
                raise OtherRunError(
                    f"{self._folder} holds answers, and nothing says of which model: choose another --out."
                )
            fresh = self._identity_path.with_suffix(".new")
            fresh.write_text(json.dumps(self._identity, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(fresh, self._identity_path)  # noqa: PTH105 - whole or not there
            return
        there = json.loads(self._identity_path.read_text(encoding="utf-8"))
        other = [name for name in sorted({*there, *self._identity}) if there.get(name) != self._identity.get(name)]
        if other:
            told = "; ".join(f"{name} {there.get(name)!r}, now {self._identity.get(name)!r}" for name in other)
            raise OtherRunError(f"{self._folder} holds answers of another run ({told}): choose another --out.")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON Lines file; a line that was being written when its run was killed is not one."""
    rows = []
    for line in filter(None, path.read_text(encoding="utf-8").split("\n")):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            # Asked again: the answer was not complete.
            continue
    return rows


def answers_hash(done: Mapping[tuple[str, str], Answered]) -> str:
    """SHA-256 over question, condition and answer, in sorted order: the order in which they came does not matter."""
    digest = hashlib.sha256()
    for (question_id, condition), said in sorted(done.items()):
        digest.update(json.dumps([question_id, condition, said.answer, said.probability]).encode())
    return digest.hexdigest()
