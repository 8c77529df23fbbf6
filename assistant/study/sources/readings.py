"""The model's stored answers as items of "Judge the model": right and wrong in equal numbers, on unseen images."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from assistant.study import blind, lint
from assistant.study.errors import PackError
from assistant.study.exercises import ACCEPT, judged_item
from assistant.study.grade import grade
from assistant.study.items import Gold, Item, Skill
from assistant.study.making import opened
from assistant.study.packs import PackWriter, Shelf
from assistant.study.sources import SEED
from serving.evaluation.benchmarks import VqaRow, slake_rows

NAME = "judge-slake"


def add_readings(shelf: Shelf, pack: str, answers: Path, data: Path) -> int:
    """Make the pack `judge-slake` from an evaluation's answers; returns its number of items.

    Raises PackError for another pack than SLAKE, on whose train images the model learned.
    """
    if pack != "slake":
        raise PackError("Only SLAKE's validate images have stored answers of a model that did not learn from them.")
    given = {}
    for line in answers.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["condition"] == "image" and row["answer"]:
            given[row["question_id"]] = row["answer"]
    base = shelf.open(pack).pack
    writer = PackWriter(shelf.folder, replace(base, name=NAME, title="Judge the model: SLAKE", version=""))
    try:
        rows = [row for row in slake_rows(data, "validate") if row.question_id in given]
        items = _balanced([item for row in rows if (item := _item(writer, row, given[row.question_id]))])
        flaws = [flaw.to_dict() for flaw in lint.check(items)]
        writer.finish(items, {"flaws": flaws, "blind": blind.check(items)})
        return len(items)
    finally:
        writer.drop()


def _item(writer: PackWriter, row: VqaRow, answer: str) -> Item | None:
    outcome = grade(Gold(row.answer), answer).outcome
    if outcome == "not graded":
        return None
    digest = writer.image(opened(row.image_path)())
    skill = Skill(f"{row.modality.lower()}/{row.content_type.lower()}", row.modality, "", row.content_type.lower())
    plain = Item(
        f"{NAME}/{row.question_id.replace('/', '-')}/vqa", NAME, "", "option", skill, (digest,), digest, row.question,
        Gold(row.answer), source=writer.pack.source, licence=writer.pack.licence,
    )  # fmt: skip
    return judged_item(plain, row.question, answer, outcome == "right")


def _balanced(items: Sequence[Item]) -> list[Item]:
    """As many right as wrong for each question where it can be, so that a question tells nothing."""
    draw = random.Random(SEED)  # noqa: S311
    by_question: dict[str, tuple[list[Item], list[Item]]] = {}
    for item in items:
        question = item.stem.partition(" The model says")[0]
        by_question.setdefault(question, ([], []))[item.gold.answer == ACCEPT].append(item)
    chosen = []
    for wrong, right in by_question.values():
        number = min(len(wrong), len(right))
        chosen += draw.sample(wrong, number) + draw.sample(right, number)
    return chosen
