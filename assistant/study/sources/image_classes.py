"""Sets of pictures with a class each, as `rows.jsonl` beside `images/`: films of children, skin, blood, knees, tumours.

Each becomes items of its own kind, with the licence that its rows name.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from assistant.study.items import Skill
from assistant.study.making import Question, opened
from assistant.study.packs import Pack

Row = dict[str, Any]
MOST = 150
"""Pictures a class: more are no better to learn from."""


def _rows(folder: Path) -> Iterator[Row]:
    for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        row["path"] = folder / row["file"]
        yield row


def _question(row: Row, tag: str, stem: str, key: str, skill: Skill, **values: Any) -> Question:
    return Question(Path(row["file"]).stem, tag, stem, key, opened(row["path"]), skill, **values)


def _few(questions: Iterable[Question]) -> Iterator[Question]:
    counts: dict[tuple[str, str], int] = {}
    for question in questions:
        key = (question.stem, question.key)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= MOST:
            yield question


def _children(folder: Path) -> Iterator[Question]:
    skill = Skill("x-ray/chest/pneumonia in children", "X-ray", "chest", "pneumonia in children")
    for row in _rows(folder):
        is_normal = row["labels"]["class"] == "normal"
        yield _question(row, "pneumonia", "Does this chest film of a child show pneumonia?", 
                        "No" if is_normal else "Yes",                        skill, is_negative=is_normal)  # fmt: skip


def _projections(folder: Path) -> Iterator[Question]:
    skill = Skill("x-ray/chest/projection", "X-ray", "chest", "projection")
    for row in _rows(folder):
        if (projection := row["labels"].get("projection", "")) in ("ap", "pa"):
            yield _question(row, "projection", "Was this chest film taken AP or PA?", projection.upper(), skill)


def _skin(folder: Path) -> Iterator[Question]:
    skill = Skill("dermoscopy/skin/melanoma", "dermoscopy", "skin", "melanoma")
    for row in _rows(folder):
        is_melanoma = str(row["labels"]["melanoma"]).startswith("1")
        yield _question(row, "melanoma", "Is this lesion a melanoma?", "Yes" if is_melanoma else "No", skill,
                        is_negative=not is_melanoma)  # fmt: skip


def _blood(folder: Path) -> Iterator[Question]:
    for row in _rows(folder):
        cell = row["labels"]["cell"]
        skill = Skill(f"smear/blood/{cell}", "smear", "blood", cell)
        yield _question(row, "cell", "Which cell is in the middle of this blood smear?", cell, skill, kind="text",
                        vocabulary="blood cell")  # fmt: skip


def _knees(folder: Path) -> Iterator[Question]:
    names = {0: "none", 2: "minimal", 3: "moderate", 4: "severe"}
    skill = Skill("x-ray/knee/arthrosis", "X-ray", "knee", "arthrosis")
    for row in _rows(folder):
        # Grade 1 is "doubtful", which is no answer to learn.
        if grade := names.get(int(row["labels"]["kellgren_lawrence_grade"])):
            yield _question(row, "grade", "Which grade of arthrosis does this knee show?", grade, skill,
                            is_negative=grade == "none")  # fmt: skip


def _tumours(folder: Path) -> Iterator[Question]:
    for row in _rows(folder):
        name = row["labels"]["class"].replace("tumour", "tumor")
        boxes = tuple(
            (x - wide / 2, y - high / 2, wide, high) for x, y, wide, high in row["tumour_boxes_cxcywh_relative"]
        )
        if len(boxes) != 1:
            continue
        skill = Skill(f"mri/brain/{name}", "MRI", "brain", name)
        yield _question(row, "tumour", "Which tumour is marked on this MRI of the brain?", name, skill, kind="text",
                        vocabulary="brain finding", mark=boxes[0], boxes=boxes)  # fmt: skip
        place = Skill("mri/brain/find the tumour", "MRI", "brain", "find the tumour")
        yield _question(row, "place", "Click on the tumour.", "", place, kind="place", boxes=boxes)


def _set(read: Callable[[Path], Iterator[Question]]) -> Callable[[Path], Iterator[Question]]:
    return lambda folder: _few(read(folder))


SETS: dict[str, tuple[Pack, Callable[[Path], Iterator[Question]]]] = {
    "kermany": (
        Pack("kermany", "Chest films of children", "CC BY 4.0", "Kermany, Zhang, Goldbaum, doi:10.17632/rscbjbr9sj",
             "Half of the films are normal. Children of 1 to 5 years only."),
        _set(_children),
    ),
    "hannover": (
        Pack("hannover", "Chest films of adults: projection", "CC BY 3.0", "Winther et al., doi:10.25835/0090041",
             "All patients had COVID-19: no normal films, and no finding is told for each."),
        _set(_projections),
    ),
    "skin": (
        Pack("skin", "Skin lesions", "CC0 1.0", "ISIC 2017 challenge (Codella et al., arXiv:1710.05006)",
             "Coloured patches stand beside harmless lesions only: do not learn from those."),
        _set(_skin),
    ),
    "blood": (
        Pack("blood", "Blood cells", "CC BY 4.0", "Acevedo et al. 2020, doi:10.17632/snkd93bnjp.1",
             "Healthy donors of one laboratory."),
        _set(_blood),
    ),
    "knee": (
        Pack("knee", "Arthrosis of the knee", "CC BY 4.0",
             "Chen 2018, doi:10.17632/56rmx5bjcr.1; radiographs of the Osteoarthritis Initiative",
             "Contrast was raised; some films are inverted."),
        _set(_knees),
    ),
    "tumours": (
        Pack("tumours", "Brain tumours", "CC BY 4.0", "Cheng 2015, doi:10.6084/m9.figshare.1512427",
             "No healthy brains: do not train on this alone."),
        _set(_tumours),
    ),
}  # fmt: skip
