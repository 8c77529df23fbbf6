"""How well burned-in text is found: names drawn on films, and what is found on the films as they are.

python -m assistant.uploads_measure FOLDER [FOLDER ...] --images 20
python -m assistant.uploads_measure FOLDER --font DejaVuSans.ttf --names "Иванова Мария"
"""

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from assistant.uploads import CleanImage, UploadError, UploadLimits, clean_upload, rewritten
from assistant.uploads_privacy import Box, black_out, inspect, names_nobody
from assistant.uploads_text import find_text, reader_version

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
NAMES = ("DOE^JANE", "Smith, John", "MÜLLER ANNA 12.03.1954", "ID 4471928", "García López M.", "Dr. P. Nguyen")
HEIGHTS = (8, 10, 12, 16, 24)
# Letters of the film's own mean grey plus this much: 200 is white on black, 60 is faint.
CONTRASTS = (200, 100, 60)
COVERED = 0.95


def films(folder: Path, count: int, seed: int = 7) -> list[CleanImage]:
    """At most `count` images of a folder, chosen at random; what cannot be read is left out."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    random.Random(seed).shuffle(files)  # noqa: S311
    return [image for path in files[:count] if (image := _read(path))]


def _read(path: Path) -> CleanImage | None:
    try:
        return clean_upload(path.read_bytes(), path.name, UploadLimits())
    except UploadError:
        return None


def with_name(
    film: CleanImage, name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, contrast: int, turned: bool
) -> tuple[CleanImage, np.ndarray]:
    """The film with a name in a corner, and which pixels (bool, rows x columns) are its ink."""
    left, top, right, bottom = font.getbbox(name)
    ink = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(ink).text((1 - left, 1 - top), name, fill=255, font=font)
    if turned:
        ink = ink.transpose(Image.Transpose.ROTATE_90)
    page = Image.new("L", (film.width, film.height))
    page.paste(ink, (6, 6))
    around = np.asarray(film.image.convert("L"))[: ink.height + 6, : ink.width + 6].mean()
    level = int(around + contrast if around + contrast <= 255 else max(0, around - contrast))
    pixels = film.image.copy()
    pixels.paste((level,) * 3, (0, 0), page)
    return rewritten(film, pixels, "a name drawn"), np.asarray(page) > 96


def covered(ink: np.ndarray, boxes: Sequence[Box]) -> float:
    """The share of ink that lies under boxes."""
    under = np.zeros_like(ink)
    for left, top, right, bottom in boxes:
        under[top:bottom, left:right] = True
    return float((ink & under).sum() / max(1, ink.sum()))


def drawn_names(
    images: Sequence[CleanImage], names: Sequence[str], font_file: str | None
) -> Iterator[tuple[str, float]]:
    """How much of each name would be blacked out, by how it was drawn."""
    cases = [(height, contrast, False) for height in HEIGHTS for contrast in CONTRASTS] + [(16, 200, True)]
    for number, film in enumerate(images):
        for at, (height, contrast, turned) in enumerate(cases):
            font = ImageFont.truetype(font_file, height) if font_file else ImageFont.load_default(height)
            image, ink = with_name(film, names[(number + at) % len(names)], font, contrast, turned)
            boxes = inspect(image).places
            yield f"{height} px, contrast {contrast}{', turned' if turned else ''}", covered(ink, boxes)


def measure(folders: Sequence[Path], count: int, names: Sequence[str], font_file: str | None) -> dict[str, object]:
    """Both tables as plain data."""
    found_on: dict[str, object] = {}
    drawn: dict[str, list[float]] = {}
    seconds = []
    for folder in folders:
        images = films(folder, count)
        read = {}
        for image in images:
            began = time.perf_counter()
            places = find_text(image.image)
            seconds.append(time.perf_counter() - began)
            read[image.sha256] = [place.text for place in places]
        texts = [text for found in read.values() for text in found if text is not None]
        held = [text for text in texts if not names_nobody(text)]
        empty = [image for image in images if not inspect(image).places]
        found_on[str(folder.name)] = {
            "images": len(images),
            "held_up": len(images) - len(empty),
            "texts_read": len(texts),
            "texts_that_name_nobody": len(texts) - len(held),
        }
        for kind, share in drawn_names(empty[: max(1, count // 4)], names, font_file):
            drawn.setdefault(kind, []).append(share)
    return {
        "reader": reader_version(),
        "films": found_on,
        "drawn": {
            kind: {
                "names": len(shares),
                "found": round(float(np.mean([share > 0 for share in shares])), 3),
                "covered": round(float(np.mean([share >= COVERED for share in shares])), 3),
            }
            for kind, shares in drawn.items()
        },
        "seconds_an_image": {"median": round(float(np.median(seconds)), 2), "most": round(max(seconds), 2)},
        "blacked_out_leaves_nothing": _leaves_nothing(folders),
    }


def _leaves_nothing(folders: Sequence[Path]) -> bool:
    """Whether nothing is found any more once what was found is blacked out, on one film of each folder."""
    font = ImageFont.load_default(16)
    marked = [with_name(film, NAMES[0], font, 200, False)[0] for folder in folders for film in films(folder, 1)]
    return not any(inspect(black_out(image, inspect(image).places)).places for image in marked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=20, help="of each folder")
    parser.add_argument("--names", nargs="+", default=NAMES)
    parser.add_argument("--font", default=None, help="a TrueType file; Pillow's own knows Latin letters only")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    told = json.dumps(measure(options.folders, options.images, options.names, options.font), indent=2)
    if options.out:
        options.out.write_text(told + "\n", encoding="utf-8")
    print(told)


if __name__ == "__main__":
    main()
