"""Building the index: figures of a corpus, embedded in batches, into Parquet, then into Chroma.

    build_index("sample", Path("data"))
    build_index("roco", Path("data"), Path("../shared/data/roco-captions"))
    rebuild_index(Path("data"))

Each batch becomes one Parquet shard, written whole or not at all; a build that was killed embeds only what no
shard holds. Chroma is made from the shards at the end.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from retrieval.corpora.reading import CorpusReport
from retrieval.corpora.registry import read_corpus
from retrieval.embedders import DemoEmbedder, Embedder
from retrieval.errors import IndexMissingError
from retrieval.figures import Figure
from retrieval.store import BUILD_COMMAND, Store, digest

BATCH = 1024
STEP = 128
"""Figures embedded between two reports of progress."""

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total), stage one of "download", "embed", "index"."""


@dataclass(frozen=True)
class BuildReport:
    """What one build did; `skipped` counts rows of the corpus by reason ("licence CC BY-NC", "no caption", ...).

    `total` is the number of figures in the whole index; `examples` names the first few rows of each reason.
    """

    corpus: str
    added: int
    already_there: int
    total: int
    seconds: float
    skipped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)


def index_folder(data_dir: Path) -> Path:
    return data_dir / "index"


def build_index(
    corpus: str,
    data_dir: Path,
    path: Path | None = None,
    licences: Collection[str] | None = None,
    progress: Progress | None = None,
    *,
    chroma_url: str | None = None,
    embedder: Embedder | None = None,
) -> BuildReport:
    """Add a corpus to the index at `data_dir/index`; running it again goes on where it stopped.

    Where nothing has changed it returns within a fraction of a second and loads no model.

    Args:
        corpus: a name of `retrieval.corpora.registry.CORPORA`.
        path: the corpus's folder (the sample: its file); without it ROCO is downloaded, the sample comes along.
        licences: licences to take, such as {"CC BY", "CC BY-NC"}; None takes the openly licensed ones.
        progress: see `Progress`.
        chroma_url: a Chroma server to fill instead of the embedded one.

    Raises:
        RetrievalError: its subclasses say what is wrong in one sentence that a user can act on.
    """
    started = time.monotonic()
    store, embedder = Store(index_folder(data_dir)), embedder or DemoEmbedder()
    report = CorpusReport()
    with store.writing():
        store.check_embedder(embedder)
        figures = list(read_corpus(corpus, path, licences, report, data_dir, progress))
        known = store.digests(corpus)
        live = {figure.figure_id: digest(figure) for figure in figures}
        new = [figure for figure in figures if known.get(figure.figure_id) != live[figure.figure_id]]
        _embed(store, corpus, new, embedder, progress)
        if corpus == "sample" and licences is None:
            # The sample comes along with the code: what a new version no longer has must go.
            store.keep_only(corpus, live)
        if not store.in_step() or not _whole(store, chroma_url):
            store.rebuild_chroma(chroma_url, _stage(progress, "index"))
        current = store.current()
    return BuildReport(
        corpus=corpus,
        added=len(new),
        already_there=len(figures) - len(new),
        total=current.figures if current else 0,
        seconds=time.monotonic() - started,
        skipped=dict(report.skipped.most_common()),
        examples=report.examples,
    )


def rebuild_index(
    data_dir: Path,
    progress: Progress | None = None,
    *,
    chroma_url: str | None = None,
    embedder: Embedder | None = None,
) -> BuildReport:
    """Make Chroma anew from Parquet; captions that another embedder embedded are embedded anew first.

    Raises:
        IndexMissingError: there is nothing to rebuild.
        IndexBusyError: another process is writing.
    """
    started = time.monotonic()
    store, embedder = Store(index_folder(data_dir)), embedder or DemoEmbedder()
    if not store.shards():
        raise IndexMissingError(f"There is no index in {store.folder} yet: `{BUILD_COMMAND}` makes one.")
    with store.writing():
        embedded = store.reembed(embedder, STEP, _stage(progress, "embed"))
        current = store.rebuild_chroma(chroma_url, _stage(progress, "index"))
    return BuildReport(
        corpus="all",
        added=embedded,
        already_there=current.figures - embedded,
        total=current.figures,
        seconds=time.monotonic() - started,
    )


def _embed(store: Store, corpus: str, figures: list[Figure], embedder: Embedder, progress: Progress | None) -> None:
    for start in range(0, len(figures), BATCH):
        batch = figures[start : start + BATCH]
        vectors = []
        for step in range(0, len(batch), STEP):
            if progress:
                progress("embed", start + step, len(figures))
            vectors.append(embedder.embed_texts([figure.words for figure in batch[step : step + STEP]]))
        store.append(corpus, batch, np.concatenate(vectors), embedder)
    if figures and progress:
        progress("embed", len(figures), len(figures))


def _whole(store: Store, chroma_url: str | None) -> bool:
    current = store.current()
    if current is None:
        return False
    try:
        store.open_collection(current, chroma_url)
    except IndexMissingError:
        return False
    return True


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(stage, done, total)
