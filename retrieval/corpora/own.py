"""A teacher's own images: a folder, or a ZIP of one, with a table that says what each image shows.

The table is `*.csv` (commas, semicolons or tabs; UTF-8) or `*.jsonl`, beside the images or above them. Columns, in any
order and in upper or lower case; others are left alone:

| column        | also called              | |
|---------------|--------------------------|--------------------------------------------------------------------|
| `image`       | file, filename, path     | needed: the image's path, relative to the table, or its name       |
| `caption`     | text, legend             | needed: what the image shows, up to 20,000 characters              |
| `licence`     | license                  | "CC BY 4.0", "CC0", an address of creativecommons.org; else unknown |
| `label`       |                          | a short name, such as "Figure 3"                                   |
| `description` | alt                      | a longer text, searched with the caption                           |
| `modality`    |                          | such as CT; without it, read from the caption                      |
| `region`      |                          | such as chest; without it, read from the caption                   |
| `findings`    |                          | separated by semicolons                                            |
| `year`        | date                     | the first year named in it                                         |
| `url`         | source, link             | a page about the image                                             |

Images are JPEG, PNG, WebP, TIFF, BMP or GIF. A figure's id is made of the image's content, so a corrected caption
takes the place of the old one.

    report = preview(Path("lecture.zip"))       # nothing is stored
    report.rows, report.figures, report.skipped, report.examples
"""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from retrieval.concepts import first_modality, first_region
from retrieval.corpora.archives import open_folder
from retrieval.corpora.licences import normalise_licence
from retrieval.corpora.pmc import year_in
from retrieval.corpora.reading import (
    IMAGE_SUFFIXES,
    CorpusReport,
    ImageFolder,
    Row,
    admitted,
    image_fault,
    json_rows,
    lines,
    table,
)
from retrieval.errors import CorpusError
from retrieval.figures import Figure

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
PREVIEWED = 1000
"""Rejected rows of one reason that a preview names."""

_COLUMNS = {
    "image": ("image", "file", "filename", "path"),
    "caption": ("caption", "text", "legend"),
    "licence": ("licence", "license"),
    "label": ("label",),
    "description": ("description", "alt"),
    "modality": ("modality",),
    "region": ("region",),
    "findings": ("findings",),
    "year": ("year", "date"),
    "url": ("url", "source", "link"),
}


def preview(path: Path) -> CorpusReport:
    """What reading a folder or ZIP would give: `report.figures`, and every rejected row with its reason.

    Raises:
        CorpusError: there is nothing to read, or the ZIP is damaged or unsafe (see `retrieval.corpora.archives`).
    """
    report = CorpusReport(kept=PREVIEWED)
    with TemporaryDirectory() as temporary:
        for _ in read_own(open_folder(path, Path(temporary)), None, report):
            pass
    return report


def read_own(
    path: Path, licences: Collection[str] | None = None, report: CorpusReport | None = None
) -> Iterator[Figure]:
    """Figures in the order of the tables; images and rows that cannot be used are counted in `report`.

    Args:
        path: the folder, a ZIP already unpacked.
        licences: see `retrieval.corpora.reading.admitted`; None takes all, stated or not: the images are the reader's.

    Raises:
        CorpusError: the folder holds no table, a table lacks `image` or `caption`, or `licences` names none.
    """
    report = report if report is not None else CorpusReport()
    return admitted(_figures(path, report), licences, report, default=None)


def _figures(path: Path, report: CorpusReport) -> Iterator[Figure]:
    files = [file for file in sorted(path.rglob("*")) if not file.name.startswith(".") and _is_inside(file, path)]
    tables = [file for file in files if file.suffix.lower() in TABLE_SUFFIXES]
    if not tables:
        raise CorpusError("There is no table among the files: add a .csv with the columns image and caption.")
    named: set[str] = set()
    taken: set[str] = set()
    for file in tables:
        images = ImageFolder(path, (str(file.parent.relative_to(path)), ""))
        for where, row in _rows(file, report):
            report.rows += 1
            # A browser that sends a folder sends its files without the folders that they lay in.
            image = images.find(row["image"]) or images.find(PurePosixPath(row["image"].replace("\\", "/")).name) or ""
            fault = _fault(row, image) or ("image that another row describes" if image in taken else "")
            named.add(image)
            if fault:
                report.skip(fault, f"{where}: {row['image']}")
            else:
                taken.add(image)
                yield _figure(row, Path(image))
    for file in files:
        if file.suffix.lower() in IMAGE_SUFFIXES and str(file.resolve()) not in named:
            report.rows += 1
            report.skip("image that no row of a table names", str(file.relative_to(path)))


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether it is a file, and not a link to one elsewhere."""
    return file.is_file() and file.resolve().is_relative_to(folder.resolve())


def _fault(row: dict[str, str], image: str) -> str:
    """Why a row gives no figure, in a teacher's words, or ""."""
    if not row["image"]:
        return "no image named"
    if not image:
        return "image not found in the folder"
    if not row["caption"]:
        return "no caption"
    if "\ufffd" in row["caption"]:
        return "caption with letters that are not UTF-8 (save the table as CSV UTF-8)"
    return image_fault(Path(image), decode=True)


def _figure(row: dict[str, str], image: Path) -> Figure:
    with image.open("rb") as file:
        key = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    caption = row["caption"]
    return Figure(
        figure_id=f"own/{key}",
        pmcid="",
        graphic=key,
        label=row["label"][:200],
        caption=caption,
        license=normalise_licence(row["licence"]),
        article_url=row["url"] if row["url"].startswith(("https://", "http://")) else "",
        source="own",
        image_path=str(image),
        modality=first_modality(row["modality"]) or first_modality(caption),
        region=first_region(row["region"]) or first_region(caption),
        findings=tuple(part for finding in row["findings"].split(";") if (part := finding.strip())),
        year=year_in(row["year"]),
        description=row["description"],
    )


def _rows(file: Path, report: CorpusReport) -> Iterator[Row]:
    """Rows with our own names of the columns, "" where a row has no such cell."""
    if file.suffix.lower() == ".jsonl":
        rows = json_rows(file, report)
    else:
        header = next(lines(file, CorpusReport()), "")
        rows = table(file, report, (_COLUMNS["image"], _COLUMNS["caption"]), max(",;\t", key=header.count))
    for where, row in rows:
        yield where, {ours: next(filter(None, map(row.get, names)), "") for ours, names in _COLUMNS.items()}
