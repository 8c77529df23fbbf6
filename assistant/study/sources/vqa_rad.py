"""VQA-RAD's validation images: findings that are there or not, planes and sides. The split is the evaluation's own."""

import re
from collections.abc import Iterator
from pathlib import Path

from assistant.study.items import Skill
from assistant.study.making import Question, opened
from assistant.study.packs import Pack
from serving.evaluation.benchmarks import BenchmarkError, VqaRow, vqa_rad_rows

PACK = Pack(
    "vqa-rad",
    "VQA-RAD: radiology teaching cases",
    licence="CC0 1.0",
    source="VQA-RAD (Lau et al., 2018), cases of MedPix",
)
REGIONS = {"CHEST": "chest", "HEAD": "brain", "ABD": "abdomen"}
_PRESENCE = re.compile(
    r"(?:is|are) there (?:any |evidence of |a |an |signs of )*([a-z -]{4,40}?)(?: (?:seen |present |shown )?"
    r"(?:in|on) (?:the|this)(?: above)? (?:image|picture|film|scan))?\s*\?"
    r"|do you see (?:any |a |an )*([a-z -]{4,40}?)\s*\?",
    re.IGNORECASE,
)
_PLANES = {"axial": "axial", "transverse": "axial", "coronal": "coronal", "sagittal": "sagittal"}
SPLITS = ("train", "validate")


def questions(folder: Path) -> Iterator[Question]:
    """Questions on every image.

    Raises KeyError or OSError where the folder has not the set's form.
    """
    try:
        rows = [row for split in SPLITS for row in vqa_rad_rows(folder, split)]
    except BenchmarkError as error:
        raise OSError(str(error)) from error
    told: set[tuple[str, str]] = set()
    for row in rows:
        for question in _of(row):
            if (question.case_id, question.tag) not in told:
                told.add((question.case_id, question.tag))
                yield question


def _of(row: VqaRow) -> Iterator[Question]:
    region, answer = REGIONS.get(row.modality, ""), row.answer.strip().lower()
    kind = "film" if region == "chest" else "image"

    def question(tag: str, stem: str, key: str, concept: str, **values: bool) -> Question:
        skill = Skill(f"radiology/{region}/{concept}", "radiology", region, concept)
        return Question(row.image_path.stem, tag, stem, key, opened(row.image_path), skill, **values)  # type: ignore[arg-type]

    if (match := _PRESENCE.fullmatch(row.question)) and answer in ("yes", "no"):
        concept = " ".join((match[1] or match[2]).lower().split())
        yield question(f"is-{concept.replace(' ', '-')}", f"Is there {concept} on this {kind} of the {region}?",
                       answer.capitalize(), f"presence/{concept}", is_negative=answer == "no")  # fmt: skip
    elif "PLANE" in row.content_type and answer in _PLANES:
        yield question("plane", "In which plane is this image?", _PLANES[answer], "plane")
    elif re.search(r"\b(?:which|what) side\b", row.question.lower()) and answer in (
        "left",
        "right",
        "right side",
        "left side",
    ):
        yield question("side", f"On which side of the patient is the abnormality on this {kind} of the {region}?",
                       answer.split()[0], "side")  # fmt: skip
