"""PMC-OA (Lin et al., PMC-CLIP, MICCAI 2023): 1.6 million sub-figures of PMC articles with their captions.

Layout, as in the Hub's `axiong/pmc_oa`: `pmc_oa.jsonl` (or `pmc_oa_beta.jsonl`), one object a line with `image`
("PMC212319_Fig3_4.jpg": article, figure, panel) and `caption`; pictures, where they are, in `images/` or in the folder
`caption_T060_filtered_top4_sep_v0_subfigures` that images.zip holds. Licences: see `retrieval.corpora.pmc`.

    report = CorpusReport()
    figures = list(read_pmc_oa(Path("pmc_oa"), ["CC BY"], report))
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from retrieval.corpora.pmc import PMC_FILE, UNLISTED, captioned_figure, listed_articles, named_articles
from retrieval.corpora.reading import CorpusReport, ImageFolder, admitted, json_rows
from retrieval.errors import CorpusError
from retrieval.figures import Figure

_IN_ZIP = "caption_T060_filtered_top4_sep_v0_subfigures"
PLACES = ("", "images", _IN_ZIP, f"images/{_IN_ZIP}")


def read_pmc_oa(
    path: Path, licences: Collection[str] | None = None, report: CorpusReport | None = None
) -> Iterator[Figure]:
    """Figures in the order of the files; rows that cannot be used are counted in `report`.

    Args:
        path: the folder, or one .jsonl file in it.
        licences: see `retrieval.corpora.reading.admitted`; None takes the open ones.

    Raises:
        CorpusError: there is no .jsonl, or `licences` names none.
    """
    report = report if report is not None else CorpusReport()
    return admitted(_figures(path, report), licences, report)


def _figures(path: Path, report: CorpusReport) -> Iterator[Figure]:
    files = _files(path)
    folder = files[0].parent
    images = ImageFolder(folder, PLACES)
    articles = listed_articles(folder, named_articles(files), report)
    for file in files:
        for where, row in json_rows(file, report):
            report.rows += 1
            name, caption = row.get("image", ""), row.get("caption", "")
            named = PMC_FILE.fullmatch(Path(name).name)
            if named is None:
                report.skip("no PMCID in the image's name", where)
                continue
            article = articles.get(named[1], UNLISTED)
            if article.retracted:
                report.skip("retracted article", named[1])
                continue
            yield captioned_figure(named, caption, article, "pmc-oa", images.find(name))


def _files(path: Path) -> list[Path]:
    """`pmc_oa.jsonl` before the coarser beta file of the same figures; else all .jsonl files, such as older splits."""
    if path.is_file():
        return [path]
    for name in ("pmc_oa.jsonl", "pmc_oa_beta.jsonl"):
        if (path / name).is_file():
            return [path / name]
    files = sorted(path.glob("*.jsonl"))
    if not files:
        raise CorpusError(f"{path} holds no pmc_oa.jsonl: give the folder of PMC-OA.")
    return files
