"""The model card of a run: data with licences, how it was trained, figures with their controls. All from its own files.

    python -m serving.training.card data/training/medvint-7b-blank --report data/reports/slake-validate

`medvint train` writes one at its end with what training measured; after `medvint evaluate`, this writes it anew with
the reports, whose figures come from the product's own chat turn.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.evaluation.labelled_images import GROUPS
from serving.evaluation.leaderboard import COLUMNS, line
from serving.evaluation.report import find, read_report
from serving.training.beginning import RECIPE_FILE
from serving.training.checkpoint import read_log
from serving.training.recipe import LanguageRecipe, RecipeError, RunRecipe, load_recipe
from serving.training.recipe_sections import MaskedModel
from serving.training.results import MODEL, ORIGINAL

DATA = {
    "pmc-oa": ("PMC-OA: captions of PubMed Central's open-access figures", "by article"),
    "pmc-vqa-choice": ("PMC-VQA, choices shown", "CC BY-SA 4.0"),
    "pmc-vqa-blank": ("PMC-VQA, without choices", "CC BY-SA 4.0"),
    "slake": ("SLAKE 1.0, English questions", "CC BY 4.0"),
    "vqa-rad": ("VQA-RAD", "CC0 1.0"),
    "own": ("the trainer's own rows", "as the trainer knows"),
}
LABELLED = {
    "brain-tumour-mri": "CC BY 4.0",
    "iq-oth-nccd-ct": "CC BY 4.0",
    "hannover-covid-cxr": "CC BY 3.0",
    "kermany-chest-xray": "CC BY 4.0",
    "knee-oa-xray": "CC BY 4.0",
    "isic-2017": "CC0 1.0",
    "pbc-blood-cells": "CC BY 4.0",
    "bccd": "MIT",
    "chula-rbc": "MIT",
    "openstax": "CC BY 4.0",
    "grays-anatomy": "public domain",
}
TEXTS = ("plain text for the tie: openly licensed ROCO and OpenStax captions", "CC BY, CC BY-SA, CC0")
WARNING = (
    "**A research model for teaching. It is often wrong, and it does not know when it is. Not for diagnosis.** "
    "Look at the controls beside every figure: what is left with a black image is not seen, it is guessed."
)


def write_card(folder: Path, reports: Sequence[Path] = ()) -> None:
    """`README.md` in the run's folder and in both folders of weights.

    Args:
        reports: `report.json` files of `medvint evaluate`, or their folders.

    Raises:
        RecipeError: `folder` holds no run that went through a language model.
        ReportError: a report cannot be read.
    """
    recipe = load_recipe(folder / RECIPE_FILE)
    if not isinstance(recipe, RunRecipe):
        raise RecipeError(f"{folder.name} has no model of its own: the stages after it have.")
    text = make_card(recipe, read_log(folder / "log.jsonl"), [read_report(path) for path in reports])
    for place in (folder, folder / ORIGINAL, folder / MODEL):
        if place.is_dir():
            (place / "README.md").write_text(text, encoding="utf-8")


def make_card(recipe: RunRecipe, log: Sequence[Mapping[str, Any]], reports: Sequence[Mapping[str, Any]]) -> str:
    """The card as Markdown."""
    parts = [f"# {recipe.name}", recipe.about.strip(), WARNING]
    if reports:
        parts += ["## Figures", *_figures(reports)]
    if measured := _measured_in_training(recipe, log):
        parts += ["## Measured while training", *measured]
    parts += ["## Trained on", _data(recipe), "## How", _how(recipe, log)]
    return "\n\n".join(parts) + "\n"


def _figures(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    header = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    told = [
        f"- {report['benchmark']}, {report['split']}: {find(report, 'controls', name, 'in_words')}"
        for report in reports
        for name in report["controls"]
    ]
    return [
        "Through the product's chat turn, greedy, percent; the controls' columns are points lost under each "
        "(`medvint evaluate`).",
        "\n".join([*header, *map(line, reports)]),
        "\n".join(told),
    ]


def _measured_in_training(recipe: RunRecipe, log: Sequence[Mapping[str, Any]]) -> list[str]:
    """The last or the best evaluation: every token of the answer the greedy choice."""
    rows = []
    for source in recipe.data.validate_on:
        name, blank = f"{source.name}_exact", f"{source.name}-blank_exact"
        seen = {record["step"]: record[name] for record in log if name in record}
        black = {record["step"]: record[blank] for record in log if blank in record}
        if not seen:
            continue
        rule = {
            record["step"]: record.get(f"{recipe.best}_exact") for record in log if f"{recipe.best}_exact" in record
        }
        step = max(rule, key=lambda one: (rule[one], -one)) if rule else max(seen)
        rows.append(f"| {source.name}, {source.split} | {step} | {seen[step]} | {black.get(step, '')} |")
    if not rows:
        return []
    table = "\n".join(["| validation | step | exact match | with a black image |", "|---|---|---|---|", *rows])
    return [table, "Percent of answers whose every token is the most probable one. Curves: `curves.svg`."]


def _data(recipe: RunRecipe) -> str:
    lines = ["| data | split | share of its images an epoch | licence |", "|---|---|---|---|"]
    for source in recipe.data.train:
        if source.set == "labels":
            licences = "; ".join(f"{name} {LABELLED[name]}" for name in GROUPS)
            lines.append(f"| labels of image sets as questions | not held out | {source.share:.1%} | {licences} |")
        else:
            name, licence = DATA[source.set]
            lines.append(f"| {name} | {source.split} | {source.share:.0%} | {licence} |")
    if isinstance(recipe, LanguageRecipe) and recipe.text_tie:
        lines.append(f"| {TEXTS[0]} | | | {TEXTS[1]} |")
    return "\n".join(lines)


def _how(recipe: RunRecipe, log: Sequence[Mapping[str, Any]]) -> str:
    lora, model = recipe.lora, recipe.model
    if isinstance(model, MaskedModel):
        reader, begun = "Text encoder", model.encoder
    else:
        reader, begun = "Language model", model.llm
    rates = ", ".join(f"{part} {rate:g}" for part, rate in recipe.rates.model_dump().items() if rate)
    length = f"{recipe.steps} steps" if recipe.steps else f"{recipe.epochs} epochs"
    lines = [
        f"- Begun with: {model.start or begun}" + (f", tower {model.tower}" if model.tower else ""),
        f"- {reader}: LoRA, rank {lora.rank}, alpha {lora.alpha:g}, on {', '.join(lora.modules)}"
        if lora
        else f"- {reader}: {'trained whole' if getattr(recipe.rates, recipe.reader) else 'at rest'}",
        f"- Rates: {rates}; AdamW, cosine, {length}, {recipe.rows_a_step or recipe.batch} rows a step, "
        f"{recipe.precision}, seed {recipe.seed}",
    ]
    if recipe.average:
        lines.append(f"- Weights: moving average, decay {recipe.average:g}")
    if log:
        lines.append(f"- Steps run: {log[-1]['step']}, {log[-1]['seconds'] / 3600:.1f} hours")
    lines.append(f"- All settings: `{RECIPE_FILE}`. Made by `medvint train`.")
    return "\n".join(lines)


def main(
    folder: Annotated[Path, typer.Argument(help="The run's folder.")],
    report: Annotated[
        list[Path] | None, typer.Option(help="A report of medvint evaluate; several are allowed.")
    ] = None,
) -> None:
    """Write the card of a run anew."""
    write_card(folder, report or [])


if __name__ == "__main__":
    typer.run(main)
