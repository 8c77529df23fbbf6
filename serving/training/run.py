"""Runs a recipe, or goes on with it; what `medvint train` calls.

    python -m serving.training.run demo-vqa --data DIR --out data/training
    accelerate launch -m serving.training.run medvint-7b-blank --data DIR     # several GPUs
    # killed at any time, the same command with --resume goes on exactly where the last checkpoint was

Everything of a run is in `OUT/NAME`: `recipe.yaml`, checkpoints, `log.jsonl`, `curves.svg`, and at the end the
weights (see `results`) with their model card.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from accelerate import PartialState
from safetensors.torch import load_file
from torch.utils.data import Dataset
from transformers import set_seed

from serving.medvint_te.text import QuestionText
from serving.training import looking, tower
from serving.training.average import set_weights
from serving.training.beginning import RECIPE_FILE, Begun, begin
from serving.training.card import write_card
from serving.training.checkpoint import Log, save_whole
from serving.training.curves import write_curves
from serving.training.plan import (
    Collate,
    Collator,
    Encode,
    Encoder,
    HeldOut,
    Item,
    Pictures,
    Plan,
    group_rows,
)
from serving.training.recipe import (
    LanguageRecipe,
    MaskedRecipe,
    ProjectorRecipe,
    Recipe,
    RecipeError,
    RunRecipe,
    dump_recipe,
    load_recipe,
)
from serving.training.recipe_sections import Source
from serving.training.results import write_results, write_te_results
from serving.training.rows import Row, read_source
from serving.training.te import TrainedTE, begin_te
from serving.training.te_batch import MaskedCollator, MaskedEncoder
from serving.training.texts import training_texts
from serving.training.trained import Trained, TrainedMedVInT, choose_trained
from serving.training.trainer import BEST, Progress, last_checkpoint, make_trainer

Read = Callable[[Source], Sequence[Row]]


def train(recipe: Recipe, data: Path, out: Path, resume: bool = False) -> Path:
    """Run a recipe to its end and give the run's folder.

    Args:
        data: the folder of the data sets.
        out: the folder of all runs.
        resume: go on from the last checkpoint, if there is one; without it, a run that is there is an error.

    Raises:
        RecipeError: a run of that name is there, or was begun with another recipe; see also `begin`.
        BenchmarkError: a data set is missing.
    """
    folder = out / recipe.name
    _claim(recipe, folder, resume)
    # Stages read the data sets by the folder's name: the same however the command was written.
    data = data.resolve()
    if isinstance(recipe, LanguageRecipe | MaskedRecipe):
        _run(recipe, data, out, folder)
    elif isinstance(recipe, ProjectorRecipe):
        looking.train(recipe, data, out, folder)
    else:
        tower.train(recipe, data, folder)
    return folder


def _claim(recipe: Recipe, folder: Path, resume: bool) -> None:
    begun = (folder / RECIPE_FILE).is_file() and bool([*folder.glob("checkpoint*")])
    if begun and not resume:
        raise RecipeError(f"{folder} holds a run already. Go on with it (--resume), or choose another --out.")
    if begun and load_recipe(folder / RECIPE_FILE) != recipe:
        raise RecipeError(f"{folder} was begun with another recipe: {RECIPE_FILE} in it. Choose another --out.")
    if _processes().is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        save_whole(folder / RECIPE_FILE, lambda path: path.write_text(dump_recipe(recipe), encoding="utf-8"))
    _processes().wait_for_everyone()


def _processes() -> PartialState:
    """What Accelerate started: one process, or one for each device."""
    return PartialState(cpu=not torch.cuda.is_available())


@dataclass(frozen=True)
class Prepared:
    """A model to train with all that it will see; `write` leaves the results in the run's folder."""

    trained: Trained
    plan: Plan
    validation: dict[str, Dataset[Item]]
    collator: Collate
    write: Callable[[Path], None]


def _run(recipe: LanguageRecipe | MaskedRecipe, data: Path, out: Path, folder: Path) -> None:
    state = _processes()
    set_seed(recipe.seed)
    prepared = (
        _prepare_masked(recipe, data, out, state)
        if isinstance(recipe, MaskedRecipe)
        else _prepare_language(recipe, data, out, state)
    )
    steps = -(-len(prepared.plan) // rows_a_step(recipe, state.num_processes))
    trainer = make_trainer(
        recipe,
        prepared.trained,
        prepared.plan,
        prepared.validation,
        prepared.collator,
        folder,
        state.num_processes,
    )

    checkpoint, done = last_checkpoint(folder) or (None, 0)
    if state.is_main_process:
        count = sum(parameter.numel() for parameter in trainer.parameters.values())
        typer.echo(f"{recipe.name}: {count / 1e6:.1f} million weights are trained, {steps} steps from step {done}.")
        trainer.add_callback(Progress(Log(folder / "log.jsonl", done, steps), folder))
    state.wait_for_everyone()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    if state.is_main_process:
        best = folder / BEST
        set_weights(trainer.parameters, load_file(best) if best.is_file() else trainer.kept())
        write_curves(folder)
        prepared.write(folder)
        write_card(folder)
        typer.echo(f"Done: {folder}. Serve it: MEDVINT_MODEL={folder / 'model'} medvint up")
    state.wait_for_everyone()


def _prepare_language(recipe: LanguageRecipe, data: Path, out: Path, state: PartialState) -> Prepared:
    begun = begin(recipe, data, out)
    trained = TrainedMedVInT(begun.medvint, recipe.text_tie.weight if recipe.text_tie else 0.0)
    choose_trained(trained, recipe)
    if recipe.gradient_checkpointing:
        llm: Any = begun.medvint.language_model
        llm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    plan, validation = read_data(recipe, begun, data, state.num_processes)
    config = begun.medvint.config
    collator = Collator(config.projector.num_image_tokens, config.image_token_id)
    return Prepared(trained, plan, validation, collator, lambda folder: write_results(trained, begun, recipe, folder))


def _prepare_masked(recipe: MaskedRecipe, data: Path, out: Path, state: PartialState) -> Prepared:
    model, tokenizer = begin_te(recipe, data, out)
    trained = TrainedTE(model)
    choose_trained(trained, recipe)
    text, size = QuestionText(tokenizer, model.config), model.config.vision.image_size
    encoder, read = MaskedEncoder(text), partial(read_source, data=data, by_letter=True)

    def fitting(source: Source) -> list[Row]:
        rows = read(source)
        found = [row for row in rows if encoder.fits(row)]
        if not found:
            raise RecipeError(f"In {source.name} no question with its answer is short enough for the model.")
        if len(found) < len(rows) and state.is_main_process:
            typer.echo(f"{source.name}: {len(rows) - len(found)} of {len(rows)} rows do not fit, and are left out.")
        return found

    return Prepared(
        trained,
        make_plan(recipe, fitting, encoder, size, state.num_processes),
        make_validation(recipe, read, encoder, size),
        MaskedCollator(text),
        lambda folder: write_te_results(trained, tokenizer, recipe, folder),
    )


def rows_a_step(recipe: RunRecipe, processes: int) -> int:
    """Rows on all devices together that one change of the weights sees."""
    return recipe.batch * recipe.accumulation(processes) * processes


def read_data(
    recipe: LanguageRecipe, begun: Begun, data: Path, processes: int = 1
) -> tuple[Plan, dict[str, Dataset[Item]]]:
    """What the run trains on, and its validation sets by name, each also with black images."""
    config, size = begun.medvint.config, begun.medvint.config.vision.image_size
    encoder = Encoder(begun.tokenizer, config.stop_token_id, recipe.data.max_tokens)
    read = partial(read_source, data=data)
    tie = recipe.text_tie
    plan = make_plan(
        recipe,
        read,
        encoder,
        size,
        processes,
        dialogue_share=recipe.data.dialogue_share,
        texts=training_texts(data, begun.tokenizer) if tie else (),
        texts_at_once=tie.texts if tie else 0,
        text_every=rows_a_step(recipe, processes) * tie.every if tie else 1,
    )
    return plan, make_validation(recipe, read, encoder, size)


def make_plan(recipe: RunRecipe, read: Read, encoder: Encode, size: int, processes: int, **more: Any) -> Plan:
    """What the run trains on; `more` are the other arguments of `Plan`."""
    return Plan(
        [
            (group_rows(read(source), recipe.data.packed, source.questions), source.share)
            for source in recipe.data.train
        ],
        encoder,
        Pictures(size, recipe.data.augment),
        batch=recipe.batch,
        seed=recipe.seed,
        items=recipe.steps * rows_a_step(recipe, processes) if recipe.steps else None,
        epochs=recipe.epochs or 1,
        **more,
    )


def make_validation(recipe: RunRecipe, read: Read, encoder: Encode, size: int) -> dict[str, Dataset[Item]]:
    """Validation sets by name, each also with black images."""
    validation: dict[str, Dataset[Item]] = {}
    for source in recipe.data.validate_on:
        found = group_rows(read(source), recipe.data.packed, source.questions)
        validation[source.name] = HeldOut(found, encoder, Pictures(size))
        validation[f"{source.name}-blank"] = HeldOut(found, encoder, Pictures(size), blank=True)
    return validation


def main(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped recipe.")],
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = Path("../shared/data"),
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("data/training"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a recipe."""
    train(load_recipe(recipe), data, out, resume)


if __name__ == "__main__":
    typer.run(main)
