"""Two benchmarks over all image sets at once: the modality, and whether a chest film is normal.

modality_rows(Path("../shared/data"), "held-out")
chest_film_rows(Path("../shared/data"), "held-out")

The folder holds the sets side by side, each in its own layout; those that are not there are left out. `held-out` is
what no training stage reads: one patient in seven of the labelled sets, SLAKE's validation images, and all of
covid-chestxray. `train` is the rest, whose answers the question-only baseline may know. Sets without a modality for
each image (VQA-RAD, OpenStax) are not asked about.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from serving.evaluation.benchmarks import BenchmarkError, VqaRow, slake_rows
from serving.evaluation.label_questions import MODALITIES, MODALITY_QUESTION
from serving.evaluation.labelled_images import (
    COVID_CHESTXRAY,
    LabelledImage,
    covid_chestxray_images,
    labelled_images,
)

HELD_OUT, TRAIN = "held-out", "train"
HEALTHY = "Does the lung look healthy?"
"""SLAKE's own words; Yes is a normal film."""
NOT_TOLD = {"", "todo", "Unknown"}
_X_RAY = "X-Ray"
# What SLAKE asks of a chest film as a whole; the value is the answer of a normal one.
_SLAKE_ASKS = {
    "Is this image normal?": "yes",
    "Is the lung healthy?": "yes",
    "Is the lung normal appearing?": "yes",
    HEALTHY: "yes",
    "Are there abnormalities in this image?": "no",
    "Does this image look abnormal?": "no",
    "Does the patient have any abnormalities?": "no",
    "Is the lung abnormal?": "no",
    "Does the lung look abnormal?": "no",
    "Does the lung look unhealthy?": "no",
}


def modality_rows(data: Path, split: str) -> list[VqaRow]:
    """One question about each image: by what it was taken.

    Raises:
        BenchmarkError: `split` is neither part, a set is in another layout, or `data` holds none of them.
    """
    rows = [
        _row(image, MODALITY_QUESTION, MODALITIES[image.dataset], closed=False, modality=MODALITIES[image.dataset])
        for image in _labelled(data, split, MODALITIES)
    ]
    rows += [
        _row(image, MODALITY_QUESTION, _X_RAY, closed=False, modality=_X_RAY)
        for image in _covid_chestxray(data, split)
        if image.modality.lower() == "x-ray"
    ]
    first = {row.image_path: row for row in reversed(_slake(data, split))}
    rows += [_slake_row(row, MODALITY_QUESTION, row.modality, closed=False) for row in first.values()]
    return _some(rows, data)


def chest_film_rows(data: Path, split: str) -> list[VqaRow]:
    """One question about each chest film that somebody called normal or abnormal: does the lung look healthy?

    Kermany's children; of SLAKE the films that its own questions call so; covid-chestxray by its finding. Hannover's
    patients all have COVID-19, which does not say that every film shows it: they are not asked about.

    Raises:
        BenchmarkError: as `modality_rows`.
    """
    rows = [
        _film(image, image.labels["class"] == "normal") for image in _labelled(data, split, ("kermany-chest-xray",))
    ]
    rows += [
        _film(image, image.labels["finding"] == "No Finding")
        for image in _covid_chestxray(data, split)
        if image.modality.lower() == "x-ray" and image.labels["finding"] not in NOT_TOLD
    ]
    called: dict[Path, VqaRow] = {}
    for row in _slake(data, split):
        asked = _SLAKE_ASKS.get(row.question)
        if row.modality == _X_RAY and asked and row.answer.lower() in ("yes", "no"):
            normal = row.answer.lower() == asked
            called.setdefault(row.image_path, _slake_row(row, HEALTHY, _yes(normal), closed=True))
    return _some([*rows, *called.values()], data)


def _labelled(data: Path, split: str, names: Iterable[str]) -> Iterator[LabelledImage]:
    if split not in (HELD_OUT, TRAIN):
        raise BenchmarkError(f"The image sets have the splits {HELD_OUT} and {TRAIN}, not {split!r}.")
    for name in names:
        if (data / name).is_dir():
            yield from (image for image in labelled_images(data / name) if image.held_out == (split == HELD_OUT))


def _covid_chestxray(data: Path, split: str) -> list[LabelledImage]:
    folder = data / COVID_CHESTXRAY
    return covid_chestxray_images(folder) if split == HELD_OUT and folder.is_dir() else []


def _slake(data: Path, split: str) -> list[VqaRow]:
    folder = data / "slake"
    return slake_rows(folder, "validate" if split == HELD_OUT else "train") if folder.is_dir() else []


def _some(rows: list[VqaRow], data: Path) -> list[VqaRow]:
    if not rows:
        raise BenchmarkError(f"{data} holds none of the image sets: name the folder that they lie in side by side.")
    return rows


def _film(image: LabelledImage, normal: bool) -> VqaRow:
    return _row(image, HEALTHY, _yes(normal), closed=True, modality=_X_RAY)


def _row(image: LabelledImage, question: str, answer: str, *, closed: bool, modality: str) -> VqaRow:
    return VqaRow(
        question_id=f"{image.dataset}/{image.path.stem}",
        dataset=image.dataset,
        image_path=image.path,
        question=question,
        answer=answer,
        closed=closed,
        content_type="",
        modality=modality,
    )


def _slake_row(row: VqaRow, question: str, answer: str, *, closed: bool) -> VqaRow:
    return VqaRow(
        # An image has a folder of its own in SLAKE, with one name in all of them.
        question_id=f"slake/{row.image_path.parent.name}",
        dataset="slake",
        image_path=row.image_path,
        question=question,
        answer=answer,
        closed=closed,
        content_type="",
        modality=row.modality,
    )


def _yes(fact: bool) -> str:
    return "Yes" if fact else "No"
