"""Errors as words: what goes wrong in a way that a user can mend is one line and an exit status, not a traceback."""

import json
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

WORDS_STATUS = 1
OUR_PACKAGES = ("assistant", "retrieval", "serving", "prompts")


class CommandError(Exception):
    """A command cannot do what was asked; the message says why and what to do."""


def in_words(error: Exception) -> str | None:
    """What to tell the user; None for an error that nobody foresaw, which is a fault of ours.

    The packages raise exception types of their own, each with a message for users, so the module that defines the type
    decides; libraries need not be imported for it.
    """
    if isinstance(error, ExceptionGroup):
        return in_words(error.exceptions[0])
    if type(error).__module__.split(".")[0] in OUR_PACKAGES:
        return str(error)
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return f"{error.filename}: {error.strerror}"
    if type(error).__module__ == "pydantic_core._pydantic_core" and hasattr(error, "errors"):
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return f"A setting is not valid: {faults}"
    return None


class WordsGroup(TyperGroup):
    """The root command; turns foreseen errors of all subcommands into words."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            words = in_words(error)
            if words is None:
                raise
            typer.echo(f"medvint: {words}", err=True)
            raise typer.Exit(WORDS_STATUS) from error


def print_json(value: Any) -> None:
    """One JSON document on standard output; what JSON has no form for, such as a path, as text."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, default=str)
    sys.stdout.write("\n")


def read_file(path: Path) -> bytes:
    """A file that the user named.

    Raises:
        CommandError: it is not there or is a folder.
    """
    if not path.is_file():
        raise CommandError(f"{path} is not a file.")
    return path.read_bytes()
