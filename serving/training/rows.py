"""From the data sets that a recipe names to what is trained on: image, prompt, answer.

The texts are the original MedVInT's, to the space: a caption has an empty prompt; a choice is answered with the whole
choice as PMC-VQA writes it (" A:Lateral view "), a blank with the same less its letter. MedVInT-TE's choices are in
words of its own, and answered by the letter alone.

rows = read_source(Source(set="pmc-oa"), Path("data"))
"""

import hashlib
import json
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import prompts
from serving.evaluation.benchmarks import BenchmarkError, VqaRow, slake_rows, vqa_rad_rows
from serving.evaluation.label_questions import label_rows
from serving.evaluation.own_rows import own_rows
from serving.evaluation.pmc_vqa import pmc_vqa_rows
from serving.training.recipe_sections import SetName, Source

HELD_OUT_ARTICLES = 50
"""One article in so many is held out where a data set has no validation split."""
FOLDERS: dict[SetName, str] = {"pmc-vqa-choice": "pmc-vqa", "pmc-vqa-blank": "pmc-vqa", "labels": "."}
PMC_OA_IMAGES = ("caption_T060_filtered_top4_sep_v0_subfigures", "images", "figures", "")
_LETTER = re.compile(r"^(\s*)[A-Z]\s*:")


@dataclass(frozen=True, slots=True)
class Row:
    """`answer` is what is learnt after `prompt`; `closed` is only for the tables."""

    image: Path
    prompt: str
    answer: str
    closed: bool = False


def read_source(source: Source, data: Path, by_letter: bool = False) -> list[Row]:
    """The rows of one set.

    Args:
        data: the folder of all sets.
        by_letter: choices as MedVInT-TE reads and answers them.

    Raises:
        BenchmarkError: its files are missing or in another layout, or it is empty.
    """
    folder = data / (FOLDERS.get(source.set, source.set) if source.folder is None else source.folder)
    rows = list(_read(source, folder, _letter if by_letter else _choice))[: source.rows]
    if not rows:
        raise BenchmarkError(f"{folder} has no rows of {source.name}, split {source.split}.")
    return rows


def _read(source: Source, folder: Path, choice: Callable[[VqaRow], Row]) -> Iterator[Row]:
    match source.set:
        case "pmc-oa":
            captions = _captions(folder, "pmc_oa" if source.split == "all" else source.split)
            return (row for row in captions if _in_part(source, row.image.name))
        case "pmc-vqa-choice":
            found = pmc_vqa_rows(folder, source.split, choices_shown=True)
            return (choice(row) for row in found if _in_part(source, row.image_path.name))
        case "pmc-vqa-blank":
            found = pmc_vqa_rows(folder, source.split, choices_shown=False)
            return (_blank(row) for row in found if _in_part(source, row.image_path.name))
        case "slake":
            return map(_open, slake_rows(folder, source.split))
        case "vqa-rad":
            return map(_open, vqa_rad_rows(folder, source.split))
        case "own":
            return (choice(row) if row.choices_shown else _open(row) for row in own_rows(folder, source.split))
        case "labels":
            return map(_open, label_rows(folder, held_out=source.part == "held-out"))


def _captions(folder: Path, split: str) -> Iterator[Row]:
    """PMC-OA (Lin et al., PMC-CLIP): `{split}.jsonl` or `{split}_pmc_oa.jsonl`, a line an image, beside the images."""
    path = next(
        (file for file in (folder / f"{split}.jsonl", folder / f"{split}_pmc_oa.jsonl") if file.is_file()), None
    )
    if path is None:
        raise BenchmarkError(f"{folder}/{split}.jsonl is missing: see the data set's page, axiong/pmc_oa.")
    images = next((folder / name for name in PMC_OA_IMAGES if (folder / name).is_dir()), folder)
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                said = json.loads(line)
                name, caption = str(said["image"]), str(said["caption"]).strip()
            except (ValueError, KeyError, TypeError) as error:
                raise BenchmarkError(f"{path}, line {number}: an object with image and caption is needed.") from error
            if caption:
                yield Row(images / name, "", caption)


def _in_part(source: Source, image_name: str) -> bool:
    if source.part == "all":
        return True
    article = image_name.split("_")[0]
    held_out = int(hashlib.sha256(article.encode()).hexdigest(), 16) % HELD_OUT_ARTICLES == 0
    return held_out == (source.part == "held-out")


def _open(row: VqaRow) -> Row:
    return Row(row.image_path, prompts.load("blank").render(question=row.question), row.answer, row.closed)


def _choice(row: VqaRow) -> Row:
    prompt = prompts.load("choice").render(question=row.question, choices=row.choices)
    return Row(row.image_path, prompt, row.choices[row.correct or 0], closed=True)


def _letter(row: VqaRow) -> Row:
    prompt = prompts.load("medvint_te_choice").render(question=row.question, choices=row.choices)
    return Row(row.image_path, prompt, string.ascii_uppercase[row.correct or 0], closed=True)


def _blank(row: VqaRow) -> Row:
    answer = _LETTER.sub(r"\1", row.choices[row.correct or 0])
    return Row(row.image_path, prompts.load("blank").render(question=row.question), answer)
