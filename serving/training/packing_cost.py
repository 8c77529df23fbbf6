"""What packing saves: the same questions of the same images in one sequence each image, and in one each question.

    python -m serving.training.packing_cost demo-vqa --data DIR --out data/training

Loss, backward and the optimizer's step of the recipe's model and data, with its rates and precision; as JSON. The
losses of the two must agree, since packed questions do not see each other.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from serving.training.beginning import begin
from serving.training.plan import Collator, Item
from serving.training.recipe import LanguageRecipe, RecipeError, load_recipe
from serving.training.run import read_data
from serving.training.trained import TrainedMedVInT, choose_trained, trained_parameters


def unpacked(items: list[Item]) -> list[Item]:
    """Each question as an item of its own, with its image anew."""
    return [
        Item(item.pixels, [segment], [closed])
        for item in items
        for segment, closed in zip(item.segments, item.closed, strict=True)
    ]


def measure(recipe: LanguageRecipe, data: Path, out: Path, steps: int) -> dict[str, Any]:
    """Seconds a step, sequence positions, images encoded and loss of both ways, over the same `steps` batches."""
    begun = begin(recipe, data, out)
    # Without dropout, so that the losses can be compared.
    trained = TrainedMedVInT(begun.medvint).eval()
    choose_trained(trained, recipe)
    optimizer = torch.optim.AdamW(trained_parameters(trained).values(), lr=0.0)
    plan, _ = read_data(recipe, begun, data)
    config = begun.medvint.config
    collate = Collator(config.projector.num_image_tokens, config.image_token_id)
    ways: dict[str, dict[str, list[float]]] = {
        way: {"seconds": [], "positions": [], "images": [], "loss": []} for way in ("packed", "each by itself")
    }
    questions = 0
    for step in range(steps + 1):
        items = [plan[step * recipe.batch + number] for number in range(recipe.batch)]
        items = [Item(item.pixels, item.segments, item.closed) for item in items]
        for told, rows in zip(ways.values(), (items, unpacked(items)), strict=True):
            batch = collate(rows)
            started = time.monotonic()
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
                loss = trained(**batch)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step == 0:
                continue  # the first is slower: memory is taken
            told["seconds"].append(time.monotonic() - started)
            told["positions"].append(batch["input_ids"].numel())
            told["images"].append(len(rows))
            told["loss"].append(loss.item())
        questions += sum(len(item.segments) for item in items) if step else 0
    means = {
        way: {name: round(statistics.mean(values), 4) for name, values in told.items()} for way, told in ways.items()
    }
    return {
        "recipe": recipe.name,
        "steps": steps,
        "threads": torch.get_num_threads(),
        "questions_a_step": round(questions / steps, 1),
        **means,
        "times_faster": round(means["each by itself"]["seconds"] / means["packed"]["seconds"], 2),
    }


def main(
    recipe: Annotated[str, typer.Argument(help="A recipe whose data is packed.")],
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")],
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("data/training"),
    steps: int = 10,
) -> None:
    """Measure what packing saves."""
    loaded = load_recipe(recipe)
    if not isinstance(loaded, LanguageRecipe) or not loaded.data.packed:
        raise RecipeError(f"{recipe} has no packed questions.")
    typer.echo(json.dumps(measure(loaded, data, out, steps), indent=1))


if __name__ == "__main__":
    typer.run(main)
