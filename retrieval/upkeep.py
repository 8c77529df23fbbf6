"""What keeps an index in order: what is in it, whether it is whole, deleting from it, taking it elsewhere.

stats(Path("data")).corpora["roco"].licences
verify(Path("data")).problems                    # () where everything is in order
delete(Path("data"), pmcids=["PMC5665693"])
export_index(Path("data"), Path("index.tar"))
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.build import Progress, bring_up, index_folder, stage
from retrieval.corpora.licences import is_wanted, wanted_licences
from retrieval.errors import IndexMissingError, RetrievalError
from retrieval.store import Current, Store, digest
from retrieval.store_images import folder_size
from retrieval.store_shards import Made, from_table
from retrieval.transfer import export_index, import_index

__all__ = ["CorpusStats", "IndexStats", "VerifyReport", "delete", "export_index", "import_index", "stats", "verify"]

TOLERANCE = 1e-3
"""How far the length of a vector may be from 1."""
COMPARED = 200
"""Vectors of Chroma that are compared with Parquet's, spread over the index."""
_PAGE = 5000


@dataclass
class CorpusStats:
    """One corpus; `modalities` has "" for figures whose modality is not known, `years` leaves those without out."""

    figures: int = 0
    images: int = 0
    licences: Counter[str] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)
    years: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class IndexStats:
    """`figures` counts a figure of two corpora once, `corpora` in each. Sizes in bytes; of Chroma as embedded.

    `in_step` tells whether the search database holds what the shards hold.
    """

    figures: int
    images: int
    corpora: dict[str, CorpusStats]
    embedder: str
    image_space: str
    bytes_parquet: int
    bytes_chroma: int
    bytes_thumbnails: int
    in_step: bool


@dataclass(frozen=True)
class VerifyReport:
    """What was looked at, and what is wrong, a sentence each with the command that mends it."""

    shards: int
    figures: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def stats(data_dir: Path) -> IndexStats:
    """
    Raises:
        IndexMissingError: nothing was built yet.
        DamagedShardError: a shard cannot be read.
    """
    store = Store(index_folder(data_dir))
    store.check_there()
    corpora: dict[str, CorpusStats] = {}
    ids: set[str] = set()
    with_image: set[str] = set()
    for shard in store.shards():
        table = store.parquet.read(shard, ["figure_id", "source", "license", "modality", "year", "image_hash"])
        for row in table.to_pylist():
            corpus = corpora.setdefault(row["source"], CorpusStats())
            corpus.figures += 1
            corpus.licences[row["license"]] += 1
            corpus.modalities[row["modality"]] += 1
            if row.get("year"):
                corpus.years[row["year"]] += 1
            if row.get("image_hash"):
                corpus.images += 1
                with_image.add(row["figure_id"])
            ids.add(row["figure_id"])
    return IndexStats(
        figures=len(ids),
        images=len(with_image),
        corpora=corpora,
        embedder=store.embedder_name() or "",
        image_space=store.parquet.image_space(),
        bytes_parquet=folder_size(store.parquet.folder),
        bytes_chroma=folder_size(store.generations.folder),
        bytes_thumbnails=folder_size(store.thumbnails.folder),
        in_step=store.in_step(),
    )


def delete(
    data_dir: Path,
    *,
    pmcids: Collection[str] = (),
    figure_ids: Collection[str] = (),
    licences: Collection[str] = (),
    corpora: Collection[str] = (),
    chroma_url: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Deletes every figure that any of the four names, with its picture; returns how many rows went.

    Nothing of them stays in the index's folder: Chroma is made anew, a thousand figures a second, no older generation
    is kept, and what a killed or mended build left (pictures, damaged shards) goes with them. A deletion that was
    killed is finished by repeating it, or by the next build.

    Args:
        licences: as a person writes them; "CC BY-NC" means all its versions, "unknown" figures without a licence.

    Raises:
        IndexMissingError: nothing was built yet.
        CorpusError: one of `licences` is no licence.
        IndexBusyError: another process is writing.
    """
    store = Store(index_folder(data_dir))
    store.check_there()
    unwanted = wanted_licences(licences)

    def gone(row: dict[str, Any]) -> bool:
        return (
            row["figure_id"] in figure_ids
            or row["source"] in corpora
            or (bool(row["pmcid"]) and row["pmcid"] in pmcids)
            or (bool(unwanted) and is_wanted(row["license"], unwanted))
        )

    with store.writing():
        dropped = store.parquet.drop(gone, ["source", "pmcid", "license"])
        store.parquet.remove_damaged()
        store.thumbnails.keep_only(figure_id for source in _sources(store) for figure_id in store.digests(source))
        bring_up(store, chroma_url, progress, fresh=True, keep_before=False)
    return len(dropped)


def verify(data_dir: Path, chroma_url: str | None = None, progress: Progress | None = None) -> VerifyReport:
    """Reads everything: shards and their checksums, digests, lengths of vectors, ids, and whether Chroma has the same.

    Raises:
        IndexMissingError: nothing was built yet.
        IndexBusyError: another process is writing.
        ChromaUnreachableError: no server at `chroma_url`.
    """
    store = Store(index_folder(data_dir))
    store.check_there()
    problems: list[str] = []
    ids: set[str] = set()
    shards = store.shards()
    tell = stage(progress, "verify")
    with store.writing():
        made: set[Made] = set()
        for number, shard in enumerate(shards):
            if tell:
                tell(number, len(shards))
            try:
                made.add(store.parquet.made(shard))
                problems += _shard_problems(store, shard)
                ids.update(store.parquet.read(shard, ["figure_id"])["figure_id"].to_pylist())
            except RetrievalError as error:
                problems.append(str(error))
        for source in _sources(store):
            problems += _repeated(store, source)
        if len({(one.embedder, one.dim) for one in made}) > 1:
            names = " and ".join(sorted({one.embedder for one in made}))
            problems.append(f"{names} made the index together: `medvint index rebuild` makes it one.")
        if not problems:
            problems += _chroma_problems(store, ids, chroma_url)
    if tell:
        tell(len(shards), len(shards))
    return VerifyReport(len(shards), len(ids), tuple(problems))


def _sources(store: Store) -> list[str]:
    return sorted({shard.stem.rpartition("-")[0] for shard in store.shards()})


def _shard_problems(store: Store, shard: Path) -> Iterator[str]:
    corpus = shard.stem.rpartition("-")[0]
    again = f"building {corpus} again makes it anew"
    table = store.parquet.read(shard, check=True)
    rows = from_table(table, store.parquet.made(shard).dim)
    digests = table["digest"].to_pylist()
    wrong = [f.figure_id for f, value in zip(rows.figures, digests, strict=True) if digest(f) != value]
    if wrong:
        yield f"{shard.name}: {len(wrong)} figures are not as they were stored, such as {wrong[0]}; {again}."
    lengths = np.linalg.norm(rows.vectors, axis=1)
    seen = np.linalg.norm(rows.image_vectors[rows.has_image], axis=1)
    off = sum(int(np.count_nonzero(~(np.abs(values - 1) <= TOLERANCE))) for values in (lengths, seen))
    if off:
        yield f"{shard.name}: {off} vectors are not of length 1; {again}."
    strange = [figure.figure_id for figure in rows.figures if figure.source != corpus]
    if strange:
        yield f"{shard.name}: {len(strange)} figures are of another corpus, such as {strange[0]}; {again}."


def _repeated(store: Store, source: str) -> Iterator[str]:
    """Of one source every id must be there once."""
    counts: Counter[str] = Counter()
    for shard in store.shards(source):
        try:
            counts.update(store.parquet.read(shard, ["figure_id"])["figure_id"].to_pylist())
        except RetrievalError:
            # The shard is among the problems already.
            continue
    twice = [figure_id for figure_id, count in counts.items() if count > 1]
    if twice:
        yield f"{source}: {len(twice)} figures are there twice, such as {twice[0]}; building it again mends that."


def _chroma_problems(store: Store, ids: set[str], chroma_url: str | None) -> Iterator[str]:
    mend = "`medvint index rebuild` makes it anew"
    current = store.current()
    if current is None or not store.in_step():
        yield f"The search database was not made from the shards that are there; {mend}."
        return
    try:
        with store.generations.opened(current, chroma_url) as (texts, images):
            yield from _compared(store, current, ids, texts, images, mend)
    except IndexMissingError as error:
        yield f"{error} {mend[0].upper()}{mend[1:]}."


def _compared(
    store: Store, current: Current, ids: set[str], texts: Any, images: Any | None, mend: str
) -> Iterator[str]:
    there: set[str] = set()
    for offset in range(0, current.figures, _PAGE):
        there.update(texts.get(limit=_PAGE, offset=offset, include=[])["ids"])
    if there != ids:
        yield f"The search database lacks {len(ids - there)} figures and has {len(there - ids)} too many; {mend}."
        return
    step = max(1, len(ids) // COMPARED)
    wrong = 0
    for rows in store.rows():
        chosen = rows.take(range(0, len(rows), step))
        some = [figure.figure_id for figure in chosen.figures]
        wrong += _differing(texts, some, chosen.vectors)
        if images is not None and (seen := chosen.has_image).any():
            wrong += _differing(images, [i for i, s in zip(some, seen, strict=True) if s], chosen.image_vectors[seen])
    if wrong:
        yield f"{wrong} vectors of the search database are not those of the shards; {mend}."


def _differing(collection: Any, ids: list[str], vectors: np.ndarray) -> int:
    answer = collection.get(ids=ids, include=["embeddings"])
    there = dict(zip(answer["ids"], answer["embeddings"], strict=True))
    return sum(
        figure_id not in there or not np.allclose(there[figure_id], vector, atol=1e-4)
        for figure_id, vector in zip(ids, vectors, strict=True)
    )
