"""Image sets that come with real text for each image, read by one table of what their columns mean.

OpenStax: figures of three textbooks with captions and long descriptions. covid-chestxray: radiographs of publications
and teaching cases with clinical notes. Sets that have labels only are none of these: a label is no caption.

    figures = list(read_image_set(IMAGE_SETS["openstax"], Path("../shared/data/openstax"), report=report))
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from retrieval.concepts import first_modality, first_region
from retrieval.corpora.licences import normalise_licence
from retrieval.corpora.pmc import year_in
from retrieval.corpora.reading import CorpusReport, ImageFolder, admitted, json_rows, table
from retrieval.errors import CorpusError
from retrieval.figures import Figure


@dataclass(frozen=True)
class ImageSet:
    """Which column of `rows` (.jsonl or .csv) holds what; "" where the set has no such column.

    A `heading` goes before the caption, as the title of a caption does in articles. `images` is the folder that the
    file column is relative to.
    """

    name: str
    title: str
    help: str
    rows: str
    file: str
    caption: str
    licence: str
    url: str
    images: str = ""
    heading: str = ""
    description: str = ""
    modality: str = ""
    date: str = ""


IMAGE_SETS = {
    image_set.name: image_set
    for image_set in (
        ImageSet(
            name="openstax",
            title="OpenStax textbooks",
            help="figures of three OpenStax textbooks with captions and long descriptions (rows.jsonl and images/)",
            rows="rows.jsonl",
            file="file",
            caption="caption",
            licence="licence",
            url="url",
            heading="title",
            description="alt",
        ),
        ImageSet(
            name="covid-chestxray",
            title="covid-chestxray-dataset",
            help="chest radiographs of publications with clinical notes (metadata.csv and images_cc_by/)",
            rows="metadata.csv",
            file="filename",
            caption="clinical_notes",
            licence="license",
            url="url",
            images="images_cc_by",
            modality="modality",
            date="date",
        ),
    )
}


def read_image_set(
    image_set: ImageSet, path: Path, licences: Collection[str] | None = None, report: CorpusReport | None = None
) -> Iterator[Figure]:
    """Figures in the order of the rows; rows that cannot be used are counted in `report`.

    Args:
        licences: see `retrieval.corpora.reading.admitted`; None takes the open ones.

    Raises:
        CorpusError: the set's table is not under `path`, lacks a column, or `licences` names none.
    """
    report = report if report is not None else CorpusReport()
    return admitted(_figures(image_set, path, report), licences, report)


def _figures(image_set: ImageSet, path: Path, report: CorpusReport) -> Iterator[Figure]:
    file = path / image_set.rows
    if not file.is_file():
        raise CorpusError(f"{file} is missing: give the folder of {image_set.title}.")
    images = ImageFolder(path, (image_set.images,))
    needed = (image_set.file, image_set.caption, image_set.licence)
    for where, row in table(file, report, needed) if file.suffix == ".csv" else json_rows(file, report):
        report.rows += 1
        name, caption, licence, url = (
            row.get(column, "") for column in (image_set.file, image_set.caption, image_set.licence, image_set.url)
        )
        heading, description = row.get(image_set.heading, ""), row.get(image_set.description, "")
        if not name:
            report.skip("row without a file", where)
            continue
        if caption and heading:
            caption = f"{heading.rstrip('.')}. {caption}"
        key = Path(name).stem
        text = f"{caption} {description}"
        yield Figure(
            figure_id=f"{image_set.name}/{key}",
            pmcid="",
            graphic=key,
            label="",
            caption=caption,
            license=normalise_licence(licence),
            article_url=url if url.startswith(("https://", "http://")) else "",
            source=image_set.name,
            image_path=images.find(name),
            modality=first_modality(row.get(image_set.modality, "")) or first_modality(text),
            region=first_region(text),
            year=year_in(row.get(image_set.date, "")),
            description=description,
        )
