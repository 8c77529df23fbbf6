"""`medvint settings`: what is set, from where."""

from dataclasses import asdict
from typing import Annotated

import typer

from assistant.commands.errors import print_json


def settings(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show every setting, its value, and where it comes from: environment, .env, or default. Secrets stay hidden.

    \b
      medvint settings
      MEDVINT_PORT=8080 medvint settings
    """
    from rich.console import Console
    from rich.table import Table

    from assistant.settings import Settings

    listed = Settings().listed()
    if json:
        print_json([asdict(setting) for setting in listed])
        return
    table = Table("variable", "value", "from", "what it is", box=None, pad_edge=False)
    for one in listed:
        style = None if one.source == "default" else "bold"
        table.add_row(one.name, "" if one.value is None else str(one.value), one.source, one.help, style=style)
    Console().print(table)
