"""Scores by group: all, open and closed, yes or no, each content type, each modality, each set; what is taken for what.

scores(rows, {"image": answers, "blank": other})["image"]["all"]["accuracy"]["value"]
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.evaluation.benchmarks import VqaRow
from serving.evaluation.intervals import intervals
from serving.evaluation.metrics import bleu_1, chosen, normalise_answer, original_right, right, token_f1
from serving.evaluation.pmc_vqa import choice_text

METRICS = {"accuracy": "accuracy", "token_f1": "token F1", "bleu_1": "BLEU-1", "original": "original scoring"}
SCORING = (
    "accuracy: the right letter or whole text where choices are shown, else normalised exact match; token F1 and "
    "BLEU-1: mean over questions; original: MedVInT's own, the nearest choice by difflib; percent, 95 % bootstrap "
    "interval over images"
)


MOST_CLASSES = 12
OTHER = "another answer"


def groups(rows: Sequence[VqaRow]) -> dict[str, list[int]]:
    """The indices of each group's rows; a group without rows is not there."""
    found: dict[str, list[int]] = defaultdict(list)
    several = len({row.dataset for row in rows}) > 1
    for index, row in enumerate(rows):
        found["all"].append(index)
        found["closed" if row.closed else "open"].append(index)
        if normalise_answer(row.answer) in ("yes", "no"):
            found["yes or no"].append(index)
        if row.content_type:
            found[f"type: {row.content_type}"].append(index)
        if row.modality:
            found[f"modality: {row.modality}"].append(index)
        if several:
            found[f"set: {row.dataset}"].append(index)
    return dict(sorted(found.items(), key=lambda item: (":" in item[0], item[0])))


def metric_names(rows: Sequence[VqaRow]) -> list[str]:
    """`original` needs choices on every row."""
    return ["accuracy", "token_f1", "bleu_1", *(["original"] if all(row.choices for row in rows) else [])]


def score(row: VqaRow, answer: str, names: Sequence[str]) -> list[float]:
    """One answer by each metric; the words of a letter are those of its choice."""
    named = chosen(answer, row.choices) if row.choices_shown else None
    words = answer if named is None else choice_text(row.choices[named])
    functions = {
        "accuracy": lambda: right(row, answer),
        "token_f1": lambda: token_f1(words, row.answer),
        "bleu_1": lambda: bleu_1(words, row.answer),
        "original": lambda: original_right(row, answer),
    }
    return [float(functions[name]()) for name in names]


def scores(rows: Sequence[VqaRow], answers: Mapping[str, Sequence[str]]) -> dict[str, dict[str, dict[str, Any]]]:
    """{condition: {group: {n, images, and each metric with its interval}}}."""
    names = metric_names(rows)
    values = np.array(
        [[cell for said in answers.values() for cell in score(row, said[i], names)] for i, row in enumerate(rows)]
    )
    table: dict[str, dict[str, dict[str, Any]]] = {condition: {} for condition in answers}
    for group, members in groups(rows).items():
        images = [str(rows[i].image_path) for i in members]
        measured = iter(intervals(values[members], images))
        for condition in answers:
            table[condition][group] = {
                "n": len(members),
                "images": len(set(images)),
                **{name: next(measured) for name in names},
            }
    return table


def confusion(rows: Sequence[VqaRow], answers: Sequence[str]) -> dict[str, Any] | None:
    """How often each right answer got which, where one question has a few answers; None elsewhere.

    Returns:
        `classes`: the right answers that occur; `counts`: {right answer: {class or "another answer": n}}.
    """
    names = {normalise_answer(row.answer): row.answer for row in rows}
    if len({row.question for row in rows}) != 1 or not 1 < len(names) <= MOST_CLASSES:
        return None
    classes = sorted(names.values())
    counts = {gold: dict.fromkeys([*classes, OTHER], 0) for gold in classes}
    for row, said in zip(rows, answers, strict=True):
        counts[names[normalise_answer(row.answer)]][names.get(normalise_answer(said), OTHER)] += 1
    return {"question": rows[0].question, "classes": classes, "counts": counts}
