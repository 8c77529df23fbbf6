"""What all readers share: the report, lines and tables of bounded size, clean text, images that are safe to open.

Files of a corpus come from anywhere. A row that cannot be used is counted by reason and never ends the reading.

    report = CorpusReport()
    figures = list(admitted(raw_figures, {"CC BY"}, report))
    report.rows, report.figures, report.skipped, report.examples
"""

import csv
import json
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from retrieval.corpora.licences import OPEN_LICENCES, is_wanted, wanted_licences
from retrieval.errors import CorpusError
from retrieval.figures import Figure

MAX_LINE = 1 << 20
MAX_CAPTION = 20_000
MAX_PIXELS = 80_000_000
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")

Row = tuple[str, dict[str, str]]
"""Where a row stands ("figures.csv, line 3"), and its cells by column."""

# Control characters, halves of surrogate pairs (which no file can store) and marks that turn the direction of text.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]+")


class UnsafeInputError(CorpusError):
    """A file is built to do harm, or so that it could; `reason` says how and is the same for all files of a kind."""

    def __init__(self, file: Path, reason: str, member: str = "") -> None:
        super().__init__(f"{file.name} is refused: {reason}{f' ({member[:80]!r})' if member else ''}.")
        self.reason = reason


@dataclass
class CorpusReport:
    """Rows read, figures that came of them, and the other rows by reason, with the first `kept` of each named."""

    rows: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    figures: int = 0
    kept: int = 5

    def skip(self, reason: str, row: str) -> None:
        self.skipped[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < self.kept:
            examples.append(tidy(row[:200])[:80])


def admitted(
    figures: Iterable[Figure],
    licences: Collection[str] | None,
    report: CorpusReport,
    default: Collection[str] | None = OPEN_LICENCES,
) -> Iterator[Figure]:
    """The figures that have a caption, a wanted licence, an id not seen before and no image that must not be opened.

    Args:
        licences: names as a person writes them; None takes `default`, and a `default` of None takes all.

    Raises:
        CorpusError: `licences` names something that is no licence.
    """
    wanted = default if licences is None else wanted_licences(licences)
    seen: set[str] = set()
    for figure in figures:
        if not figure.caption:
            report.skip("no caption", figure.figure_id)
        elif len(figure.caption) > MAX_CAPTION:
            report.skip(f"caption of more than {MAX_CAPTION:,} characters", figure.figure_id)
        elif wanted is not None and not is_wanted(figure.license, wanted):
            report.skip(f"licence {figure.license}", figure.figure_id)
        elif figure.figure_id in seen:
            report.skip("figure given twice", figure.figure_id)
        elif figure.image_path and (fault := image_fault(Path(figure.image_path))):
            report.skip(fault, figure.figure_id)
        else:
            seen.add(figure.figure_id)
            report.figures += 1
            yield figure


def tidy(text: str) -> str:
    """One line of printable text, single spaces."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())


def lines(file: Path, report: CorpusReport) -> Iterator[str]:
    """Lines of a UTF-8 text with their ends; one with a NUL byte or of more than `MAX_LINE` bytes is counted instead.

    Bytes that are no UTF-8 become U+FFFD. A line is never held in memory beyond `MAX_LINE`.
    """
    with file.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_LINE + 1):
            number += 1
            fault = "NUL byte in a line" if b"\0" in line else ""
            while len(line) > MAX_LINE:
                fault = f"line of more than {MAX_LINE >> 20} MiB"
                if line.endswith(b"\n"):
                    break
                line = stream.readline(MAX_LINE + 1)
            if fault:
                report.rows += 1
                report.skip(fault, f"{file.name}, line {number}")
            else:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace")


def table(
    file: Path, report: CorpusReport, needed: Iterable[str | tuple[str, ...]] = (), delimiter: str = ","
) -> Iterator[Row]:
    """Rows of a table with a header; column names in lower case, cells tidied.

    Args:
        needed: columns that must be there, in lower case; of several names in a tuple one is enough.

    Raises:
        CorpusError: there is no header, or it lacks a needed column.
    """
    reader = csv.reader(lines(file, report), delimiter=delimiter, strict=True)
    try:
        header = [tidy(name).lower() for name in next(reader, [])]
    except csv.Error as error:
        raise CorpusError(f"{file.name} has no header: {error}.") from error
    for column in needed:
        names = (column,) if isinstance(column, str) else column
        if not set(names) & set(header):
            raise CorpusError(f"{file.name} has no column {names[0]!r}; its columns are {', '.join(header)[:200]!r}.")
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            report.rows += 1
            report.skip(f"malformed row ({error})", f"{file.name}, line {reader.line_num}")
            continue
        where = f"{file.name}, line {reader.line_num}"
        if row is None:
            return
        if len(row) == len(header):
            yield where, {name: tidy(cell) for name, cell in zip(header, row, strict=True) if name}
        elif row:
            report.rows += 1
            report.skip("row with more or fewer cells than the header", where)


def json_rows(file: Path, report: CorpusReport) -> Iterator[Row]:
    """Rows of a .jsonl, one object a line; names in lower case, numbers as text, lists joined, the rest left out."""
    for number, line in enumerate(lines(file, report), 1):
        if not line.strip():
            continue
        where = f"{file.name}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield where, {name.lower(): _as_text(value) for name, value in row.items()}
        else:
            report.rows += 1
            report.skip("line that is no JSON object", where)


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(filter(None, map(_as_text, value)))
    return tidy(str(value)) if isinstance(value, str | int | float) else ""


class ImageFolder:
    """Finds images by name in `places` under a corpus's folder; what lies outside the folder is not found."""

    def __init__(self, root: Path, places: Sequence[str] = ("",)) -> None:
        self.root = root.resolve()
        self.places = [folder for place in places if (folder := self.root / place).is_dir()]

    def find(self, *names: str) -> str | None:
        """The absolute path of the first of `names` that is a file in one of the places, links followed, or None."""
        for place in self.places:
            for name in names:
                try:
                    file = (place / name.replace("\\", "/")).resolve()
                    if file.is_relative_to(self.root) and file.is_file():
                        return str(file)
                except (OSError, ValueError):
                    # The name is longer than a file's may be, or holds a NUL: there is no such file.
                    continue
        return None


def image_fault(file: Path, decode: bool = False) -> str:
    """Why an image must not be taken, or "". With `decode` its pixels are read, too, and not only its header."""
    if file.suffix.lower() in (".dcm", ".dicom"):
        return "DICOM image (export it as PNG)"
    with warnings.catch_warnings():
        # Our own limit takes the place of Pillow's warning.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=PILLOW_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    return f"image of more than {MAX_PIXELS // 1_000_000} megapixels"
                if decode:
                    image.load()
        except Image.DecompressionBombError:
            return f"image of more than {MAX_PIXELS // 1_000_000} megapixels"
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, OverflowError):
            return "image that cannot be read"
    return ""
