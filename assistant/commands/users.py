"""`medvint users`: who may sign in."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Who may sign in. A file that MEDVINT_USERS_FILE names.")
File = Annotated[Path | None, typer.Option("--file", help="The file of users (MEDVINT_USERS_FILE; users.txt).")]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="How the person signs in.")],
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
    file: File = None,
) -> None:
    """Add a person, or give one a new password; it is asked for. A running web takes it at its next start.

    \b
      medvint users add anna
      MEDVINT_USERS_FILE=users.txt MEDVINT_HOST=0.0.0.0 make up
    """
    from assistant import users

    users.add(path := _path(file), name, password)
    typer.echo(f"{name} may sign in ({path}).")


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="Who may not sign in any more.")], file: File = None) -> None:
    """Remove a person."""
    from assistant import users

    users.remove(path := _path(file), name)
    typer.echo(f"{name} may not sign in any more ({path}).")


@app.command("list")
def list_(file: File = None) -> None:
    """The names of all who may sign in."""
    from assistant.users import Users

    typer.echo("\n".join(Users.read(_path(file)).hashes))


def _path(given: Path | None) -> Path:
    from assistant.settings import Settings

    return given or Settings().users_file or Path("users.txt")
