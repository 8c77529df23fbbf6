"""PMC-VQA (Zhang et al. 2023): figures of PMC articles with questions; only its captions are read here.

Layout, as in the Hub's `xmcmic/PMC-VQA`: `train.csv`, `test.csv`, `test_clean.csv` (version 1) or `train_2.csv`,
`test_2.csv` (version 2), with pictures in `images/`, `images_2/` or `figures/`. The columns decide, not the version:
`Figure_path` and `Caption` make a figure, and a file without captions gives none, since a question is no caption.
Licences: see `retrieval.corpora.pmc`; the Hub's copy has PMC's list beside the files.

    figures = list(read_pmc_vqa(Path("PMC-VQA"), ["CC BY"], report))
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from retrieval.corpora.pmc import PMC_FILE, UNLISTED, captioned_figure, listed_articles, named_articles
from retrieval.corpora.reading import CorpusReport, ImageFolder, admitted, table
from retrieval.errors import CorpusError
from retrieval.figures import Figure

PLACES = ("", "images", "images_2", "figures", "images_2/figures", "images/images", "images_2/images_2")


def read_pmc_vqa(
    path: Path, licences: Collection[str] | None = None, report: CorpusReport | None = None
) -> Iterator[Figure]:
    """Each captioned figure once, in the order of the files; other rows are counted in `report`.

    Args:
        path: the folder, or one .csv file in it.
        licences: see `retrieval.corpora.reading.admitted`; None takes the open ones.

    Raises:
        CorpusError: there is no such .csv, or `licences` names none.
    """
    report = report if report is not None else CorpusReport()
    return admitted(_figures(path, report), licences, report)


def _figures(path: Path, report: CorpusReport) -> Iterator[Figure]:
    files = [path] if path.is_file() else sorted([*path.glob("train*.csv"), *path.glob("test*.csv")])
    if not files:
        raise CorpusError(f"{path} holds no train*.csv and no test*.csv: give the folder of PMC-VQA.")
    folder = files[0].parent
    images = ImageFolder(folder, PLACES)
    articles = listed_articles(folder, named_articles(files), report)
    known: set[str] = set()
    for file in files:
        for where, row in table(file, report, ["figure_path"]):
            report.rows += 1
            named = PMC_FILE.fullmatch(Path(row["figure_path"]).name)
            if named is None:
                report.skip("no PMCID in the figure's name", where)
            elif "caption" not in row:
                report.skip(f"{file.name} has questions only, no column Caption", where)
            elif named[0] in known:
                report.skip("another question about the same figure", where)
            elif (article := articles.get(named[1], UNLISTED)).retracted:
                report.skip("retracted article", named[1])
            else:
                known.add(named[0])
                yield captioned_figure(named, row["caption"], article, "pmc-vqa", images.find(row["figure_path"]))
