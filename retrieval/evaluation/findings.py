"""Which finding an image shows, by its labels, and which captions name it.

finding_pattern(("Pneumothorax", "Effusion")).search("Left pleural effusion.")      # a match
"""

import json
import re
from collections.abc import Collection
from pathlib import Path

_TUMOUR = r"tumou?r|glioma|glioblastoma|astrocytoma|meningioma|metasta|neoplas|\bmass\b"
_NAMES = {
    "Brain Edema": r"o?edema|swelling",
    "Brain Non-enhancing Tumor": _TUMOUR,
    "Brain Enhancing Tumor": _TUMOUR,
    "Liver Cancer": r"hepatocellular|\bHCC\b|hepatoma"
    r"|(?:liver|hepatic)\W+(?:\w+\W+){0,4}(?:cancer|tumou?r|mass|metasta|lesion)",
    "Lung Cancer": r"(?:lung|pulmonary|bronch\w+)\W+(?:\w+\W+){0,3}(?:cancer|carcinoma|tumou?r|mass)|adenocarcinoma",
    "Cardiomegaly": r"cardiomegaly|enlarged (?:heart|cardiac)|cardiac enlargement",
    "Atelectasis": r"atelecta",
    "Pneumonia": r"pneumonia|consolidation|infiltrat|opacit",
    "Mass": r"\bmass(?:es)?\b|tumou?r|cancer|carcinoma",
    "Nodule": r"nodul",
    "Effusion": r"effusion|hydrothorax|empyema",
    "Pneumothorax": r"pneumothora",
    "Infiltrate": r"infiltrat|opacit|consolidation|pneumonia",
    # Of brain-tumour-mri and kermany-chest-xray.
    "glioma": r"glioma|glioblastoma|astrocytoma|oligodendro",
    "meningioma": r"meningioma",
    "pituitary tumour": r"pituitar|sellar|adenoma",
    "bacterial pneumonia": r"pneumonia|consolidation|infiltrat|opacit",
    "viral pneumonia": r"pneumonia|consolidation|infiltrat|opacit|COVID",
}


def finding_pattern(findings: Collection[str]) -> re.Pattern[str] | None:
    """What matches a caption that names one of the findings; None where no known finding is among them."""
    known = [_NAMES[name] for name in sorted(findings) if name in _NAMES]
    return re.compile("|".join(f"(?:{pattern})" for pattern in known), re.IGNORECASE) if known else None


def slake_findings(image: Path) -> set[str]:
    """The names of the boxes of a SLAKE image; its organs are among them."""
    boxes = json.loads(image.with_name("detection.json").read_text(encoding="utf-8"))
    return {name for box in boxes for name in box}
