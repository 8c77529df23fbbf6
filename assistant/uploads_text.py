"""Text that is burned into an image's pixels, found on this machine: RapidOCR, whose models come inside its package.

for place in find_text(image):
    print(place.box, place.text)
"""

import threading
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from assistant.upload_limits import UploadError

PACKAGE = "rapidocr"
DETECTOR = "PP-OCRv6_det_small.onnx"
RECOGNISER = "PP-OCRv6_rec_small.onnx"
# The detector's time grows with the pixels; letters of a film are still read at this size.
LONGEST_SIDE = 1280
# Reading a page of text takes half a minute; what is full of text needs no reading to be held up.
MOST_READ = 60
# Faint and small letters are read with little certainty, and a name must not be missed.
LEAST_SCORE = 0.3
FIX = "Run `make setup`, which installs it."

# One image at a time on one core: beside the model's own work, more would make every turn slower.
_ONE_AT_A_TIME = threading.Lock()


class _TooMuchTextError(Exception):
    """More places than are read."""


class TextReaderMissingError(UploadError):
    """The image could not be looked through for text."""

    code = "text_not_checked"


@dataclass(frozen=True)
class TextPlace:
    """`box` is left, top, right, bottom in pixels of the image, right and bottom outside of it; `score` is 0..1.
    `text` is None where there was too much to be read: one box is around all of it then.

    The text may name a person: it is for deciding on this machine, is in no `repr`, and belongs in no log or answer.
    """

    box: tuple[int, int, int, int]
    text: str | None = field(repr=False)
    score: float


def find_text(image: Image.Image) -> list[TextPlace]:
    """Every place with text that can be read, single letters as well, from top to bottom.

    Blocks for 0.3 to 1.5 s of one core: call it off the event loop. Raises TextReaderMissingError.
    """
    pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
    with _ONE_AT_A_TIME:
        reader = _reader()
        try:
            found = reader(pixels, use_rec=True, use_cls=False)
        except _TooMuchTextError:
            boxes = reader(pixels, use_rec=False, use_cls=False).boxes
            return [TextPlace(_box(boxes.reshape(-1, 2), image.size), None, 0.0)]
    if getattr(found, "boxes", None) is None or getattr(found, "txts", None) is None:
        return []
    places = [
        TextPlace(_box(corners, image.size), text, float(score))
        for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
    ]
    return sorted(places, key=lambda place: (place.box[1], place.box[0]))


def reader_version() -> str:
    """Which reader would be used.

    Raises TextReaderMissingError with what is missing and the fix.
    """
    _models()
    return f"{PACKAGE} {version(PACKAGE)}"


def _models() -> tuple[Path, Path]:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise TextReaderMissingError(f"The package {PACKAGE}, which finds text in images, is not installed. {FIX}")
    try:
        version(PACKAGE)
    except PackageNotFoundError as error:
        raise TextReaderMissingError(f"The package {PACKAGE} is installed in part only. {FIX}") from error
    folder = Path(spec.origin).parent / "models"
    files = folder / DETECTOR, folder / RECOGNISER
    # The package would fetch a missing one from the internet.
    if missing := [file.name for file in files if not file.is_file()]:
        raise TextReaderMissingError(f"The package {PACKAGE} came without its model {missing[0]}. {FIX}")
    return files


@cache
def _reader() -> Any:
    detector, recogniser = _models()
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise TextReaderMissingError(
            f"{PACKAGE}, which finds text in images, does not start ({error}). {FIX}"
        ) from error

    class Reader(RapidOCR):
        def recognize_txt(self, img: list[np.ndarray]) -> Any:
            if len(img) > MOST_READ:
                raise _TooMuchTextError
            return super().recognize_txt(img)

    return Reader(
        params={
            "Global.log_level": "critical",
            "Global.max_side_len": LONGEST_SIDE,
            "Global.text_score": LEAST_SCORE,
            "Det.model_path": str(detector),
            "Rec.model_path": str(recogniser),
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _box(corners: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The upright box around four corners, with a margin: letters reach a little over what the detector draws."""
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    margin = 2 + 0.2 * min(right - left, bottom - top)
    width, height = size
    return (
        max(0, int(left - margin)),
        max(0, int(top - margin)),
        min(width, int(np.ceil(right + margin))),
        min(height, int(np.ceil(bottom + margin))),
    )
