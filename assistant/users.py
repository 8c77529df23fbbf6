"""Who may sign in: a text file with a name and a bcrypt hash on each line, as `htpasswd -B` writes it too.

users = Users.read(Path("users.txt"))
users.check("anna", "correct horse")
"""

import hmac
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt

SHORTEST_PASSWORD = 10
# bcrypt reads no more bytes than this.
LONGEST_PASSWORD_BYTES = 72
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_NOBODY = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt())


class UsersError(Exception):
    """The file of users, a name or a password is not in its form; the message says what to do."""


@dataclass
class Users:
    """The names and their hashes. What was right once is right again at once: bcrypt is slow on purpose."""

    hashes: dict[str, bytes]
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _right: set[bytes] = field(default_factory=set, repr=False)

    @classmethod
    def read(cls, path: Path) -> "Users":
        """Raises UsersError where the file is missing, empty, or has a line of another form."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsersError(f"The file of users {path} cannot be read. `medvint users add NAME` makes one.") from error
        hashes = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, hashed = line.strip().partition(":")
            if not _NAME.fullmatch(name) or not re.fullmatch(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}", hashed):
                raise UsersError(f"Line {number} of {path} is not `name:bcrypt-hash`. `medvint users add` writes such.")
            hashes[name] = hashed.encode()
        if not hashes:
            raise UsersError(f"The file of users {path} names nobody. `medvint users add NAME` adds a person.")
        return cls(hashes)

    def check(self, name: str, password: str) -> bool:
        """Whether the password is that person's. Takes as long for a name that is not there."""
        given = password.encode()
        if len(given) > LONGEST_PASSWORD_BYTES:
            return False
        mark = hmac.digest(self._key, f"{name}\0{password}".encode(), "sha256")
        if mark in self._right:
            return True
        right = bcrypt.checkpw(given, self.hashes.get(name, _NOBODY)) and name in self.hashes
        if right:
            self._right.add(mark)
        return right


def hashed_line(name: str, password: str) -> str:
    """The line of a person. Raises UsersError with what is wrong with the name or the password."""
    if not _NAME.fullmatch(name):
        raise UsersError("A name has letters, digits, and . _ @ - and at most 64 of them.")
    if len(password) < SHORTEST_PASSWORD:
        raise UsersError(f"A password has at least {SHORTEST_PASSWORD} characters.")
    if len(password.encode()) > LONGEST_PASSWORD_BYTES:
        raise UsersError(f"A password has at most {LONGEST_PASSWORD_BYTES} bytes.")
    return f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt()).decode()}"


def add(path: Path, name: str, password: str) -> None:
    """Add a person, or give one a new password. Raises UsersError."""
    line = hashed_line(name, password)
    _write(path, [*_others(path, name), line])


def remove(path: Path, name: str) -> None:
    """Raises UsersError where nobody has that name."""
    if name not in Users.read(path).hashes:
        raise UsersError(f"{path} has nobody named {name}.")
    _write(path, _others(path, name))


def _others(path: Path, name: str) -> list[str]:
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.partition(":")[0] != name]


def _write(path: Path, lines: list[str]) -> None:
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
    partial.replace(path)
