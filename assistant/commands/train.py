"""`medvint train`: the scripts that made the demo's weights."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.errors import CommandError


class TrainingStage(StrEnum):
    """The stages, in their order."""

    tower = "tower"
    projector = "projector"
    vqa = "vqa"


def train(
    stage: Annotated[
        TrainingStage,
        typer.Argument(help="tower: the image tower; projector: what the decoder is shown; vqa: the decoder reads it."),
    ],
    data: Annotated[Path, typer.Option(help="The folder that holds the training sets.")],
    out: Annotated[Path, typer.Option(help="Where checkpoints, log and weights go.")] = Path("data/training"),
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 1,
) -> None:
    """Train one stage of the demo model, or go on where it stopped.

    It needs the packages of requirements-dev.txt (`make setup-dev`) and takes hours on two cores. Example:

    \b
      medvint train tower --data ~/medical-data
      medvint train projector --data ~/medical-data
      medvint train vqa --data ~/medical-data
    """
    if not data.is_dir():
        raise CommandError(f"The folder {data} does not exist.")
    from serving.training.train import train as run_stage

    run_stage(stage.value, data, out, seed)
