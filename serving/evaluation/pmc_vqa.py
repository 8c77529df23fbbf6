"""PMC-VQA (Zhang et al., arXiv 2305.10415) in both of its CSV layouts, with the choices shown or not.

rows = pmc_vqa_rows(Path("PMC-VQA"), "test_clean", choices_shown=True)

The name of the file is part of a figure: `test_clean` (2,000 verified rows, the paper's), `test` (50,000 that nobody
verified) and `test_2` (33,430, version 2, images that are not compound) are three different tests.
"""

import csv
import re
from pathlib import Path

from serving.evaluation.benchmarks import BenchmarkError, VqaRow

LETTERS = "ABCD"
IMAGE_FOLDERS = {1: ("images", "figures", ""), 2: ("images_2", "images2", "figures", "images", "")}
_LETTER = re.compile(r"^\s*([A-Z])\s*:")


def choice_text(choice: str) -> str:
    """ " A:Lateral view " without its letter: "Lateral view"."""
    return _LETTER.sub("", choice).strip()


def pmc_vqa_rows(folder: Path, split: str, choices_shown: bool) -> list[VqaRow]:
    """The rows of `{split}.csv`, whose images are in `images/` (version 1) or `images_2/` or `figures/` (version 2).

    Raises:
        BenchmarkError: the file is missing or in another layout, or a row has no choice that is right.
    """
    path = folder / f"{split}.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = [{str(name).strip(): value or "" for name, value in row.items()} for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise BenchmarkError(f"{path} is missing: see the data set's page, xmcmic/PMC-VQA.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BenchmarkError(f"{path} is not CSV: {error}") from error
    needed = {"Figure_path", "Question", *(f"Choice {letter}" for letter in LETTERS)}
    if not lines or not needed <= lines[0].keys():
        raise BenchmarkError(f"{path} has no rows with the columns {', '.join(sorted(needed))}.")
    images = _image_folder(folder, lines[0])
    return [_row(path, number, line, images, choices_shown) for number, line in enumerate(lines)]


def _image_folder(folder: Path, line: dict[str, str]) -> Path:
    """Where the first row's image is; training answers can be read without any image."""
    names = IMAGE_FOLDERS[1 if "Answer_label" in line else 2]
    found = (folder / name for name in names if (folder / name / line["Figure_path"]).is_file())
    return next(found, folder / names[0])


def _row(path: Path, number: int, line: dict[str, str], images: Path, choices_shown: bool) -> VqaRow:
    choices = tuple(line[f"Choice {letter}"] for letter in LETTERS)
    correct = _correct(line, choices)
    if correct is None:
        raise BenchmarkError(f"{path}, row {number + 1}: the answer is none of the choices.")
    name = line["Figure_path"]
    return VqaRow(
        question_id=f"pmc-vqa/{path.stem}/{number}",
        dataset="pmc-vqa",
        image_path=images / name,
        # As it stands: the original trims nothing, and a model has learnt the spaces.
        question=line["Question"],
        answer=choice_text(choices[correct]),
        closed=choices_shown,
        content_type="",
        modality="",
        choices=choices,
        correct=correct,
        choices_shown=choices_shown,
        pmcid=name.split("_")[0] if name.startswith("PMC") else "",
    )


def _correct(line: dict[str, str], choices: tuple[str, ...]) -> int | None:
    """Version 1 has the letter in Answer_label, version 2 in Answer; older files have the whole choice, misspelt."""
    answer = (line.get("Answer_label") or line.get("Answer") or line.get("Anwser") or "").strip()
    if len(answer) == 1 and answer in LETTERS:
        return LETTERS.index(answer)
    wanted = choice_text(answer).lower()
    return next((i for i, choice in enumerate(choices) if wanted and choice_text(choice).lower() == wanted), None)
