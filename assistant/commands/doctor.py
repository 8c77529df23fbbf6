"""`medvint doctor`: one page of what works on this machine."""

from dataclasses import asdict
from typing import Annotated

import typer

from assistant.commands.errors import print_json

SIGNS = {"ok": "[green]ok[/]", "note": "[yellow]--[/]", "fault": "[red]FAULT[/]"}


def doctor(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Look at versions, GPU, memory, disk, ports, model and index, and say the fix beside each fault.

    Exit status 1 where there is a fault. Example:

    \b
      medvint doctor
    """
    from rich.console import Console
    from rich.markup import escape

    from assistant.doctor import examine
    from assistant.settings import Settings

    findings = []
    console = Console()
    for finding in examine(Settings()):
        findings.append(finding)
        if not json:
            console.print(f"{SIGNS[finding.level]:<20} {finding.what}: {escape(finding.found)}", highlight=False)
            if finding.fix:
                console.print(f"           {escape(finding.fix)}", highlight=False)
    if json:
        print_json([asdict(finding) for finding in findings])
    raise typer.Exit(any(finding.level == "fault" for finding in findings))
