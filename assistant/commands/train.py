"""`medvint train`: the script that made the demo's weights."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    data: Annotated[Path, typer.Option(help="The folder that holds the training sets.")],
    out: Annotated[Path, typer.Option(help="Where checkpoints, log and weights go.")],
    seed: Annotated[int, typer.Option(help="The same seed on the same machine gives the same weights.")] = 0,
) -> None:
    """Train the demo model; running it again with the same folder goes on where it stopped. Example:

    \b
      medvint train --data ~/medical-vqa --out data/training/demo
    """
    from serving.training.train import train as train_model

    train_model(data, out, seed=seed)
