"""What a row of a benchmark is, and the readers for SLAKE and VQA-RAD. `readers.py` lists all benchmarks.

rows = slake_rows(Path("../shared/data/slake"), "validate")
rows = vqa_rad_rows(Path("../shared/data/vqa-rad"), "validate")
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

VQA_RAD_FILE = "VQA_RAD Dataset Public.json"


class BenchmarkError(ValueError):
    """A benchmark's files are missing or not in the layout that its reader knows."""


@dataclass(frozen=True)
class VqaRow:
    """One question about one image with its gold answer.

    `choices` are as the benchmark writes them (" A:Lateral view "), `correct` is the index of the right one.
    Where `choices_shown` is false they only score the answer. `pmcid` is the article that the image is from.
    """

    question_id: str
    dataset: str
    image_path: Path
    question: str
    answer: str
    closed: bool
    content_type: str
    modality: str
    choices: tuple[str, ...] = ()
    correct: int | None = None
    choices_shown: bool = False
    pmcid: str = ""


def _load(path: Path) -> list[dict]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchmarkError(f"{path} is missing: see the benchmark's own download page.") from None
    except json.JSONDecodeError as error:
        raise BenchmarkError(f"{path} is not JSON: {error}") from error
    if not isinstance(rows, list):
        raise BenchmarkError(f"{path} holds {type(rows).__name__}, a list of questions is needed.")
    return rows


def slake_rows(folder: Path, split: str) -> list[VqaRow]:
    """English rows of SLAKE 1.0 (Liu et al., ISBI 2021): `{split}.json` beside `imgs/`."""
    return [
        VqaRow(
            question_id=f"slake/{row['qid']}",
            dataset="slake",
            image_path=folder / "imgs" / row["img_name"],
            question=row["question"].strip(),
            answer=str(row["answer"]).strip(),
            closed=row["answer_type"].strip() == "CLOSED",
            content_type=row["content_type"],
            modality=row["modality"],
        )
        for row in _load(folder / f"{split}.json")
        if row["q_lang"] == "en"
    ]


def vqa_rad_rows(folder: Path, split: str) -> list[VqaRow]:
    """VQA-RAD (Lau et al., 2018): `train` and `validate` from its training rows, and `test`.

    The published train and test sets share images; a seventh of the training images, chosen by the hash
    of their name, is ours for validation, so that no image is on both sides. `test` is `test.json`, or the test
    rows of the one file that was published (`VQA_RAD Dataset Public.json`). Closed is what the file calls so.
    """
    if split not in ("train", "validate", "test"):
        raise BenchmarkError(f"VQA-RAD has the splits train, validate and test here, not {split!r}.")
    published = folder / VQA_RAD_FILE
    separate = folder / ("test.json" if split == "test" else "train.json")
    path = published if published.is_file() and not separate.is_file() else separate
    images = folder / "VQA_RAD Image Folder"
    images = images if images.is_dir() else folder / "images"
    rows = []
    seen = set()
    for row in _load(path):
        name = row["image_name"]
        if path == published and str(row["phrase_type"]).startswith("test") != (split == "test"):
            continue
        held_out = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 7 == 0
        if split != "test" and held_out != (split == "validate"):
            continue
        question, answer = str(row["question"]).strip(), str(row["answer"]).strip()
        # The test set is scored whole, as everyone does; elsewhere a row that stands twice is one row.
        if split != "test" and (name, question, answer) in seen:
            continue
        seen.add((name, question, answer))
        rows.append(
            VqaRow(
                question_id=f"vqa-rad/{row['qid']}",
                dataset="vqa-rad",
                image_path=images / name,
                question=question,
                answer=answer,
                closed=str(row["answer_type"]).strip() == "CLOSED",
                content_type=str(row["question_type"]).strip(),
                modality=str(row["image_organ"]).strip(),
            )
        )
    return rows
