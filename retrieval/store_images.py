"""The pictures of an index: opened safely, hashed by their looks, kept small.

image = open_picture(Path("figure.jpg"))
perceptual_hash(image)
Thumbnails(Path("data/index/thumbnails")).write("PMC1/g1", image)
"""

import hashlib
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy.fft import dctn

from retrieval.errors import PictureError

MAX_PIXELS = 64_000_000
WORKING_SIDE = 1024
"""Pixels of the longer side that are kept in memory: no embedder looks at more than 512."""
THUMBNAIL_SIDE = 320

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_HASHED_SIDE = 64
_HASH_SIDE = 16
_LEAST_CONTRAST = 2.0


def open_picture(path: Path) -> Image.Image:
    """The picture upright in RGB, its longer side at most `WORKING_SIDE`; transparent parts become white.

    Raises:
        PictureError: no image, a damaged one, or one of more than `MAX_PIXELS` pixels, which is not decoded.
    """
    try:
        with warnings.catch_warnings():
            # The limit here takes the place of Pillow's warning.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise PictureError(f"{path.name} has more than {MAX_PIXELS // 1_000_000} million pixels.")
                picture.draft("RGB", (WORKING_SIDE, WORKING_SIDE))
                image = _rgb(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError as error:
        raise PictureError(f"{path.name} has more than {MAX_PIXELS // 1_000_000} million pixels.") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, OverflowError) as error:
        raise PictureError(f"{path.name} is missing, damaged or no image.") from error
    image.thumbnail((WORKING_SIDE, WORKING_SIDE))
    return image


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, np.float32)
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        scaled = (np.nan_to_num(values, nan=low) - low) * (255 / max(high - low, 1e-6))
        return Image.fromarray(scaled.clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in picture.getbands() or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def perceptual_hash(image: Image.Image) -> str:
    """256 bits as hex, alike for pictures that look alike; "" for a picture without contrast.

    Which of the 16 x 16 lowest frequencies of the grey picture lie above their median (Zauner, "Implementation and
    Benchmarking of Perceptual Image Hash Functions", 2010), so that size, compression and brightness matter little.
    """
    grey = np.asarray(image.convert("L").resize((_HASHED_SIDE, _HASHED_SIDE), Image.Resampling.LANCZOS), np.float32)
    if grey.std() < _LEAST_CONTRAST:
        return ""
    low = dctn(grey, norm="ortho")[:_HASH_SIDE, :_HASH_SIDE].ravel()
    return np.packbits(low > np.median(low)).tobytes().hex()


class Thumbnails:
    """Small JPEGs by figure id, each named by the id's hash: an id is no safe file name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, figure_id: str) -> Path:
        name = hashlib.sha256(figure_id.encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name[2:]}.jpg"

    def find(self, figure_id: str) -> Path | None:
        path = self.path(figure_id)
        return path if path.is_file() else None

    def write(self, figure_id: str, image: Image.Image) -> None:
        """Without any metadata of the original, whole or not at all."""
        small = Image.new("RGB", image.size)
        small.paste(image)
        small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        path = self.path(figure_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        small.save(partial, "JPEG", quality=85)
        partial.replace(path)

    def keep_only(self, figure_ids: Iterable[str]) -> None:
        """Removes every other picture, and what a process that was killed left half written."""
        kept = {self.path(figure_id) for figure_id in figure_ids}
        for path in self.folder.glob("*/*"):
            if path not in kept:
                path.unlink()


def folder_size(folder: Path) -> int:
    """Bytes of all files below; files that go meanwhile count as nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.is_file():
                total += path.stat().st_size
    return total
