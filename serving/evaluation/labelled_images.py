"""Image sets that come with labels in place of questions, and which of their images are held out.

images = labelled_images(Path("../shared/data/kermany-chest-xray"))
[image for image in images if image.held_out]

Held out is decided by the hash of the patient (or of the block of neighbouring slices where no patient is known), so
that every training stage and every evaluation agrees on it.
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.evaluation.benchmarks import BenchmarkError

HELD_OUT = 7
"""One group in seven is held out."""
COVID_CHESTXRAY = "covid-chestxray"


@dataclass(frozen=True)
class LabelledImage:
    """One image of a labelled set; `group` is what must not be split between train and test."""

    path: Path
    dataset: str
    group: str
    modality: str
    labels: dict

    @property
    def held_out(self) -> bool:
        key = f"{self.dataset}/{self.group}"
        return int(hashlib.sha256(key.encode()).hexdigest(), 16) % HELD_OUT == 0


def _number_block(size: int) -> Callable[[dict], str]:
    return lambda row: str(int(re.findall(r"\d+", Path(row["file"]).stem)[-1]) // size)


def _file(row: dict) -> str:
    return Path(row["file"]).stem


GROUPS: dict[str, Callable[[dict], str]] = {
    # Neighbouring slices come from one patient and no patient id is given.
    "brain-tumour-mri": _number_block(25),
    "iq-oth-nccd-ct": _number_block(25),
    "hannover-covid-cxr": lambda row: row["labels"]["patient_id"],
    # All of NORMAL2-IM-… are one group, which is not held out: by another rule, images that the shipped tower was
    # trained on would count as unseen.
    "kermany-chest-xray": lambda row: "-".join(re.split(r"[_-]", _file(row))[:2]),
    "knee-oa-xray": lambda row: _file(row).rstrip("LR"),
    "isic-2017": _file,
    "pbc-blood-cells": _file,
    "bccd": _file,
    "chula-rbc": _file,
    "openstax": _file,
    "grays-anatomy": _file,
}


def labelled_images(folder: Path) -> list[LabelledImage]:
    """Images of one set laid out as `rows.jsonl` beside `images/`.

    Raises:
        BenchmarkError: the file is missing or in another layout.
    """
    group = GROUPS[folder.name]
    path = folder / "rows.jsonl"
    try:
        with path.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        return [
            LabelledImage(folder / row["file"], folder.name, group(row), row.get("modality", ""), row.get("labels", {}))
            for row in rows
        ]
    except FileNotFoundError:
        raise BenchmarkError(f"{path} is missing.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} is not the list of a labelled image set: {error!r}") from error


def covid_chestxray_images(folder: Path) -> list[LabelledImage]:
    """The openly licensed images of Cohen et al. (2020): `metadata.csv` beside its folders; no stage trains on them.

    Raises:
        BenchmarkError: the table is missing or in another layout.
    """
    path = folder / "metadata.csv"
    try:
        # Names of places hold a few damaged characters.
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            return [
                LabelledImage(
                    folder / row["folder"] / row["filename"],
                    COVID_CHESTXRAY,
                    row["patientid"],
                    row["modality"],
                    {"finding": row["finding"]},
                )
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        raise BenchmarkError(f"{path} is missing.") from None
    except (KeyError, TypeError, csv.Error) as error:
        raise BenchmarkError(f"{path} is not the table of {COVID_CHESTXRAY}: {error!r}") from error
