"""ROCOv2 (Rückert et al., Scientific Data 2024): 79,789 radiological figures of PMC articles with UMLS concepts.

Layout, as in doi:10.5281/zenodo.10821435: `{train,valid,test}_captions.csv` (ID, Caption), `*_concepts.csv` and
`*_concepts_manual.csv` (ID, CUIs separated by semicolons), `cui_mapping.csv` (CUI, Canonical name),
`license_information.csv` (ID, PMCID, Attribution, Link; "CC BY [Muacevic et al. (2022)]"), and pictures
`{split}_images.zip`, unpacked as `{split}/`, `{split}_images/` or `{split}_images/{split}/`.

    figures = list(read_rocov2(Path("rocov2"), ["CC BY", "CC BY-NC"], report))
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from retrieval.concepts import first_modality, first_region
from retrieval.corpora.licences import normalise_licence
from retrieval.corpora.pmc import year_in
from retrieval.corpora.reading import CorpusReport, ImageFolder, admitted, table
from retrieval.errors import CorpusError
from retrieval.figures import Figure, article_url

SPLITS = ("train", "valid", "test")

_PMCID = re.compile(r"PMC\d{1,12}")


def read_rocov2(
    path: Path, licences: Collection[str] | None = None, report: CorpusReport | None = None
) -> Iterator[Figure]:
    """Figures in the order of the files; rows that cannot be used are counted in `report`.

    Concepts that people assigned give the modality and the region; the others, by name, the findings.

    Raises:
        CorpusError: no captions under `path`, no licences, a column is missing, or `licences` names none.
    """
    report = report if report is not None else CorpusReport()
    return admitted(_figures(path, report), licences, report)


def _figures(path: Path, report: CorpusReport) -> Iterator[Figure]:
    splits = [split for split in SPLITS if (path / f"{split}_captions.csv").is_file()]
    if not splits:
        raise CorpusError(f"{path} holds no train_captions.csv, valid_captions.csv or test_captions.csv of ROCOv2.")
    licences = _licences(path, report)
    names = {row["cui"]: row["canonical name"] for row in _rows(path, "cui_mapping", ["cui", "canonical name"], report)}
    for split in splits:
        images = ImageFolder(path, (split, f"{split}_images", f"{split}_images/{split}"))
        manual = _concepts(path, f"{split}_concepts_manual", names, report)
        automatic = _concepts(path, f"{split}_concepts", names, report)
        for where, row in table(path / f"{split}_captions.csv", report, ["id", "caption"]):
            report.rows += 1
            key, caption = row["id"], row["caption"]
            if key not in licences:
                report.skip("no licence row", where)
                continue
            pmcid, licence, year = licences[key]
            if not pmcid:
                report.skip("no PMCID", where)
                continue
            said, found = manual.get(key, ()), automatic.get(key, ())
            yield Figure(
                figure_id=f"{pmcid}/{key}",
                pmcid=pmcid,
                graphic=key,
                label="",
                caption=caption,
                license=licence,
                article_url=article_url(pmcid),
                source="rocov2",
                image_path=images.find(f"{key}.jpg", f"{key}.png"),
                modality=first_modality(" ".join(said)) or first_modality(caption),
                region=first_region(" ".join(said)) or first_region(caption),
                findings=tuple(name for name in found if name not in said and not first_modality(name)),
                year=year,
            )


def _licences(path: Path, report: CorpusReport) -> dict[str, tuple[str, str, int | None]]:
    """PMCID, licence and year by id."""
    file = path / "license_information.csv"
    if not file.is_file():
        raise CorpusError(f"{file} is missing: it holds the licence of every figure of ROCOv2.")
    licences = {}
    for _, row in table(file, report, ["id", "attribution"]):
        pmcid = _PMCID.search(row.get("pmcid", "")) or _PMCID.search(row.get("link", ""))
        attribution = row["attribution"]
        licences[row["id"]] = (
            pmcid[0] if pmcid else "",
            # The authors' names in brackets are no part of the licence.
            normalise_licence(attribution.partition("[")[0]),
            year_in(attribution),
        )
    return licences


def _concepts(path: Path, name: str, names: dict[str, str], report: CorpusReport) -> dict[str, tuple[str, ...]]:
    return {
        row["id"]: tuple(names[cui] for part in row["cuis"].split(";") if (cui := part.strip()) in names)
        for row in _rows(path, name, ["id", "cuis"], report)
    }


def _rows(path: Path, name: str, needed: list[str], report: CorpusReport) -> Iterator[dict[str, str]]:
    """Rows of a table that may be missing: a copy without concepts has captions all the same."""
    if (path / f"{name}.csv").is_file():
        for _, row in table(path / f"{name}.csv", report, needed):
            yield row
