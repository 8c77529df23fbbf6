"""SLAKE's validate images: modality, plane, weighting, marked organs and findings, sides, and what is not there.

The keys are SLAKE's gold; the stems are this project's, so that they can be balanced. The demo model learned from the
train split, so these images are its unseen ones.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from assistant.study.items import Box, Skill
from assistant.study.making import Question, opened
from assistant.study.packs import Pack

PACK = Pack(
    "slake",
    "SLAKE: CT, MRI and X-ray",
    licence="CC BY 4.0",
    source="SLAKE (Liu et al., ISBI 2021), validate images",
    note="No normal films among its X-rays: do not train on this alone.",
)
MODALITIES = {"CT": "CT", "MRI": "MRI", "X-Ray": "X-ray"}
REGIONS = {
    "Lung": "chest", "Chest_lung": "chest", "Chest_heart": "chest", "Chest_mediastinal": "chest",
    "Abdomen": "abdomen", "Brain": "brain", "Brain_Tissue": "brain", "Brain_Face": "brain", "Neck": "neck",
    "Pelvic Cavity": "pelvis",
}  # fmt: skip
FINDINGS = {
    "pneumothorax": "pneumothorax", "effusion": "pleural effusion", "pneumonia": "pneumonia",
    "atelectasis": "atelectasis", "cardiomegaly": "cardiomegaly", "nodule": "pulmonary nodule",
    "mass": "pulmonary mass", "infiltrate": "infiltration", "lung cancer": "lung cancer",
    "brain edema": "edema", "brain enhancing tumor": "enhancing tumor",
    "brain non-enhancing tumor": "non-enhancing tumor", "liver cancer": "liver cancer",
}  # fmt: skip
ORGANS = {"tooth": "teeth", "left parotid": "left parotid gland", "right parotid": "right parotid gland"}
_PLANE = re.compile(r"(?:scanning plane|plane is)", re.IGNORECASE)
_WEIGHTING = re.compile(r"mr weighting|type of MRI|T1 weighted or T2", re.IGNORECASE)
_PRESENCE = re.compile(
    r"Does the picture contain (?:the )?([a-z ]+?)\?|Can ([a-z ]+?) be observed in (?:the|this) picture\?"
)
_NORMAL = re.compile(
    r"(?:Is the|Does the|Does this|Is this) (lung|brain|liver|image)(?:\s(?:look|appear))?s? ?"
    r"(healthy|normal|abnormal|unhealthy)(?: appearing)?\?"
)
# A box nearer to the middle than this names no side.
_MIDDLE = 0.08
SPLIT = "validate.json"


def questions(folder: Path) -> Iterator[Question]:
    """Questions on every image of the validate split."""
    rows = [row for row in json.loads((folder / SPLIT).read_text(encoding="utf-8")) if row["q_lang"] == "en"]
    images: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        images.setdefault(row["img_name"], []).append(row)
    for name, asked in images.items():
        yield from _Case(folder, name, asked).questions()


class _Case:
    """One image with its gold."""

    def __init__(self, folder: Path, name: str, asked: list[dict[str, Any]]) -> None:
        path = folder / "imgs" / name
        self._asked, self._picture = asked, opened(path)
        self._id = name.partition("/")[0]
        self._modality = MODALITIES[asked[0]["modality"]]
        self._region = REGIONS.get(asked[0]["location"], "")
        with Image.open(path) as picture:
            self._size = picture.size
        self._boxes: dict[str, list[Box]] = {}
        for entry in json.loads((path.parent / "detection.json").read_text(encoding="utf-8")):
            for label, (x, y, wide, high) in entry.items():
                width, height = self._size
                box = (x / width, y / height, wide / width, high / height)
                self._boxes.setdefault(label.strip().lower(), []).append(box)

    def _question(self, tag: str, stem: str, key: str, concept: str, **values: Any) -> Question:
        skill = Skill(f"{self._modality.lower()}/{self._region}/{concept}", self._modality, self._region, concept)
        return Question(self._id, tag, stem, key, self._picture, skill, **values)

    def questions(self) -> Iterator[Question]:
        yield self._question("modality", "Which kind of image is this?", self._modality, "modality", kind="text",
                             vocabulary="modality")  # fmt: skip
        yield from self._technique()
        yield from self._presence()
        findings = {FINDINGS[label]: boxes for label, boxes in self._boxes.items() if label in FINDINGS}
        for finding, boxes in findings.items():
            yield from self._finding(finding, boxes)
        for label, boxes in self._boxes.items():
            if label not in FINDINGS and len(boxes) == 1:
                organ = ORGANS.get(label, label)
                yield self._question(f"organ-{organ.replace(' ', '-')}", "Which organ or part is marked?", organ,
                                     f"organ/{organ}", kind="text", vocabulary="organ", mark=boxes[0],
                                     boxes=(boxes[0],))  # fmt: skip

    def _technique(self) -> Iterator[Question]:
        told = {row["content_type"]: row for row in self._asked if _PLANE.search(row["question"])}
        if plane := told.get("Plane"):
            key = {"transverse": "axial", "coronal": "coronal"}.get(plane["answer"].split()[0].lower())
            if key:
                yield self._question("plane", "In which plane is this image?", key, "plane", vocabulary="plane")
        weighting = next((row["answer"] for row in self._asked if _WEIGHTING.search(row["question"])), "")
        if weighting in ("T1", "T2"):
            yield self._question("weighting", "Is this image T1- or T2-weighted?", weighting, "weighting")

    def _presence(self) -> Iterator[Question]:
        """Gold's own yes and no: an organ or a finding that is there or not, an organ that is healthy or not."""
        said: dict[str, tuple[str, bool]] = {}
        for row in self._asked:
            if (match := _PRESENCE.fullmatch(row["question"])) and row["answer"] in ("Yes", "No"):
                thing = (match[1] or match[2]).replace("brian", "brain").strip()
                said[f"Can you see the {thing} here?" if match[1] else f"Is there {thing} here?"] = (
                    row["answer"], row["answer"] == "No",
                )  # fmt: skip
            elif (match := _NORMAL.fullmatch(row["question"])) and row["answer"] in ("Yes", "No"):
                is_normal = (row["answer"] == "Yes") == (match[2] in ("healthy", "normal"))
                thing = "image" if match[1] == "image" else match[1]
                said[f"Is the {thing} abnormal?"] = ("No" if is_normal else "Yes", is_normal)
        for stem, (key, is_negative) in said.items():
            concept = stem.split(" the ")[-1].split(" here")[0].replace("Is there ", "").rstrip("?")
            yield self._question(
                f"is-{concept.replace(' ', '-')}", stem, key, f"presence/{concept}", is_negative=is_negative
            )

    def _finding(self, finding: str, boxes: list[Box]) -> Iterator[Question]:
        vocabulary = {"brain": "brain finding", "chest": "chest finding"}.get(self._region, "abdominal finding")
        largest = max(boxes, key=lambda box: box[2] * box[3])
        side = self._side(largest)
        tag = finding.replace(" ", "-")
        facts = (f"{side} {finding}",) if side and len(boxes) == 1 else ()
        stem = f"What is marked on this {self._modality} of the {self._region}?"
        yield self._question(f"marked-{tag}", stem, finding, finding, kind="text", vocabulary=vocabulary, mark=largest,
                             boxes=(largest,), facts=facts)  # fmt: skip
        if side and len(boxes) == 1:
            yield self._question(f"side-{tag}", "On which side of the patient is the marked region?", side,
                                 "side", mark=largest, boxes=(largest,), facts=facts)  # fmt: skip
        if self._region == "chest" and finding != "cardiomegaly":
            yield self._question(f"place-{tag}", f"Click on the {finding}.", "", finding, kind="place",
                                 boxes=tuple(boxes), facts=facts)  # fmt: skip

    def _side(self, box: Box) -> str:
        """The patient's side: the image's right is the patient's left, on frontal and axial images alike."""
        middle = box[0] + box[2] / 2
        if self._region not in ("chest", "brain") or box[0] < 0.5 - _MIDDLE / 4 < 0.5 + _MIDDLE / 4 < box[0] + box[2]:
            return ""
        if abs(middle - 0.5) < _MIDDLE:
            return ""
        return "left" if middle > 0.5 else "right"
