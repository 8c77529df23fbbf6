"""The examples to click: images and one question each, the project's own or those of `MEDVINT_EXAMPLES_DIR`.

read_examples(None)      # [Example(image=.../mri-brain.png, question="Which imaging modality was used?"), ...]
"""

import csv
from dataclasses import dataclass
from pathlib import Path

OWN_EXAMPLES = Path(__file__).parent / "examples"
QUESTIONS = "questions.csv"


class ExamplesError(Exception):
    """The folder of examples is not in its form; the message says what is missing."""


@dataclass(frozen=True)
class Example:
    """An image file and a question about it."""

    image: Path
    question: str


def read_examples(folder: Path | None) -> list[Example]:
    """The examples of a folder that has images and one CSV file with the columns image,question.

    Raises ExamplesError if there is no such CSV, a column is missing, or an image is not there.
    """
    folder = folder or OWN_EXAMPLES
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        raise ExamplesError(f"{folder} has {len(tables)} CSV files; it needs one, with the columns image,question.")
    with tables[0].open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        if not {"image", "question"} <= set(rows.fieldnames or ()):
            raise ExamplesError(f"{tables[0]} needs the columns image and question.")
        examples = [Example(folder / row["image"], row["question"].strip()) for row in rows if row["question"]]
    for example in examples:
        if not example.image.is_file() or not example.image.resolve().is_relative_to(folder.resolve()):
            raise ExamplesError(f"{tables[0]} names {example.image.name}, which is not in {folder}.")
    return examples
