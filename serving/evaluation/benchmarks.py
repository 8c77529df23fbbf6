"""Readers for the visual question answering benchmarks, each a list of `VqaRow`.

rows = slake_rows(Path("../shared/data/slake"), "validate")
rows = vqa_rad_rows(Path("../shared/data/vqa-rad"), "validate")
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class BenchmarkError(ValueError):
    """A benchmark's files are missing or not in the layout that its reader knows."""


@dataclass(frozen=True)
class VqaRow:
    """One question about one image with its gold answer."""

    question_id: str
    dataset: str
    image_path: Path
    question: str
    answer: str
    closed: bool
    content_type: str
    modality: str


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
    """VQA-RAD's training rows (Lau et al., 2018), split by image into `train` and `validate`.

    The published train and test sets share images; a seventh of the images, chosen by the hash
    of their name, is ours for validation, so that no image is on both sides.
    """
    if split not in ("train", "validate"):
        raise BenchmarkError(f"VQA-RAD has the splits train and validate here, not {split!r}.")
    rows = []
    seen = set()
    for row in _load(folder / "train.json"):
        name = row["image_name"]
        held_out = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 7 == 0
        if held_out != (split == "validate"):
            continue
        question, answer = str(row["question"]).strip(), str(row["answer"]).strip()
        if (name, question, answer) in seen:
            continue
        seen.add((name, question, answer))
        rows.append(
            VqaRow(
                question_id=f"vqa-rad/{row['qid']}",
                dataset="vqa-rad",
                image_path=folder / "images" / name,
                question=question,
                answer=answer,
                closed=str(row["answer_type"]).strip() == "CLOSED",
                content_type=str(row["question_type"]).strip(),
                modality=str(row["image_organ"]).strip(),
            )
        )
    return rows


READERS: dict[str, Callable[[Path, str], list[VqaRow]]] = {
    "slake": slake_rows,
    "vqa-rad": vqa_rad_rows,
}
