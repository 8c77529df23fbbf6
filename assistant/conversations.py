"""Conversations that survive a restart and a kill: one SQLite file in WAL mode, images kept once by their hash.

store = Conversations(Path("data/conversations.db"))
kept = store.save(None, "", turns)
store.find("", "pneumothorax"); store.load("", kept.id); store.delete("", kept.id)
"""

import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from assistant.chat import Turn
from assistant.uploads import CleanImage

SCHEMA_VERSION = 1
LONGEST_TITLE = 80
SECONDS_TO_WAIT_FOR_ANOTHER = 10.0
DAY_S = 86_400

_TABLES = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, pinned INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL, updated REAL NOT NULL, version INTEGER NOT NULL DEFAULT 1);
CREATE INDEX IF NOT EXISTS of_owner ON conversations (owner, updated);
CREATE TABLE IF NOT EXISTS turns (
    conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE, position INTEGER NOT NULL,
    body TEXT NOT NULL, words TEXT NOT NULL, PRIMARY KEY (conversation, position));
CREATE TABLE IF NOT EXISTS images (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS shown (
    conversation TEXT NOT NULL, position INTEGER NOT NULL, sha256 TEXT NOT NULL REFERENCES images (sha256),
    PRIMARY KEY (conversation, position, sha256),
    FOREIGN KEY (conversation, position) REFERENCES turns (conversation, position) ON DELETE CASCADE);
"""
_TURN: TypeAdapter[Turn] = TypeAdapter(Turn)


class ConversationError(Exception):
    """A conversation is not there, or its file cannot be used; the message says what to do."""


class ChangedElsewhereError(ConversationError):
    """The conversation was continued in another window since it was read here."""


@dataclass(frozen=True)
class Kept:
    """Which conversation, and its state when it was last read or written here."""

    id: str
    version: int


@dataclass(frozen=True)
class Listed:
    """One line of the list; times are seconds since 1970."""

    id: str
    title: str
    pinned: bool
    created: float
    updated: float
    turns: int


class Conversations:
    """All conversations of all persons; every call names the owner, and nobody sees another's."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises ConversationError for one of a later version or one that is damaged."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._transaction() as db:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version > SCHEMA_VERSION:
                    raise ConversationError(f"{path} was made by a later version. Update, or move the file away.")
                db.executescript(_TABLES)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except sqlite3.DatabaseError as error:
            raise ConversationError(f"{path} cannot be used ({error}). Move it away; a new one is made.") from error
        path.chmod(0o600)

    def save(self, known: Kept | None, owner: str, turns: Sequence[Turn]) -> Kept:
        """Keep the conversation as it is now, a new one where `known` is None.

        Turns that are there already and unchanged are not written again.

        Raises:
            ChangedElsewhereError: another window has changed it since; nothing was written.
            ConversationError: the owner has no such conversation.
        """
        identity = known.id if known else uuid.uuid4().hex
        version = known.version if known else 1
        now = time.time()
        with self._transaction() as db:
            # Before the version is read: two writers must not both have read the old one.
            db.execute("BEGIN IMMEDIATE")
            if known is None:
                db.execute(
                    "INSERT INTO conversations (id, owner, title, created, updated) VALUES (?, ?, ?, ?, ?)",
                    (identity, owner, title_of(turns), now, now),
                )
            elif self._check(db, owner, identity) != version:
                raise ChangedElsewhereError("This conversation was continued in another window.")
            kept = dict(db.execute("SELECT position, body FROM turns WHERE conversation = ?", (identity,)))
            written = False
            for position, turn in enumerate(turns):
                body = turn_json(turn)
                if kept.pop(position, None) != body:
                    self._write(db, identity, position, turn, body)
                    written = True
            for position in kept:
                db.execute("DELETE FROM turns WHERE conversation = ? AND position = ?", (identity, position))
            if written or kept:
                version += known is not None
                db.execute("UPDATE conversations SET updated = ?, version = ? WHERE id = ?", (now, version, identity))
                self._drop_unseen(db)
        return Kept(identity, version)

    def load(self, owner: str, identity: str) -> tuple[list[Turn], Kept]:
        """The turns with their images, and what `save` wants to know.

        Raises ConversationError where the owner has no such conversation.
        """
        with self._transaction() as db:
            version = self._check(db, owner, identity)
            kept = "SELECT body FROM turns WHERE conversation = ? ORDER BY position"
            bodies = db.execute(kept, (identity,)).fetchall()
            images = dict(
                db.execute(
                    "SELECT sha256, data FROM images WHERE sha256 IN (SELECT sha256 FROM shown WHERE conversation = ?)",
                    (identity,),
                )
            )
        return [with_images(read_turn(body), images) for (body,) in bodies], Kept(identity, version)

    def everything(self) -> Iterator[list[Turn]]:
        """The turns of every conversation of every person, oldest first: for who runs the machine."""
        with self._transaction() as db:
            known = db.execute("SELECT owner, id FROM conversations ORDER BY created").fetchall()
        for owner, identity in known:
            yield self.load(owner, identity)[0]

    def find(self, owner: str, words: str = "") -> list[Listed]:
        """The owner's conversations, pinned ones first, then the latest; with `words` those that hold all of them."""
        query = (
            "SELECT c.id, c.title, c.pinned, c.created, c.updated, count(t.position),"
            " lower(c.title) || ' ' || coalesce(group_concat(t.words, ' '), '')"
            " FROM conversations c LEFT JOIN turns t ON t.conversation = c.id WHERE c.owner = ?"
            " GROUP BY c.id ORDER BY c.pinned DESC, c.updated DESC"
        )
        with self._transaction() as db:
            rows = db.execute(query, (owner,)).fetchall()
        wanted = words.lower().split()
        return [
            Listed(identity, title, bool(pinned), created, updated, turns)
            for identity, title, pinned, created, updated, turns, text in rows
            if all(word in text for word in wanted)
        ]

    def rename(self, owner: str, identity: str, title: str) -> None:
        """Raises ConversationError where there is no such conversation or no title."""
        if not title.strip():
            raise ConversationError("A conversation needs a name. Please write one.")
        self._set(owner, identity, "title", " ".join(title.split())[:LONGEST_TITLE])

    def pin(self, owner: str, identity: str, pinned: bool) -> None:
        """Raises ConversationError where there is no such conversation."""
        self._set(owner, identity, "pinned", int(pinned))

    def delete(self, owner: str, identity: str) -> None:
        """With the images that no other conversation shows. Raises ConversationError."""
        with self._transaction() as db:
            self._check(db, owner, identity)
            db.execute("DELETE FROM conversations WHERE id = ?", (identity,))
            self._drop_unseen(db)

    def purge(self, owner: str) -> int:
        """Delete all of an owner's conversations; returns how many."""
        with self._transaction() as db:
            count = db.execute("DELETE FROM conversations WHERE owner = ?", (owner,)).rowcount
            self._drop_unseen(db)
        self._compact()
        return count

    def forget_older(self, days: float) -> int:
        """Delete what nobody has touched for so many days and nobody has pinned; returns how many."""
        with self._transaction() as db:
            count = db.execute(
                "DELETE FROM conversations WHERE updated < ? AND NOT pinned", (time.time() - days * DAY_S,)
            ).rowcount
            self._drop_unseen(db)
        return count

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=SECONDS_TO_WAIT_FOR_ANOTHER)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA foreign_keys = ON")
            # A deleted conversation is gone from the file too.
            db.execute("PRAGMA secure_delete = ON")
            with db:
                yield db
        finally:
            db.close()

    def _compact(self) -> None:
        with self._transaction() as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _check(self, db: sqlite3.Connection, owner: str, identity: str) -> int:
        row = db.execute("SELECT version FROM conversations WHERE id = ? AND owner = ?", (identity, owner)).fetchone()
        if row is None:
            raise ConversationError("There is no such conversation.")
        return int(row[0])

    def _set(self, owner: str, identity: str, column: str, value: object) -> None:
        with self._transaction() as db:
            self._check(db, owner, identity)
            db.execute(f"UPDATE conversations SET {column} = ? WHERE id = ?", (value, identity))  # noqa: S608

    def _write(self, db: sqlite3.Connection, identity: str, position: int, turn: Turn, body: str) -> None:
        db.execute("DELETE FROM turns WHERE conversation = ? AND position = ?", (identity, position))
        words = f"{turn.question}\n{turn.answer}".lower()
        db.execute("INSERT INTO turns VALUES (?, ?, ?, ?)", (identity, position, body, words))
        for image in turn.images:
            db.execute("INSERT OR IGNORE INTO images VALUES (?, ?)", (image.sha256, image.data))
            db.execute("INSERT OR IGNORE INTO shown VALUES (?, ?, ?)", (identity, position, image.sha256))

    def _drop_unseen(self, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM images WHERE sha256 NOT IN (SELECT sha256 FROM shown)")


def title_of(turns: Sequence[Turn]) -> str:
    """The first question, cut at a word."""
    question = next((" ".join(turn.question.split()) for turn in turns if turn.question.strip()), "New conversation")
    if len(question) <= LONGEST_TITLE:
        return question
    return question[: LONGEST_TITLE - 1].rpartition(" ")[0] + "…"


def turn_json(turn: Turn) -> str:
    """A turn as JSON, its images without their bytes: those are kept once, by hash."""
    bare = tuple(replace(image, data=b"") for image in turn.images)
    return _TURN.dump_json(replace(turn, images=bare, stage="")).decode()


def read_turn(body: str | bytes) -> Turn:
    """The inverse, its images still without bytes. Raises ConversationError for what is no turn."""
    try:
        return _TURN.validate_json(body)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConversationError(f"Not a turn: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error


def with_images(turn: Turn, images: dict[str, bytes]) -> Turn:
    """The turn with the bytes of its images. Raises ConversationError where one is missing."""
    found: list[CleanImage] = []
    for image in turn.images:
        if image.sha256 not in images:
            raise ConversationError("An image of this conversation is missing.")
        found.append(replace(image, data=images[image.sha256]))
    return replace(turn, images=tuple(found))
