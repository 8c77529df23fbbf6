"""Building the index: figures of a corpus, embedded in batches, into Parquet, then into Chroma.

    build_index("sample", Path("data"))
    build_index("roco", Path("data"), Path("../shared/data/roco-captions"))
    rebuild_index(Path("data"))

Each batch becomes one Parquet shard, written whole or not at all; a build that was killed embeds only what no
shard holds. Chroma is made from the shards at the end.
"""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.corpora.reading import CorpusReport
from retrieval.corpora.registry import read_corpus
from retrieval.embedders import DemoEmbedder, Embedder, Vectors
from retrieval.errors import PictureError
from retrieval.figures import Figure
from retrieval.store import Current, Rows, Store, digest
from retrieval.store_images import Thumbnails, open_picture, perceptual_hash
from retrieval.store_shards import Made, no_images, to_table

BATCH = 1024
STEP = 128
"""Figures embedded between two reports of progress."""
IMAGE_STEP = 16
"""Images in memory at once."""
NO_PICTURE = "image that cannot be read: found by its words only"

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total), stage one of "download", "read", "embed", "index".

What it raises ends the build; the figures that were finished are kept.
"""


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
        corpus: a name in `retrieval.corpora.registry.CORPORA`.
        path: the corpus's folder or ZIP; without it ROCO is downloaded, the sample comes along.
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
        store.parquet.set_aside_damaged(corpus)
        store.check_embedder(embedder)
        figures = _read(read_corpus(corpus, path, licences, report, data_dir, progress), progress)
        known = store.digests(corpus)
        new = [figure for figure_id, figure in figures.items() if known.get(figure_id) != digest(figure)]
        _embed(store, corpus, new, embedder, report, progress)
        store.parquet.drop_superseded(corpus)
        if corpus == "sample" and licences is None:
            # The sample comes along with the code: what a new version no longer has must go.
            store.parquet.drop(lambda row: row["figure_id"] not in figures, [], corpus)
        if store.shards():
            _embed_anew(store, _other_images(store, embedder), embedder, progress)
        current = bring_up(store, chroma_url, progress)
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
    """Make Chroma anew from Parquet; what another embedder embedded is embedded anew first.

    Where only the image embedder has changed, only images are.

    Raises:
        IndexMissingError: there is nothing to rebuild.
        IndexBusyError: another process is writing.
        DamagedShardError: a shard cannot be read.
    """
    started = time.monotonic()
    store, embedder = Store(index_folder(data_dir)), embedder or DemoEmbedder()
    store.check_there()
    with store.writing():
        embedded = _embed_anew(store, _outdated(store, embedder), embedder, progress)
        current = store.rebuild_chroma(chroma_url, stage(progress, "index"), fresh=True)
    return BuildReport(
        corpus="all",
        added=embedded,
        already_there=max(0, current.figures - embedded),
        total=current.figures,
        seconds=time.monotonic() - started,
    )


def bring_up(
    store: Store,
    chroma_url: str | None,
    progress: Progress | None,
    *,
    fresh: bool = False,
    keep_before: bool = True,
) -> Current | None:
    """Chroma as the shards are, made from them where it is not; None for an empty index. Needs `store.writing()`.

    `fresh` and `keep_before` as in `Store.rebuild_chroma`.
    """
    current = store.current()
    if not store.shards():
        store.clear(chroma_url)
        return None
    if current is not None and store.in_step() and store.generations.is_whole(current, chroma_url):
        return current
    return store.rebuild_chroma(chroma_url, stage(progress, "index"), fresh=fresh, keep_before=keep_before)


def embed_rows(
    figures: list[Figure],
    embedder: Embedder,
    thumbnails: Thumbnails | None = None,
    report: CorpusReport | None = None,
) -> Rows:
    """Figures with the vectors of their words and, where their files are there, of their images.

    Args:
        thumbnails: where small pictures are kept; None keeps none.
        report: counts images that cannot be read; their figures stay.

    Raises:
        WeightsMissingError: there are images and the image embedder has no weights.
    """
    vectors = embedder.embed_texts([figure.words for figure in figures])
    files = [Path(figure.image_path) if figure.image_path else None for figure in figures]
    return Rows(figures, vectors, *_look(figures, files, embedder, thumbnails, report))


def _look(
    figures: list[Figure],
    files: list[Path | None],
    embedder: Embedder,
    thumbnails: Thumbnails | None = None,
    report: CorpusReport | None = None,
) -> tuple[Vectors, list[str]]:
    """Vectors [n, dim] of the images, NaN where there is none, and their perceptual hashes."""
    vectors, hashes = no_images(len(figures), embedder.dim), [""] * len(figures)
    there = [(number, file) for number, file in enumerate(files) if file]
    for start in range(0, len(there), IMAGE_STEP):
        images = {}
        for number, file in there[start : start + IMAGE_STEP]:
            try:
                images[number] = open_picture(file)
            except PictureError:
                if report:
                    report.skip(NO_PICTURE, figures[number].figure_id)
                continue
            hashes[number] = perceptual_hash(images[number])
            if thumbnails:
                thumbnails.write(figures[number].figure_id, images[number])
        if images and embedder.image_space:
            vectors[list(images)] = embedder.embed_images(list(images.values()))
    return vectors, hashes


def _read(figures: Iterator[Figure], progress: Progress | None) -> dict[str, Figure]:
    """All figures by id; how many there will be is not known before the end."""
    found: dict[str, Figure] = {}
    for figure in figures:
        found[figure.figure_id] = figure
        if progress and len(found) % STEP == 0:
            progress("read", len(found), len(found))
    return found


def _embed(
    store: Store,
    corpus: str,
    figures: list[Figure],
    embedder: Embedder,
    report: CorpusReport,
    progress: Progress | None,
) -> None:
    for start in range(0, len(figures), BATCH):
        batch = figures[start : start + BATCH]
        # An image takes far longer than a caption: progress must not stand still.
        step = IMAGE_STEP if any(figure.image_path for figure in batch) else STEP
        parts: list[Rows] = []
        try:
            for place in range(0, len(batch), step):
                if progress:
                    progress("embed", start + place, len(figures))
                parts.append(embed_rows(batch[place : place + step], embedder, store.thumbnails, report))
        finally:
            # A batch of images takes minutes: who stops it keeps what was embedded.
            if parts:
                rows = Rows.join(parts)
                store.append(corpus, rows.figures, rows.vectors, embedder, rows.image_vectors, rows.hashes)
    if figures and progress:
        progress("embed", len(figures), len(figures))


def _other_images(store: Store, embedder: Embedder) -> list[Path]:
    """Shards whose image vectors another image embedder made, if this one sees images."""
    spaces = {shard: store.parquet.made(shard).image_space for shard in store.shards()}
    if not any(spaces.values()) or not embedder.image_space:
        return []
    return [shard for shard, space in spaces.items() if space and space != embedder.image_space]


def _outdated(store: Store, embedder: Embedder) -> list[Path]:
    """Shards that this embedder would make otherwise."""
    others = set(_other_images(store, embedder))
    for shard in store.shards():
        made = store.parquet.made(shard)
        unseen = not made.image_space and store.parquet.read(shard, ["image_path"])["image_path"].null_count < (
            store.parquet.count(shard)
        )
        if made.embedder != embedder.name or (unseen and embedder.image_space):
            others.add(shard)
    return sorted(others)


def _embed_anew(store: Store, shards: list[Path], embedder: Embedder, progress: Progress | None) -> int:
    """Embeds what this embedder would make otherwise in the shards, one after the other; returns their rows."""
    total = sum(map(store.parquet.count, shards))
    done = 0
    for shard in shards:
        made = store.parquet.made(shard)
        parts = []
        for rows in store.parquet.rows(shard, IMAGE_STEP if made.image_space else STEP):
            if progress:
                progress("embed", done, total)
            vectors = rows.vectors
            if made.embedder != embedder.name:
                vectors = embedder.embed_texts([figure.words for figure in rows.figures])
            image_vectors, hashes = _look(rows.figures, [_file(store, figure) for figure in rows.figures], embedder)
            hashes = [new or old for new, old in zip(hashes, rows.hashes, strict=True)]
            parts.append(Rows(rows.figures, vectors, image_vectors, hashes))
            done += len(rows)
        rows = Rows.join(parts)
        space = embedder.image_space if rows.has_image.any() else ""
        store.parquet.write(shard, to_table(rows, Made(embedder.name, embedder.dim, space)))
    if total and progress:
        progress("embed", total, total)
    return total


def _file(store: Store, figure: Figure) -> Path | None:
    """The figure's image or, where it is gone or was never here, its thumbnail."""
    if figure.image_path and Path(figure.image_path).is_file():
        return Path(figure.image_path)
    return store.thumbnail(figure.figure_id)


def stage(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    """The progress of one stage."""
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)
