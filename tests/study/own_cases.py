"""A teacher's ZIP, as tests need it."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def make_zip(folder: Path, rows: list[dict[str, str]], names: tuple[str, ...] = ("a.png", "b.png", "c.png")) -> Path:
    sheet = io.StringIO()
    columns = ["case_id", "image", "question", "answer", "options", "explanation", "side", "boxes", "source", "licence"]
    writer = csv.DictWriter(sheet, columns)
    writer.writeheader()
    writer.writerows(rows)
    path = folder / "lecture.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cases.csv", sheet.getvalue())
        for at, name in enumerate(names):
            data = io.BytesIO()
            Image.fromarray(np.random.default_rng(at).integers(0, 255, (40, 40), dtype=np.uint8)).save(data, "PNG")
            archive.writestr(f"images/{name}", data.getvalue())
    return path


def case(number: int, **values: str) -> dict[str, str]:
    base = {
        "case_id": f"c{number}", "image": f"{'abc'[number]}.png", "question": "What is it?", "answer": "pneumonia",
        "options": "pneumonia|effusion|fracture", "explanation": "Because.", "source": "mine", "licence": "CC BY 4.0",
    }  # fmt: skip
    return {**base, **values}
