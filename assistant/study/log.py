"""What was served and what was answered: one SQLite file, append-only, the only truth about a learner.

    log = Log(data_dir / "study" / "study.db")
    log.attempts("me")          # every answer in order; cards, progress and dates are replayed from it

An answer is written in one transaction before anything is told, so a crash loses none and doubles none.
"""

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from assistant.study.errors import AlreadyCommittedError, LogError
from assistant.study.items import ATTEMPT, ITEM, Attempt, Hint, Item, Mode

_SCHEMA = """
CREATE TABLE IF NOT EXISTS served (
  attempt_id TEXT PRIMARY KEY, learner TEXT NOT NULL, number INTEGER NOT NULL, mode TEXT NOT NULL,
  item TEXT NOT NULL, served_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS served_of ON served (learner, mode, number);
CREATE TABLE IF NOT EXISTS hints (attempt_id TEXT NOT NULL, kind TEXT NOT NULL, words TEXT NOT NULL,
  options TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (attempt_id, kind));
CREATE TABLE IF NOT EXISTS attempts (
  number INTEGER PRIMARY KEY AUTOINCREMENT, attempt_id TEXT NOT NULL UNIQUE, learner TEXT NOT NULL, pack TEXT NOT NULL,
  attempt TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS attempts_of ON attempts (learner, number);
CREATE TRIGGER IF NOT EXISTS attempts_are_never_changed BEFORE UPDATE ON attempts
  BEGIN SELECT RAISE(ABORT, 'an attempt is never changed'); END;
CREATE TABLE IF NOT EXISTS mistakes (item_id TEXT NOT NULL, learner TEXT NOT NULL, words TEXT NOT NULL,
  at REAL NOT NULL, PRIMARY KEY (item_id, learner));
CREATE TABLE IF NOT EXISTS accepted (item_id TEXT NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (item_id, answer));
CREATE TABLE IF NOT EXISTS examples (attempt_id TEXT PRIMARY KEY, learner TEXT NOT NULL, item TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS exams (learner TEXT PRIMARY KEY, day TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS told (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
REPORTS_THAT_STOP = 2
PATIENCE_S = 10.0
MOST_REMEMBERED = 64
"""Learners whose past is kept in memory."""


@dataclass(frozen=True)
class Served:
    """An item as it was served; an edit of its pack does not reach it."""

    attempt_id: str
    learner: str
    number: int
    mode: Mode
    item: Item
    served_at: float


class Log:
    """The file at `path`; safe from several threads and processes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._local = threading.local()
        self._read: dict[str, tuple[tuple[int, Attempt], ...]] = {}
        with self._open() as db:
            db.executescript("PRAGMA journal_mode=WAL;" + _SCHEMA)
            db.execute("INSERT OR IGNORE INTO told VALUES ('secret', ?)", (secrets.token_hex(32),))
            self._secret = str(db.execute("SELECT value FROM told WHERE name = 'secret'").fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction on this thread's own connection, which stays open: closing the last one would tidy up."""
        # A connection must not be used across a fork.
        mine = (os.getpid(), getattr(self._local, "pid", None))
        if mine[0] != mine[1]:
            self._local.pid, self._local.db = mine[0], self._connected()
        with self._local.db as db:
            yield db

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=PATIENCE_S)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA synchronous=FULL")
        return db

    def secret(self) -> str:
        """A secret of this installation that outlives restarts."""
        return self._secret

    def serve(self, learner: str, mode: Mode, item: Item) -> Served:
        """A new attempt, which nobody can guess."""
        attempt_id, now = secrets.token_urlsafe(18), time.time()
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            number = 1 + db.execute("SELECT count(*) FROM served WHERE learner = ?", (learner,)).fetchone()[0]
            row = (attempt_id, learner, number, mode, ITEM.dump_json(item).decode(), now)
            db.execute("INSERT INTO served VALUES (?, ?, ?, ?, ?, ?)", row)
        return Served(attempt_id, learner, number, mode, item, now)

    def served(self, attempt_id: str) -> Served | None:
        with self._open() as db:
            return _served(db.execute("SELECT * FROM served WHERE attempt_id = ?", (attempt_id,)).fetchone())

    def open_attempt(self, learner: str, mode: Mode) -> Served | None:
        """What this learner was served and has not answered."""
        with self._open() as db:
            row = db.execute(
                "SELECT * FROM served WHERE learner = ? AND mode = ? AND NOT EXISTS (SELECT 1 FROM attempts"
                " WHERE attempts.attempt_id = served.attempt_id) ORDER BY number DESC LIMIT 1",
                (learner, mode),
            ).fetchone()
        return _served(row)

    def add_hint(self, attempt_id: str, hint: Hint) -> None:
        with self._open() as db:
            db.execute(
                "INSERT OR IGNORE INTO hints VALUES (?, ?, ?, ?, ?)",
                (attempt_id, hint.kind, hint.words, json.dumps(hint.options), time.time()),
            )

    def hints(self, attempt_id: str) -> list[Hint]:
        """Those that were given, in order."""
        with self._open() as db:
            rows = db.execute("SELECT * FROM hints WHERE attempt_id = ? ORDER BY at", (attempt_id,)).fetchall()
        return [Hint(row["kind"], row["words"], tuple(json.loads(row["options"]))) for row in rows]

    def commit(self, attempt: Attempt) -> Attempt:
        """Write an answer; what was written before comes back for the same answer.

        Raises AlreadyCommittedError for another answer to the same attempt.
        """
        with self._open() as db:
            row = (attempt.attempt_id, attempt.learner, attempt.pack, ATTEMPT.dump_json(attempt).decode())
            db.execute("INSERT OR IGNORE INTO attempts (attempt_id, learner, pack, attempt) VALUES (?, ?, ?, ?)", row)
            found = db.execute("SELECT attempt FROM attempts WHERE attempt_id = ?", (attempt.attempt_id,)).fetchone()
        kept = ATTEMPT.validate_json(found["attempt"])
        if kept.commitment != attempt.commitment or kept.learner != attempt.learner:
            raise AlreadyCommittedError("This question is answered already. The first answer stands.")
        return kept

    def attempt(self, attempt_id: str) -> Attempt | None:
        with self._open() as db:
            row = db.execute("SELECT attempt FROM attempts WHERE attempt_id = ?", (attempt_id,)).fetchone()
        return ATTEMPT.validate_json(row["attempt"]) if row else None

    def attempts(self, learner: str) -> list[Attempt]:
        """A learner's answers in order. What was read once is not read again: an attempt never changes."""
        known = self._read.get(learner, ())
        with self._open() as db:
            after = known[-1][0] if known else 0
            before = "SELECT count(*) FROM attempts WHERE learner = ? AND number <= ?"
            if db.execute(before, (learner, after)).fetchone()[0] != len(known):
                known, after = (), 0
            rows = db.execute(
                "SELECT number, attempt FROM attempts WHERE learner = ? AND number > ? ORDER BY number",
                (learner, after),
            ).fetchall()
        known = (*known, *((row["number"], ATTEMPT.validate_json(row["attempt"])) for row in rows))
        self._read[learner] = known
        while len(self._read) > MOST_REMEMBERED:
            self._read.pop(next(iter(self._read)), None)
        return [attempt for _, attempt in known]

    def attempts_on(self, pack: str) -> list[Attempt]:
        """Everyone's answers to a pack, for its teacher."""
        with self._open() as db:
            rows = db.execute("SELECT attempt FROM attempts WHERE pack = ? ORDER BY number", (pack,)).fetchall()
        return [ATTEMPT.validate_json(row["attempt"]) for row in rows]

    def everyones(self) -> list[Attempt]:
        """All answers, for the trial's table."""
        with self._open() as db:
            rows = db.execute("SELECT attempt FROM attempts ORDER BY number").fetchall()
        return [ATTEMPT.validate_json(row["attempt"]) for row in rows]

    def report_mistake(self, learner: str, item_id: str, words: str) -> None:
        with self._open() as db:
            db.execute(
                "INSERT OR REPLACE INTO mistakes VALUES (?, ?, ?, ?)", (item_id, learner, words[:2000], time.time())
            )

    def stopped(self) -> frozenset[str]:
        """Items that several learners have reported."""
        with self._open() as db:
            rows = db.execute(
                "SELECT item_id FROM mistakes GROUP BY item_id HAVING count(*) >= ?", (REPORTS_THAT_STOP,)
            ).fetchall()
        return frozenset(row["item_id"] for row in rows)

    def accept(self, item_id: str, answer: str) -> None:
        """A teacher takes an answer as right from now on."""
        with self._open() as db:
            db.execute("INSERT OR IGNORE INTO accepted VALUES (?, ?)", (item_id, answer))

    def accepted(self, item_id: str) -> tuple[str, ...]:
        with self._open() as db:
            rows = db.execute("SELECT answer FROM accepted WHERE item_id = ?", (item_id,)).fetchall()
        return tuple(row["answer"] for row in rows)

    def show_example(self, learner: str, attempt_id: str, item: Item) -> None:
        """Note which picture was shown beside a reveal; the first one stands."""
        with self._open() as db:
            row = (attempt_id, learner, ITEM.dump_json(item).decode())
            db.execute("INSERT OR IGNORE INTO examples VALUES (?, ?, ?)", row)

    def example(self, attempt_id: str) -> Item | None:
        with self._open() as db:
            row = db.execute("SELECT item FROM examples WHERE attempt_id = ?", (attempt_id,)).fetchone()
        return ITEM.validate_json(row["item"]) if row else None

    def example_cases(self, learner: str) -> frozenset[str]:
        """Pictures whose keys a learner knows from reveals of others."""
        with self._open() as db:
            rows = db.execute("SELECT item FROM examples WHERE learner = ?", (learner,)).fetchall()
        return frozenset(json.loads(row["item"])["case"] for row in rows)

    def set_exam(self, learner: str, day: date | None) -> None:
        """The day until which a learner wants to know it all; None for no such day."""
        with self._open() as db:
            if day is None:
                db.execute("DELETE FROM exams WHERE learner = ?", (learner,))
            else:
                db.execute("INSERT OR REPLACE INTO exams VALUES (?, ?)", (learner, day.isoformat()))

    def exam(self, learner: str) -> date | None:
        with self._open() as db:
            row = db.execute("SELECT day FROM exams WHERE learner = ?", (learner,)).fetchone()
        return date.fromisoformat(row["day"]) if row else None

    def export(self, learner: str) -> str:
        """A learner's whole log, one attempt a line."""
        return "".join(ATTEMPT.dump_json(attempt).decode() + "\n" for attempt in self.attempts(learner))

    def take_in(self, learner: str, text: str) -> int:
        """Add an exported log to a learner's own; returns how many attempts were new.

        Raises LogError for a line that is none, or that speaks of an attempt which this installation knows otherwise.
        """
        new = 0
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            for number, line in enumerate(filter(str.strip, text.splitlines()), 1):
                try:
                    attempt = ATTEMPT.validate_python({**json.loads(line), "learner": learner})
                except (ValueError, TypeError) as error:
                    raise LogError(f"Line {number} of the log is not an attempt.") from error
                known = db.execute("SELECT learner FROM served WHERE attempt_id = ?", (attempt.attempt_id,)).fetchone()
                kept = db.execute("SELECT learner FROM attempts WHERE attempt_id = ?", (attempt.attempt_id,)).fetchone()
                # What was served here and not answered must not be answered by a file.
                if (known and not kept) or (kept and kept["learner"] != learner):
                    raise LogError(f"Line {number} of the log is about a question that is not yours or still open.")
                new += db.execute(
                    "INSERT OR IGNORE INTO attempts (attempt_id, learner, pack, attempt) VALUES (?, ?, ?, ?)",
                    (attempt.attempt_id, learner, attempt.pack, ATTEMPT.dump_json(attempt).decode()),
                ).rowcount
        return new

    def forget(self, learner: str) -> int:
        """Delete everything about a learner; returns how many answers that were."""
        with self._open() as db:
            db.execute(
                "DELETE FROM hints WHERE attempt_id IN (SELECT attempt_id FROM served WHERE learner = ?)", (learner,)
            )
            for table in ("served", "mistakes", "exams", "examples"):
                db.execute(f"DELETE FROM {table} WHERE learner = ?", (learner,))  # noqa: S608
            return db.execute("DELETE FROM attempts WHERE learner = ?", (learner,)).rowcount


def _served(row: sqlite3.Row | None) -> Served | None:
    if row is None:
        return None
    item = ITEM.validate_json(row["item"])
    return Served(row["attempt_id"], row["learner"], row["number"], row["mode"], item, row["served_at"])
