"""`medvint train`: a recipe, from its beginning or from where it stopped."""

from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.errors import CommandError

# By the file names alone: reading recipes loads heavy libraries.
RECIPES = Path(__file__).parents[2] / "serving" / "training" / "recipes"
STAGES = ("tower", "projector", "vqa")


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A YAML file, the name of a shipped recipe, or a stage of the demo model: tower, projector, vqa."
        ),
    ],
    data: Annotated[Path, typer.Option(help="The folder that holds data sets and backbones.")] = Path(),
    out: Annotated[Path, typer.Option(help="The folder of all runs; this one's is OUT/NAME.")] = Path("data/training"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, exactly.")] = False,
) -> None:
    """Train MedVInT by a recipe: captions, PMC-VQA, fine-tuning, the demo model's stages, or a MedVInT-TE.

    It needs the packages of requirements-dev.txt (`make setup-dev`). The recipes in serving/training/recipes say what
    they need and how long they take; copy one and change it. Several GPUs: `accelerate launch -m serving.training.run`
    with the same arguments. Examples:

    \b
      medvint train tower --data ~/medical-data
      medvint train vqa --data ~/medical-data --resume
      medvint train medvint-7b-slake --data ~/medical-data --out ~/runs
      medvint train medvint-te-small --data ~/medical-data --resume
      medvint train my-recipe.yaml --data ~/medical-data
    """
    if not recipe.endswith((".yaml", ".yml")):
        shipped = sorted(path.stem for path in RECIPES.glob("*.yaml"))
        if recipe not in (*STAGES, *shipped):
            raise typer.BadParameter(f"{recipe!r} is none of {', '.join([*STAGES, *shipped])}, nor a YAML file.")
    if not data.is_dir():
        raise CommandError(f"The folder {data} does not exist.")
    try:
        from serving.training.recipe import load_recipe
        from serving.training.run import train as run
    except ModuleNotFoundError as error:
        raise CommandError(f"Training needs the package {error.name}: make setup-dev installs it.") from error
    run(load_recipe(recipe), data, out, resume)
