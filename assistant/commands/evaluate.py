"""`medvint evaluate`: a benchmark against a running model."""

from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.errors import print_json


def evaluate(
    benchmark: Annotated[str, typer.Argument(help="Such as slake or vqa-rad.")],
    data: Annotated[Path, typer.Option(help="The folder that holds the benchmark's files.")],
    json: Annotated[bool, typer.Option("--json", help="The figures as JSON on standard output.")] = False,
) -> None:
    """Score the model on a benchmark, with the controls that show whether it looked at the image. Example:

    \b
      medvint evaluate slake --data ~/slake
    """
    from serving.evaluation.run import evaluate as run_benchmark

    report = run_benchmark(benchmark, data)
    if json:
        print_json(report)
    else:
        typer.echo(str(report))
