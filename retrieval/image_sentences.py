"""What is said of each training image: a few sentences from its labels, in the words that captions use.

    pictures = described_pictures(Path("../shared/data"), "train")
    pictures[0].sentences     # ("Axial CT of the abdomen showing the liver and spleen.", ...)

Only training images: SLAKE train, VQA-RAD's training part, and of the other sets what `held_out` leaves.
"""

import json
import random
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retrieval.concepts import named_modalities
from serving.evaluation.benchmarks import VqaRow, slake_rows, vqa_rad_rows
from serving.evaluation.labelled_images import LabelledImage, labelled_images

FORMS = 6
"""Sentences for one image."""

SLAKE_PLACES = {
    "Lung": "chest",
    "Abdomen": "abdomen",
    "Pelvic Cavity": "pelvis",
    "Neck": "neck",
    **dict.fromkeys(("Brain", "Brain_Tissue"), "brain"),
    "Brain_Face": "head",
    **dict.fromkeys(("Chest_lung", "Chest_heart", "Chest_mediastinal"), "chest"),
}
RAD_PLACES = {"HEAD": "brain", "CHEST": "chest", "ABD": "abdomen"}

_SAYINGS = {
    "CT": ("CT", "CT scan", "Computed tomography", "Contrast-enhanced CT", "CT image"),
    "MRI": ("MRI", "MR image", "Magnetic resonance imaging", "MRI scan"),
    "X-ray": ("X-ray", "Radiograph", "Plain radiograph", "Plain X-ray film"),
    "": ("Medical image", "Radiological image"),
}
_PLANES = {"transverse": "Axial", "coronal": "Coronal", "sagittal": "Sagittal"}


@dataclass(frozen=True)
class Picture:
    """One image, the set it is of, and what is said of it; `modality` and `region` are "" where unknown."""

    path: Path
    dataset: str
    modality: str
    region: str
    sentences: tuple[str, ...]


@dataclass
class _Facts:
    modality: str
    region: str
    plane: str = ""
    weighting: str = ""
    organs: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()

    def sentences(self, rng: random.Random) -> tuple[str, ...]:
        return tuple(self._sentence(rng) for _ in range(FORMS))

    def _sentence(self, rng: random.Random) -> str:
        name = rng.choice(_SAYINGS[self.modality])
        if self.weighting and rng.random() < 0.6:
            name = f"{self.weighting}-weighted {name}"
        if self.plane and rng.random() < 0.7:
            name = f"{self.plane} {name}"
        if self.modality == "X-ray" and self.region == "chest" and rng.random() < 0.5:
            said = f"Chest {rng.choice(('radiograph', 'X-ray'))}"
        else:
            said = f"{name} of the {self.region}"
        if self.findings and rng.random() < 0.75:
            some = rng.sample(self.findings, min(len(self.findings), rng.choice((1, 1, 2))))
            return f"{said} {rng.choice(('showing', 'demonstrating', 'with'))} {' and '.join(some)}."
        if self.organs and rng.random() < 0.6:
            some = rng.sample(self.organs, min(len(self.organs), rng.choice((1, 2, 3))))
            return f"{said} showing the {' and '.join(some)}."
        return f"{said}."


DISEASES = {
    "Brain Edema": "brain edema",
    "Brain Non-enhancing Tumor": "a non-enhancing brain tumor",
    "Brain Enhancing Tumor": "an enhancing brain tumor",
    "Liver Cancer": "liver cancer",
    "Lung Cancer": "lung cancer",
    "Cardiomegaly": "cardiomegaly",
    "Atelectasis": "atelectasis",
    "Pneumonia": "pneumonia",
    "Mass": "a lung mass",
    "Nodule": "a lung nodule",
    "Effusion": "pleural effusion",
    "Pneumothorax": "pneumothorax",
    "Infiltrate": "pulmonary infiltrate",
}


def slake_pictures(folder: Path, split: str, seed: int = 1) -> list[Picture]:
    """SLAKE images; the labels are its boxes and its own answers on plane and weighting."""
    by_image: dict[Path, list[VqaRow]] = defaultdict(list)
    for row in slake_rows(folder, split):
        by_image[row.image_path].append(row)
    places = _slake_places(folder / f"{split}.json")
    pictures = []
    for path, rows in sorted(by_image.items()):
        boxes = json.loads(path.with_name("detection.json").read_text(encoding="utf-8"))
        names = {name for box in boxes for name in box}
        answers = {row.answer.lower() for row in rows if row.content_type in ("Plane", "Modality")}
        modality = {"X-Ray": "X-ray"}.get(rows[0].modality, rows[0].modality)
        facts = _Facts(
            modality,
            SLAKE_PLACES[places[path.parent.name]],
            plane=next((said for name, said in _PLANES.items() if any(name in a for a in answers)), ""),
            weighting=next((name for name in ("T1", "T2") if name.lower() in answers), ""),
            organs=tuple(sorted({n.lower() for n in names if n not in DISEASES})),
            findings=tuple(sorted(DISEASES[n] for n in names if n in DISEASES)),
        )
        if modality == "X-ray":
            facts.plane = ""
        rng = random.Random(f"{seed}/{path.parent.name}")  # noqa: S311
        pictures.append(Picture(path, "slake", modality, facts.region, facts.sentences(rng)))
    return pictures


def _slake_places(file: Path) -> dict[str, str]:
    rows = json.loads(file.read_text(encoding="utf-8"))
    return {row["img_name"].partition("/")[0]: row["location"] for row in rows}


def vqa_rad_pictures(folder: Path, split: str, seed: int = 1) -> list[Picture]:
    """VQA-RAD images; the region is given, modality and findings are read from questions and answers."""
    by_image: dict[Path, list[VqaRow]] = defaultdict(list)
    for row in vqa_rad_rows(folder, split):
        by_image[row.image_path].append(row)
    pictures = []
    for path, rows in sorted(by_image.items()):
        modality = _rad_modality(rows)
        findings = {
            re.sub(r"^(the|a|an) ", "", row.answer.lower().rstrip("."))
            for row in rows
            if not row.closed and "ABN" in row.content_type and 1 <= len(row.answer.split()) <= 6
        }
        facts = _Facts(modality, RAD_PLACES[rows[0].modality], findings=tuple(sorted(findings)))
        rng = random.Random(f"{seed}/{path.name}")  # noqa: S311
        pictures.append(Picture(path, "vqa-rad", modality, facts.region, facts.sentences(rng)))
    return pictures


def _rad_modality(rows: list[VqaRow]) -> str:
    """The one modality that answers on it, or questions that presuppose it, name; "" where they do not agree."""
    votes: set[str] = set()
    for row in rows:
        if "MODALITY" in row.content_type:
            text = row.answer if not row.closed else row.question if row.answer.lower() == "yes" else ""
        else:
            text = row.question
        named = named_modalities(text) & {"CT", "MRI", "X-ray"}
        if len(named) == 1:
            votes |= named
    return votes.pop() if len(votes) == 1 else ""


def _plain(*forms: str) -> Callable[[dict, dict], list[str]]:
    return lambda row, labels: [form.format(**labels) for form in forms]


_LUNG_CT = {
    "malignant": "showing lung cancer",
    "benign": "showing a benign lung nodule",
    "normal": "without abnormality",
}
_SETS: dict[str, tuple[str, str, Callable[[dict, dict], list[str]]]] = {
    "brain-tumour-mri": (
        "MRI",
        "brain",
        _plain(
            "Contrast-enhanced T1-weighted MRI of the brain showing a {class}.",
            "MR image of the brain with {class}.",
            "Magnetic resonance imaging of the head.",
        ),
    ),
    "iq-oth-nccd-ct": (
        "CT",
        "chest",
        lambda row, labels: [
            f"Axial chest CT {_LUNG_CT[labels['class']]}.",
            f"CT scan of the thorax {_LUNG_CT[labels['class']]}.",
            "Computed tomography of the lungs, axial view.",
        ],
    ),
    "hannover-covid-cxr": (
        "X-ray",
        "chest",
        _plain("Chest X-ray of a patient with COVID-19.", "Chest radiograph showing COVID-19 pneumonia."),
    ),
    "kermany-chest-xray": (
        "X-ray",
        "chest",
        lambda row, labels: (
            ["Normal chest radiograph of a child.", "Chest X-ray of a child without abnormality."]
            if labels["class"] == "normal"
            else [f"Chest X-ray of a child with {labels['class']}.", f"Chest radiograph showing {labels['class']}."]
        ),
    ),
    "knee-oa-xray": (
        "X-ray",
        "knee",
        lambda row, labels: [
            f"Anteroposterior radiograph of the {labels['side']} knee.",
            "X-ray of the knee joint."
            if labels["grade_name"] == "none"
            else f"Knee radiograph showing {labels['grade_name']} osteoarthritis.",
        ],
    ),
    "isic-2017": (
        "dermoscopy",
        "skin",
        lambda row, labels: [
            "Dermoscopic image of a pigmented skin lesion.",
            "Dermoscopy of a melanoma." if labels.get("melanoma") == "1.0" else "Dermoscopy of a benign nevus.",
        ],
    ),
    "bccd": (
        "blood smear",
        "blood",
        _plain("Stained blood smear under the light microscope.", "Blood film showing red and white blood cells."),
    ),
    "chula-rbc": (
        "blood smear",
        "blood",
        _plain("Peripheral blood smear showing red blood cells.", "Blood film with erythrocytes, light microscopy."),
    ),
    "pbc-blood-cells": (
        "blood smear",
        "blood",
        _plain("Giemsa-stained blood smear showing a {cell}.", "Light microscopy of a {cell} in peripheral blood."),
    ),
    "grays-anatomy": (
        "diagram",
        "",
        lambda row, labels: [f"Anatomical drawing: {row['title_from_file_name']}.", "Anatomical illustration."],
    ),
    "openstax": ("", "", lambda row, labels: [text for text in _first_sentences(row) if text]),
}
_LUNG_CT = {
    "malignant": "showing lung cancer",
    "benign": "showing a benign lung nodule",
    "normal": "without abnormality",
}


def _first_sentences(row: dict) -> list[str]:
    return [re.split(r"(?<=[.!?]) ", str(row.get(key) or "").strip())[0][:200] for key in ("caption", "alt", "title")]


def labelled_pictures(folder: Path, held_out: bool) -> list[Picture]:
    """Images of one of the other labelled sets, in a fixed shuffled order."""
    modality, region, describe = _SETS[folder.name]
    with (folder / "rows.jsonl").open(encoding="utf-8") as lines:
        rows = {row["file"]: row for row in map(json.loads, lines)}
    chosen: list[LabelledImage] = [image for image in labelled_images(folder) if image.held_out == held_out]
    random.Random(folder.name).shuffle(chosen)  # noqa: S311
    pictures = []
    for image in chosen:
        said = describe(rows[str(image.path.relative_to(folder))], image.labels)
        if said:
            pictures.append(Picture(image.path, folder.name, modality, region, tuple(said)))
    return pictures


def described_pictures(data: Path, split: str, per_set: int = 80, openstax: int = 300) -> list[Picture]:
    """Training pictures (`split="train"`) or held-out ones (`"validate"`) of every set under `data`."""
    pictures = slake_pictures(data / "slake", split) + vqa_rad_pictures(data / "vqa-rad", split)
    for name in _SETS:
        if (data / name / "rows.jsonl").exists():
            limit = openstax if name == "openstax" else per_set
            pictures += labelled_pictures(data / name, held_out=split == "validate")[:limit]
    return pictures
