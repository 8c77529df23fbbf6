"""What the readers of PMC figures share: PMC's file names, and PMC's own lists of licences.

PMC-OA and PMC-VQA name no licences. PMC's lists do: `oa_file_list.csv`, `oa_comm_use_file_list.csv` or the newer
`*.filelist.csv` from https://ftp.ncbi.nlm.nih.gov/pub/pmc/, put into the corpus's folder. Their columns (spaces do not
count): Accession ID, License, Article Citation, and in newer ones Retracted.

    articles = listed_articles(Path("pmc_oa"), {"PMC212319"}, report)
    articles.get("PMC212319", UNLISTED)      # Article(licence="CC BY", year=2003, retracted=False)
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from retrieval.concepts import first_modality, first_region
from retrieval.corpora.licences import UNKNOWN, normalise_licence
from retrieval.corpora.reading import CorpusReport, table
from retrieval.figures import Figure, article_url, graphic_name

PMC_FILE = re.compile(r"(PMC\d{1,12})_(.+)")
_ANY_PMCID = re.compile(rb"PMC\d{1,12}")
_YEAR = re.compile(r"\b(?:18|19|20)\d\d\b")


@dataclass(frozen=True, slots=True)
class Article:
    licence: str
    year: int | None = None
    retracted: bool = False


UNLISTED = Article(UNKNOWN)


def captioned_figure(
    named: re.Match[str], caption: str, article: Article, source: str, image_path: str | None
) -> Figure:
    """The figure of a file that `PMC_FILE` matched; modality and region are those that the caption names."""
    pmcid, graphic = named[1], graphic_name(named[2])
    return Figure(
        figure_id=f"{pmcid}/{graphic}",
        pmcid=pmcid,
        graphic=graphic,
        label="",
        caption=caption,
        license=article.licence,
        article_url=article_url(pmcid),
        source=source,
        image_path=image_path,
        modality=first_modality(caption),
        region=first_region(caption),
        year=article.year,
    )


def named_articles(files: Collection[Path]) -> set[str]:
    """All PMCIDs that occur in the files, read in pieces: lists of millions of articles are cut down to these."""
    found: set[bytes] = set()
    for file in files:
        with file.open("rb") as stream:
            text = b""
            # The end of each piece is read again, since an id may go on in the next.
            while piece := stream.read(1 << 20):
                text = text[-16:] + piece
                found.update(_ANY_PMCID.findall(text))
    return {pmcid.decode() for pmcid in found}


def listed_articles(folder: Path, pmcids: Collection[str], report: CorpusReport) -> dict[str, Article]:
    """What PMC's lists in `folder` say about `pmcids`; without a list nothing is known."""
    articles: dict[str, Article] = {}
    same: dict[Article, Article] = {}
    for file in _lists(folder):
        for _, row in table(file, report):
            values = {name.replace(" ", ""): cell for name, cell in row.items()}
            pmcid = values.get("accessionid", "")
            if pmcid in pmcids:
                article = Article(
                    normalise_licence(values.get("license", "")),
                    year_in(values.get("articlecitation", "")),
                    values.get("retracted", "").lower() == "yes",
                )
                articles[pmcid] = same.setdefault(article, article)
    return articles


def _lists(folder: Path) -> Iterator[Path]:
    yield from sorted({*folder.glob("*file_list*.csv"), *folder.glob("*filelist*.csv")})


def year_in(text: str) -> int | None:
    """The first number in a text that can be a year of publication."""
    match = _YEAR.search(text)
    return int(match[0]) if match else None
