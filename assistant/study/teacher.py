"""A teacher's own cases: a ZIP with `cases.csv` and images to a pack, and a report by row before it is published.

    read = read_zip(Path("lecture.zip"), "lecture"); read.report; publish(shelf, read)

Columns: case_id, image, question, answer, source, licence; and, where wanted, options (with |), explanation, side,
boxes (x,y,w,h in pixels, with |), skill, features (with |: what tells the picture from its look-alikes). The archive
is untrusted: sizes are limited, and only pixels are kept.
"""

import csv
import io
import re
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from assistant.study import blind, lint
from assistant.study.errors import PackError
from assistant.study.items import Box, Gold, Item, Skill
from assistant.study.packs import Pack, PackWriter, Shelf
from assistant.uploads import UploadError, UploadLimits, clean_upload

SHEET = "cases.csv"
NEEDED = ("case_id", "image", "question", "answer", "source", "licence")
MAX_ROWS = 2_000
MAX_SHEET_BYTES = 5 * 1024 * 1024
MAX_TOTAL_BYTES = 500 * 1024 * 1024
_CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_BURNED_IN = re.compile(r"\b(?:name|patient|born|dob|mrn|geb\.?)\b", re.IGNORECASE)


@dataclass(frozen=True)
class RowReport:
    """What is wrong with row `row` (2 is the first below the header); errors keep it out of the pack."""

    row: int
    case_id: str
    kind: str
    words: str
    fix: str
    is_error: bool


@dataclass
class Read:
    """A read archive: items that can be published, pictures by case, and the report."""

    name: str
    title: str
    items: list[Item] = field(default_factory=list)
    pictures: dict[str, Image.Image] = field(default_factory=dict)
    report: list[RowReport] = field(default_factory=list)
    blind: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: int = 0

    @property
    def errors(self) -> list[RowReport]:
        return [one for one in self.report if one.is_error]

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "items": len(self.items),
            "report": [vars(one) for one in self.report],
            "blind": self.blind,
        }


def read_zip(path: Path, name: str, title: str = "", limits: UploadLimits | None = None) -> Read:
    """Read and check an archive; nothing is written.

    Raises PackError where it is no ZIP with a `cases.csv` of the form, or too large.
    """
    limits = limits or UploadLimits()
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_TOTAL_BYTES:
                raise PackError(f"The archive unpacks to more than {MAX_TOTAL_BYTES // 1024 // 1024} MB.")
            return _Reader(archive, Read(name, title or name), limits).read()
    except zipfile.BadZipFile as error:
        raise PackError("This file is not a ZIP archive.") from error


class _Reader:
    def __init__(self, archive: zipfile.ZipFile, read: Read, limits: UploadLimits) -> None:
        self._archive, self._read, self._limits = archive, read, limits
        self._entries = {_base(entry.filename): entry for entry in archive.infolist() if not entry.is_dir()}
        self._digests: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def read(self) -> Read:
        sheet = self._entries.get(SHEET)
        if sheet is None or sheet.file_size > MAX_SHEET_BYTES:
            raise PackError(f"The archive needs a {SHEET} with the columns {', '.join(NEEDED)}.")
        text = self._archive.read(sheet).decode("utf-8-sig", errors="replace")
        rows = csv.DictReader(io.StringIO(text), dialect=_dialect(text))
        missing = [column for column in NEEDED if column not in (rows.fieldnames or [])]
        if missing:
            raise PackError(f"{SHEET} has no column {', '.join(missing)}. It needs {', '.join(NEEDED)}.")
        for number, row in enumerate(rows, 2):
            if number > MAX_ROWS + 1:
                raise PackError(f"{SHEET} has more than {MAX_ROWS:,} rows.")
            self._read.rows += 1
            self._row(
                number,
                {key: (value or "").strip() for key, value in row.items() if isinstance(value, str | None) and key},
            )
        for flaw in lint.check(self._read.items):
            self._tell(
                self._numbers[flaw.item_id], flaw.item_id.split("/")[1], flaw.kind, flaw.words, flaw.fix, flaw.is_error
            )
        bad = {one.case_id for one in self._read.errors}
        self._read.items = [item for item in self._read.items if item.item_id.split("/")[1] not in bad]
        self._read.blind = blind.check(self._read.items)
        self._read.report.sort(key=lambda one: (one.row, not one.is_error))
        return self._read

    def _tell(self, row: int, case_id: str, kind: str, words: str, fix: str, is_error: bool = True) -> None:
        self._read.report.append(RowReport(row, case_id, kind, words, fix, is_error))

    def _row(self, number: int, row: dict[str, str]) -> None:
        case_id = row["case_id"]
        if not _CASE_ID.fullmatch(case_id):
            self._tell(number, case_id, "case_id", "It has to be letters, digits, . _ -", "Give a short id of its own.")
            return
        if case_id in self._read.pictures:
            self._tell(number, case_id, "same id", "Another row has this case_id.", "Give each row its own.")
            return
        for column in ("source", "licence"):
            if not row[column]:
                self._tell(
                    number, case_id, f"no {column}", f"The column {column} is empty.", "Say where the image is from."
                )
        picture = self._picture(number, case_id, row["image"])
        if picture is None:
            return
        boxes = self._boxes(number, case_id, row.get("boxes", ""), picture)
        options = _parts(row, "options")
        side = row.get("side", "").lower()
        answer = row["answer"]
        key = f"{side} {answer}" if side in ("left", "right") and not options else answer
        concept = row.get("skill") or answer.lower()
        item = Item(
            item_id=f"{self._read.name}/{case_id}/{'option' if options else 'text' if answer else 'place'}",
            pack=self._read.name,
            version="",
            kind="option" if options else "text" if answer else "place",
            skill=Skill(f"{self._read.name}/{concept}", "", "", concept),
            images=("",),
            case="",
            stem=row["question"],
            gold=Gold(key, (), boxes, (f"{side} {answer}",) if side and options else (), _parts(row, "features")),
            options=options,
            is_negative=answer.lower() in ("no", "none", "normal", "no finding"),
            explanation=row.get("explanation", ""),
            source=row["source"],
            licence=row["licence"],
        )
        self._read.pictures[case_id] = picture
        self._numbers[item.item_id] = number
        self._read.items.append(item)

    def _picture(self, number: int, case_id: str, name: str) -> Image.Image | None:
        entry = self._entries.get(_base(name))
        if not name or entry is None:
            self._tell(number, case_id, "missing image", f"{name or 'The image'} is not in the archive.", "Add it.")
            return None
        if entry.file_size > self._limits.max_bytes:
            self._tell(number, case_id, "large image", f"{name} is too large.", "Export it smaller.")
            return None
        try:
            clean = clean_upload(self._archive.read(entry), name, self._limits)
        except (UploadError, zipfile.BadZipFile, RuntimeError) as error:
            self._tell(number, case_id, "image", f"{name}: {error}", "Export it again as PNG or JPEG.")
            return None
        if other := self._digests.get(clean.sha256):
            self._tell(number, case_id, "duplicate image", f"It is the image of {other} too.", "Leave one out.", False)
        self._digests.setdefault(clean.sha256, case_id)
        if _BURNED_IN.search(name):
            self._tell(number, case_id, "name in the file", "The file's name may name a patient.", "Rename it.", False)
        return clean.image

    def _boxes(self, number: int, case_id: str, text: str, picture: Image.Image) -> tuple[Box, ...]:
        boxes = []
        for part in filter(str.strip, text.split("|")):
            try:
                x, y, wide, high = (float(value) for value in part.replace(";", ",").split(","))
                if min(wide, high) <= 0 or min(x, y) < 0 or x + wide > picture.width or y + high > picture.height:
                    raise ValueError
            except ValueError:
                self._tell(
                    number,
                    case_id,
                    "boxes",
                    f"{part!r} is no box inside the image.",
                    "Give x,y,width,height in pixels.",
                )
                return ()
            boxes.append((x / picture.width, y / picture.height, wide / picture.width, high / picture.height))
        return tuple(boxes)


def publish(shelf: Shelf, read: Read) -> Pack:
    """Put the rows without errors on the shelf; an edited row keeps its id, so its history survives.

    Raises PackError where no row is left.
    """
    licences = sorted({item.licence for item in read.items})
    normal = sum(item.is_negative for item in read.items)
    note = "" if normal else "No normal images: do not train on this alone."
    pack = Pack(read.name, read.title, ", ".join(licences), "a teacher of this installation", note)
    writer = PackWriter(shelf.folder, pack)
    try:
        items = []
        for item in read.items:
            digest = writer.image(read.pictures[item.item_id.split("/")[1]])
            items.append(replace(item, images=(digest,), case=digest))
        return writer.finish(items, {"flaws": [vars(one) for one in read.report], "blind": read.blind})
    finally:
        writer.drop()


def _parts(row: dict[str, str], column: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in row.get(column, "").split("|") if part.strip())


def _base(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _dialect(text: str) -> type[csv.Dialect]:
    first = text.partition("\n")[0]
    return csv.excel if first.count(",") >= first.count(";") else _Semicolons


class _Semicolons(csv.excel):
    delimiter = ";"
