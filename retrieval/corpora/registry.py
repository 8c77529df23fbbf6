"""Every corpus by name, and one way to read any of them.

    for figure in read_corpus("own", Path("lecture.zip"), None, report, Path("data")): ...
    [(corpus.name, corpus.help) for corpus in CORPORA.values()]

A new corpus is one module with a reader and one line here.
"""

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from retrieval.corpora.archives import open_folder
from retrieval.corpora.image_sets import IMAGE_SETS, read_image_set
from retrieval.corpora.jats import read_jats
from retrieval.corpora.own import read_own
from retrieval.corpora.pmc_oa import read_pmc_oa
from retrieval.corpora.pmc_vqa import read_pmc_vqa
from retrieval.corpora.reading import CorpusReport, admitted
from retrieval.corpora.roco import download_roco, read_roco
from retrieval.corpora.rocov2 import read_rocov2
from retrieval.corpora.sample import SAMPLE, read_sample
from retrieval.errors import CorpusError
from retrieval.figures import Figure

Progress = Callable[[str, int, int], None]
"""Called as progress("download", done, total)."""

Reader = Callable[[Path, Collection[str] | None, CorpusReport], Iterator[Figure]]


@dataclass(frozen=True)
class Corpus:
    """A corpus: `help` says in a line what to give; `needs_path` is False where it comes along or is downloaded."""

    name: str
    title: str
    help: str
    needs_path: bool
    has_images: bool
    read: Reader


def _sample(path: Path, licences: Collection[str] | None, report: CorpusReport) -> Iterator[Figure]:
    def counted() -> Iterator[Figure]:
        for figure in read_sample(path):
            report.rows += 1
            yield figure

    return admitted(counted(), licences, report)


_PMC_LISTS = "put PMC's oa_file_list.csv beside them: it says which licences the articles have"

CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus("sample", "Sample", "the figures described in this repository", False, False, _sample),
        Corpus("roco", "ROCO", "ROCO's folder `data`; without it, downloaded", False, True, read_roco),
        Corpus("rocov2", "ROCOv2", "the folder with ROCOv2's .csv files and pictures", True, True, read_rocov2),
        Corpus("pmc-oa", "PMC-OA", f"pmc_oa.jsonl and its images; {_PMC_LISTS}", True, True, read_pmc_oa),
        Corpus("pmc-vqa", "PMC-VQA", f"PMC-VQA's .csv files and images; {_PMC_LISTS}", True, True, read_pmc_vqa),
        Corpus("jats", "JATS articles", "a folder of .nxml files or of PMC's .tar.gz packages", True, True, read_jats),
        Corpus("own", "Own images", "a folder or ZIP of images with a .csv that describes them", True, True, read_own),
        *(
            Corpus(one.name, one.title, one.help, True, True, partial(read_image_set, one))
            for one in IMAGE_SETS.values()
        ),
    )
}


def forget_unpacked(names: Collection[str], data_dir: Path) -> None:
    """Deletes what `read_corpus` unpacked of these corpora; what it read where it lies stays."""
    for name in names:
        # A name that is no corpus could lead anywhere.
        if name in CORPORA and (folder := _unpacked(name, data_dir)).is_dir():
            shutil.rmtree(folder)


def _unpacked(name: str, data_dir: Path) -> Path:
    return data_dir / "corpora" / name


def read_corpus(
    name: str,
    path: Path | None,
    licences: Collection[str] | None,
    report: CorpusReport,
    data_dir: Path,
    progress: Progress | None = None,
) -> Iterator[Figure]:
    """Figures of a corpus; rows that cannot be used are counted in `report`.

    A ZIP is unpacked under `data_dir/corpora/{name}`, where its pictures stay; packages of articles leave theirs there.

    Args:
        path: the corpus's folder or a ZIP of it; None where it comes along or can be downloaded.
        licences: see `retrieval.corpora.reading.admitted`; None takes the open ones, of own images all.

    Raises:
        CorpusError: there is no such corpus, its files are missing or not in its layout, or a licence is none.
        UnsafeInputError: an archive is built to do harm.
        DownloadError: no network, or a file is not the pinned one.
    """
    corpus = CORPORA.get(name)
    if corpus is None:
        raise CorpusError(f'There is no corpus "{name}"; there are {", ".join(CORPORA)}.')
    if path is None and corpus.needs_path:
        raise CorpusError(f"{corpus.title} needs a path: {corpus.help}.")
    if path is not None and not path.exists():
        raise CorpusError(f"{path} is not there.")
    unpacked = _unpacked(name, data_dir)
    if path is None:
        path = SAMPLE if name == "sample" else download_roco(data_dir / "downloads" / "roco", _download(progress))
    elif path.suffix.lower() == ".zip":
        path = open_folder(path, unpacked)
    if name == "jats":
        return read_jats(path, licences, report, unpacked)
    return corpus.read(path, licences, report)


def _download(progress: Progress | None) -> Callable[[int, int], None] | None:
    return partial(progress, "download") if progress else None
