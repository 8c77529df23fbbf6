"""ROCO (Pelka et al., LABELS/MICCAI 2018): captions of figures of PubMed Central articles.

Layout, as in github.com/razorx89/roco-dataset: `data/{train,validation,test}/{radiology,non-radiology}/` with
`captions.txt`, `dlinks.txt`, `keywords.txt` (tab-separated) and `licences.txt` (commas, a header), joined by ROCO id;
pictures, where the repository's script fetched them, in `images/` beside the captions.

    report = CorpusReport()
    figures = list(read_roco(Path("../shared/data/roco-captions"), report=report))
    folder = download_roco(Path("data/downloads/roco"))
"""

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pooch

from retrieval.concepts import first_modality, first_region
from retrieval.corpora.licences import normalise_licence
from retrieval.corpora.pmc import PMC_FILE
from retrieval.corpora.reading import CorpusReport, ImageFolder, admitted, lines, tidy
from retrieval.errors import CorpusError, DownloadError
from retrieval.figures import Figure, article_url, graphic_name

COMMIT = "a1f0ad6c578ca8801e5a6eccc90af051aee1c326"
BASE_URL = f"https://raw.githubusercontent.com/razorx89/roco-dataset/{COMMIT}/data/"
PINNED = {
    # train/radiology is not among them: its files exceed what could be checked against the commit.
    "test/non-radiology/captions.txt": "00558fde13ed76677127d14dace4d92f060a5b804fcb70257a600e6278aed84a",
    "test/non-radiology/dlinks.txt": "692835c96a7a41d791e0f3e9abb424ad4656556e0c7fcefc5794b3156f4e70e3",
    "test/non-radiology/keywords.txt": "f348ec1a1d5ce39fc688c833040ffdb3f5b945d9aaee83039ee0476686aad02e",
    "test/non-radiology/licences.txt": "cda234d52fcb32aa13f5d1873fb7cee09d807947ff64dbc2bb308b0efe4bf77c",
    "test/radiology/captions.txt": "f69b73e3daac45b89e285ba8028207c96baf0a3a22ebe90d7a0480458690225a",
    "test/radiology/dlinks.txt": "492ca4c4399b8a8792860016e0864bf42bcbbb89edb7b1aa59e077df822f1ce7",
    "test/radiology/keywords.txt": "0553ee33f28d2e8241449a600bf7bbf5f40ba2cae63c17fb501928459bbfcecb",
    "test/radiology/licences.txt": "992f037378fd7107e12c673f2d06898d852bb5c77b2d927fc336d187d2282421",
    "train/non-radiology/captions.txt": "d7017d2fb6ec51f938f5f175426482b65837699e53c8f0e0f420e70879fd81cf",
    "train/non-radiology/dlinks.txt": "2b4f7fb20d8f7115f85ab41ab5ef47045966726687d29cba8c116dabd0793422",
    "train/non-radiology/keywords.txt": "1ff79aef589acad4109d55d478df3181ad07eaceab87955907719171febf1246",
    "train/non-radiology/licences.txt": "beae97734a7301b982cff30308054f55c402858af8dab97385d3532da910884b",
    "validation/non-radiology/captions.txt": "8792c4df76ee90dfa017e47659ee7bfb23308f6eeeb6c4450698a6cbee3cce89",
    "validation/non-radiology/dlinks.txt": "d8952643927d3578900f2fb54bcb63b1c838e1d3cf6d90ecd446fa0141dea9e3",
    "validation/non-radiology/keywords.txt": "7efec918cb0b0687893cedb161cf53e559aab83b00e71b3f45445a093f03e7f1",
    "validation/non-radiology/licences.txt": "1bc124f41df4a3c17dbe8096e926fa3903b6824ad98614b169e16e74a992abfd",
    "validation/radiology/captions.txt": "da83324afa6add202456aba69fde8b0640a3991bc70cbd9e02e4077e792d572c",
    "validation/radiology/dlinks.txt": "ba1bc746ee89e78f146efd853595aabe3e4ecf05cdff417c20b2556291bff9e1",
    "validation/radiology/keywords.txt": "3094c0c05c98f03a9550ba0e3252d2f4d9b7160e50cc9bb597018cc0708008f3",
    "validation/radiology/licences.txt": "15190c2a86c204f99e8bc5800d680c8cbf8967213507642678c01fb35130299a",
}

_PMC_PACKAGE = re.compile(r"(PMC\d+)\.tar\.gz")


def roco_folders(path: Path) -> list[Path]:
    """The folders with captions under `path`, which may be one of them, the `data` folder or the repository.

    Raises:
        CorpusError: there is none.
    """
    folders = sorted({file.parent for file in path.glob("**/captions.txt")}) if path.is_dir() else []
    if not folders:
        raise CorpusError(f"{path} holds no captions.txt: give the folder `data` of the ROCO repository.")
    return folders


def read_roco(
    path: Path, licences: Collection[str] | None = None, report: CorpusReport | None = None
) -> Iterator[Figure]:
    """Figures in the order of the files; rows that cannot be used are counted in `report`.

    Args:
        licences: see `retrieval.corpora.reading.admitted`; None takes the open ones.

    Raises:
        CorpusError: no captions under `path`, a folder lacks its licences or links, or `licences` names none.
    """
    report = report if report is not None else CorpusReport()
    figures = (figure for folder in roco_folders(path) for figure in _read_folder(folder, report))
    return admitted(figures, licences, report)


def _read_folder(folder: Path, report: CorpusReport) -> Iterator[Figure]:
    licences = _table(folder / "licences.txt", ",", 3, report)
    links = _table(folder / "dlinks.txt", "\t", 3, report)
    keywords = {line.split("\t", 1)[0]: line for line in _lines(folder / "keywords.txt", report, needed=False)}
    images = ImageFolder(folder, ("images",))
    for line in _lines(folder / "captions.txt", report):
        report.rows += 1
        roco_id, tab, caption = line.partition("\t")
        caption = tidy(caption)
        if not tab or not roco_id.startswith("ROCO_"):
            report.skip("caption row without id", line)
        elif roco_id not in licences:
            report.skip("no licence row", roco_id)
        elif roco_id not in links:
            report.skip("no link row", roco_id)
        else:
            named = PMC_FILE.fullmatch(licences[roco_id][0])
            package = _PMC_PACKAGE.search(links[roco_id][0])
            if named is None or package is None or named[1] != package[1]:
                report.skip("no PMCID that both files agree on", roco_id)
                continue
            pmcid, graphic = named[1], graphic_name(links[roco_id][1] or named[2])
            words = keywords.get(roco_id, "")
            yield Figure(
                figure_id=f"{pmcid}/{graphic}",
                pmcid=pmcid,
                graphic=graphic,
                label="",
                caption=caption,
                license=normalise_licence(licences[roco_id][1]),
                article_url=article_url(pmcid),
                source="roco",
                image_path=images.find(f"{roco_id}.jpg"),
                modality=first_modality(caption) or first_modality(words),
                region=first_region(caption) or first_region(words),
            )


def _lines(file: Path, report: CorpusReport, needed: bool = True) -> Iterator[str]:
    if file.exists():
        yield from (stripped for line in lines(file, report) if (stripped := line.strip("\r\n")))
    elif needed:
        raise CorpusError(f"{file} is missing: ROCO's folders hold captions.txt, licences.txt and dlinks.txt.")


def _table(file: Path, separator: str, columns: int, report: CorpusReport) -> dict[str, tuple[str, ...]]:
    rows = {}
    for line in _lines(file, report):
        key, *values = line.split(separator)
        if key == "ROCO_ID":
            continue
        if len(values) != columns - 1:
            report.skip(f"{file.name}: row without {columns} columns", line)
            continue
        rows[key] = tuple(value.strip() for value in values)
    return rows


def download_roco(folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Fetch the pinned files (about 12 MB) into `folder`; files that are there and whole are kept.

    Raises:
        DownloadError: no network, or a file is not the pinned one.
    """
    store = pooch.create(path=folder, base_url=BASE_URL, registry={name: f"sha256:{h}" for name, h in PINNED.items()})
    pooch.get_logger().setLevel("ERROR")
    for done, name in enumerate(PINNED):
        if progress:
            progress(done, len(PINNED))
        try:
            store.fetch(name, downloader=pooch.HTTPDownloader(timeout=20))
        except ValueError as error:
            raise DownloadError(f"{BASE_URL}{name} is not the file that was pinned: {error}") from error
        except OSError as error:
            raise DownloadError(
                f"ROCO could not be downloaded from {BASE_URL} ({type(error).__name__}); "
                "without network, give a copy of its `data` folder with --path."
            ) from error
    if progress:
        progress(len(PINNED), len(PINNED))
    return folder
