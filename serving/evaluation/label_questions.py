"""Questions and answers made from the labels of image sets that have none of their own.

SLAKE and VQA-RAD know CT, MRI and X-ray of six body parts. These rows tell the demo what else an
image may be (skin, blood smear, knee, drawing), in SLAKE's own wording so that one question means
the same everywhere.

    rows = label_rows(Path("../shared/data"), held_out=False)
"""

from collections.abc import Iterator
from pathlib import Path

from serving.evaluation.benchmarks import VqaRow
from serving.evaluation.labelled_images import GROUPS, LabelledImage, labelled_images

MODALITY_QUESTION = "What modality is used to take this image?"
MODALITIES = {
    "brain-tumour-mri": "MRI",
    "iq-oth-nccd-ct": "CT",
    "hannover-covid-cxr": "X-Ray",
    "kermany-chest-xray": "X-Ray",
    "knee-oa-xray": "X-Ray",
    "isic-2017": "Dermoscopy",
    "pbc-blood-cells": "Light microscopy",
    "bccd": "Light microscopy",
    "chula-rbc": "Light microscopy",
    "grays-anatomy": "Drawing",
}
BODY_PARTS = {
    "brain-tumour-mri": "Brain",
    "iq-oth-nccd-ct": "Chest",
    "hannover-covid-cxr": "Chest",
    "kermany-chest-xray": "Chest",
    "knee-oa-xray": "Knee",
    "isic-2017": "Skin",
    "pbc-blood-cells": "Blood",
    "bccd": "Blood",
    "chula-rbc": "Blood",
}
ASKED = {
    "MRI": "Is this an MRI image?",
    "CT": "Is this a CT image?",
    "X-Ray": "Is this an X-ray image?",
    "Dermoscopy": "Is this a photograph of skin?",
    "Light microscopy": "Is this a microscopy image?",
    "Drawing": "Is this a drawing?",
}
OSTEOARTHRITIS_FROM = 2
"""Kellgren-Lawrence grade from which a knee counts as osteoarthritic (Kellgren and Lawrence, 1957)."""


def _yes(fact: bool) -> str:
    return "Yes" if fact else "No"


def _findings(image: LabelledImage) -> Iterator[tuple[str, str, bool]]:
    """(question, answer, closed) of what a set's own labels say."""
    labels = image.labels
    match image.dataset:
        case "brain-tumour-mri":
            yield "What kind of tumor is shown?", labels["class"].capitalize(), False
        case "iq-oth-nccd-ct":
            yield "Does the lung look healthy?", _yes(labels["class"] == "normal"), True
            yield "Is there a malignant lesion in the lung?", _yes(labels["class"] == "malignant"), True
        case "kermany-chest-xray":
            normal = labels["class"] == "normal"
            yield "Does the lung look healthy?", _yes(normal), True
            yield "Is there pneumonia?", _yes(not normal), True
            yield "Is this a child's chest X-ray?", "Yes", True
        case "knee-oa-xray":
            osteoarthritis = labels["kellgren_lawrence_grade"] >= OSTEOARTHRITIS_FROM
            yield "Is there osteoarthritis in this knee?", _yes(osteoarthritis), True
        case "isic-2017":
            yield "Is this lesion a melanoma?", _yes(float(labels["melanoma"]) > 0), True
        case "pbc-blood-cells":
            yield "What kind of blood cell is shown?", labels["cell"].capitalize(), False
        case "bccd":
            yield "Is there a white blood cell?", _yes(labels.get("WBC", 0) > 0), True


def image_rows(image: LabelledImage) -> list[VqaRow]:
    """All questions of one labelled image; none where the set's modality is not in `MODALITIES`."""
    modality = MODALITIES.get(image.dataset)
    if modality is None:
        return []
    asked = [(MODALITY_QUESTION, modality, False)]
    asked += [(question, _yes(name == modality), True) for name, question in ASKED.items()]
    if part := BODY_PARTS.get(image.dataset):
        asked.append(("Which part of the body does this image belong to?", part, False))
    asked += _findings(image)
    return [
        VqaRow(
            question_id=f"{image.dataset}/{image.path.stem}/{number}",
            dataset=image.dataset,
            image_path=image.path,
            question=question,
            answer=answer,
            closed=closed,
            content_type="modality" if answer == modality else "label",
            modality=modality,
        )
        for number, (question, answer, closed) in enumerate(asked)
    ]


def label_rows(data: Path, held_out: bool) -> list[VqaRow]:
    """Rows of every labelled set that is there; held-out images (by patient where known) or the others."""
    return [
        row
        for name in GROUPS
        if (data / name / "rows.jsonl").exists()
        for image in labelled_images(data / name)
        if image.held_out == held_out
        for row in image_rows(image)
    ]
