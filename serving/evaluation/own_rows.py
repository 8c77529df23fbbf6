"""A benchmark of one's own: a CSV with the columns image, question, answer, and where wanted choices and more.

rows = own_rows(Path("cases"), "test")        # cases/test.csv, or the only CSV in the folder
rows = own_rows(Path("cases.csv"), "")

Images are named relative to the CSV. Further columns: `choices` (separated by |; the answer is then one of them, or
its letter), `content_type`, `modality`. Yes and no are closed questions.
"""

import csv
import string
from pathlib import Path

from serving.evaluation.benchmarks import BenchmarkError, VqaRow

NEEDED = ("image", "question", "answer")


def own_file(data: Path, split: str) -> Path:
    """The CSV that is meant: `data` itself, `{split}.csv` in it, or the only one there is."""
    if data.is_file():
        return data
    named = data / f"{split}.csv"
    found = [named] if split and named.is_file() else sorted(data.glob("*.csv"))
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise BenchmarkError(f"{data} needs one CSV, or one named by --split; there are: {there}.")
    return found[0]


def own_rows(data: Path, split: str) -> list[VqaRow]:
    """The rows of the user's CSV.

    Raises:
        BenchmarkError: no CSV, a column or a value that is missing, or an answer that is none of its choices.
    """
    path = own_file(data, split)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [
                {str(key).strip().lower(): value or "" for key, value in row.items()} for row in csv.DictReader(file)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BenchmarkError(f"{path} is not CSV in UTF-8: {error}") from error
    if not lines or not set(NEEDED) <= lines[0].keys():
        raise BenchmarkError(f"{path} needs rows with the columns {', '.join(NEEDED)}.")
    return [_row(path, number, line) for number, line in enumerate(lines, 1)]


def _row(path: Path, number: int, line: dict[str, str]) -> VqaRow:
    image, question, answer = (line[name].strip() for name in NEEDED)
    if not (image and question and answer):
        raise BenchmarkError(f"{path}, row {number}: image, question and answer must not be empty.")
    texts = [text.strip() for text in line.get("choices", "").split("|") if text.strip()]
    choices = tuple(f" {letter}:{text} " for letter, text in zip(string.ascii_uppercase, texts, strict=False))
    correct = None
    if choices:
        letters = string.ascii_uppercase[: len(texts)]
        names = [text.lower() for text in texts]
        if answer.lower() in names:
            correct = names.index(answer.lower())
        elif len(answer) == 1 and answer.upper() in letters:
            correct = letters.index(answer.upper())
        else:
            raise BenchmarkError(f"{path}, row {number}: {answer!r} is none of the choices.")
        answer = texts[correct]
    return VqaRow(
        question_id=f"own/{path.stem}/{number}",
        dataset="own",
        image_path=path.parent / image,
        question=question,
        answer=answer,
        closed=bool(choices) or answer.lower() in ("yes", "no"),
        content_type=line.get("content_type", "").strip(),
        modality=line.get("modality", "").strip(),
        choices=choices,
        correct=correct,
        choices_shown=bool(choices),
    )
