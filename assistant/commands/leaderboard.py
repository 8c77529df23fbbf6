"""`medvint leaderboard`: reports side by side on one static page."""

from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.errors import CommandError


def leaderboard(
    reports: Annotated[list[Path], typer.Argument(help="Folders of runs, or their report.json.")],
    out: Annotated[Path, typer.Option(help="The page to write; a name that ends in .md gets a Markdown table.")],
) -> None:
    """Build a leaderboard: controls and calibration beside accuracy, the paper's figures marked as quoted. Examples:

    \b
      medvint leaderboard data/reports/slake-validate data/reports/vqa-rad-validate --out leaderboard.html
      medvint leaderboard data/reports/* --out leaderboard.md
    """
    if not out.parent.is_dir():
        raise CommandError(f"{out.parent} is not a folder.")
    from serving.evaluation.leaderboard import write_leaderboard

    rows = write_leaderboard(reports, out)
    typer.echo(f"{out}: {len(reports)} reports, {rows - len(reports)} quoted rows")
