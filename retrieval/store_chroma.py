"""Chroma's part of the index: one whole directory, or one pair of collections on a server, a generation.

    index/chroma/{generation}/                 never written again once it is current
    index/chroma/{generation}/stamps.parquet   what was put in, so that the next generation takes over what stays
    index/chroma/{generation}/checksums.json   of the graphs, which Chroma reads without checking, and the stamps
    index/current.json                         which generation searches use, and which shards it was made from

Collections: `figures-{generation}` with the vectors of the words, captions and metadata; `images-{generation}` with
the vectors of the images, under the same ids. Two processes in one Chroma directory lose data, so a writer fills a
new generation, begun as a copy of the current one, and then points `current.json` at it.
"""

import hashlib
import json
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import chromadb
import pyarrow as pa
import pyarrow.parquet as pq

from retrieval.duplicates import Duplicates
from retrieval.errors import IndexMissingError
from retrieval.figures import Figure
from retrieval.store_clients import STAMPS, check_files, checked, connect, in_words, reachable, write_checksums
from retrieval.store_shards import Made, Rows

LAYOUT = 3
"""Of a generation; one of another layout is made anew from Parquet."""
CONFIGURATION: dict[str, Any] = {
    # Chroma's defaults (100, 100, 16) find 8 in 10 of the nearest among a million: see `retrieval.benchmarks.scale`.
    "hnsw": {"space": "cosine", "ef_search": 800, "ef_construction": 200, "max_neighbors": 32}
}

_DATABASE = "chroma.sqlite3"
_OWNER = "medvint_index"


@dataclass(frozen=True)
class Current:
    """What `current.json` says: the generation in use and what it holds; `images` counts vectors of images."""

    generation: str
    figures: int
    embedder: str
    dim: int
    shards: dict[str, int]
    images: int = 0
    image_space: str = ""
    layout: int = 1

    @property
    def collection(self) -> str:
        return f"figures-{self.generation}"

    @property
    def image_collection(self) -> str:
        return f"images-{self.generation}"


@dataclass(frozen=True)
class Contents:
    """What a generation is made from: `rows` gives every figure once, `total` of them."""

    rows: Callable[[], Iterator[Rows]]
    total: int
    made: Made
    shards: dict[str, int]
    duplicates: Duplicates


class Generations:
    """The generations below an index's folder. Who writes holds the index's lock (`Store.writing`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "chroma"
        self.current_file = folder / "current.json"
        self._lexical = folder / "lexical"
        self._owner_file = folder / "id"
        self._opening = threading.Lock()
        self._clients: dict[tuple[str, str | None], Any] = {}

    def current(self) -> Current | None:
        """None where there is none, or where it cannot be read: it is made from Parquet like the rest."""
        try:
            return Current(**json.loads(self.current_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def open(self, current: Current, chroma_url: str | None = None) -> Any:
        """The collection of the words' vectors.

        Raises:
            IndexMissingError: it is not there, cannot be read or is not whole.
            ChromaUnreachableError: no server at `chroma_url`.
        """
        with in_words(chroma_url):
            client = self._kept_client(current, chroma_url)
            return checked(client, current.collection, current.figures, current.dim)

    def open_images(self, current: Current, chroma_url: str | None = None) -> Any | None:
        """The collection of the images' vectors; None where the index has none. Raises as `open` does."""
        if not current.images:
            return None
        with in_words(chroma_url):
            client = self._kept_client(current, chroma_url)
            return checked(client, current.image_collection, current.images, current.dim)

    @contextmanager
    def opened(self, current: Current, chroma_url: str | None = None) -> Iterator[tuple[Any, Any | None]]:
        """Both collections, for a moment; raises as `open` does."""
        with in_words(chroma_url), closing(self._connect(current, chroma_url)) as client:
            texts = checked(client, current.collection, current.figures, current.dim)
            images = current.image_collection if current.images else None
            yield texts, checked(client, images, current.images, current.dim) if images else None

    def is_whole(self, current: Current, chroma_url: str | None = None) -> bool:
        """Raises ChromaUnreachableError: no server at `chroma_url`."""
        try:
            with self.opened(current, chroma_url):
                return True
        except IndexMissingError:
            return False

    def _connect(self, current: Current, chroma_url: str | None) -> Any:
        if current.layout != LAYOUT:
            raise IndexMissingError("Chroma's part of the index was made by an earlier version.")
        folder = self.folder / current.generation
        if chroma_url is None and not (folder / _DATABASE).is_file():
            raise IndexMissingError(f"The Chroma directory {folder} is gone.")
        if chroma_url is None:
            check_files(folder)
        return connect(folder, chroma_url)

    def _kept_client(self, current: Current, chroma_url: str | None) -> Any:
        """A client that stays open for searches; of generations that are over only the last one's does."""
        key = (current.generation, chroma_url)
        with self._opening:
            if (client := self._clients.get(key)) is None:
                client = self._clients[key] = self._connect(current, chroma_url)
                for old in list(self._clients)[:-2]:
                    self._clients.pop(old).close()
            return client

    def fill(
        self,
        contents: Contents,
        chroma_url: str | None,
        progress: Callable[[int, int], None] | None,
        *,
        fresh: bool,
        keep_before: bool,
    ) -> Current:
        """Makes a new generation the current one; needs the index's lock.

        Args:
            fresh: begin with nothing, and not with a copy of the current generation.
            keep_before: the generation before stays, for readers in other processes that are amid a query.

        Raises:
            ChromaUnreachableError: no server at `chroma_url`, or it went away.
        """
        before = self.current()
        generation = uuid.uuid4().hex[:12]
        known: dict[str, str] = {}
        if not fresh and before is not None and chroma_url is None and self._begin_with(before, generation, contents):
            known = _read_stamps(self.folder / generation)
        with reachable(chroma_url), closing(connect(self.folder / generation, chroma_url)) as client:
            filling = _Filling(client, generation, before if known else None, self._owner())
            try:
                for rows in contents.rows():
                    filling.put(rows, contents.duplicates, known)
                    if progress:
                        progress(len(filling.stamps), contents.total)
                filling.remove(known.keys() - filling.stamps.keys())
                is_whole = filling.is_whole()
            except chromadb.errors.ChromaError:
                # The database that was taken over is damaged where opening it did not look.
                if not known:
                    raise
                is_whole = False
        if known and not is_whole:
            return self.fill(contents, chroma_url, progress, fresh=True, keep_before=keep_before)
        if progress:
            progress(contents.total, contents.total)
        if chroma_url is None:
            _write_stamps(self.folder / generation, filling.stamps)
            write_checksums(self.folder / generation)
        current = Current(
            generation,
            figures=len(filling.stamps),
            embedder=contents.made.embedder,
            dim=contents.made.dim,
            shards=contents.shards,
            images=filling.count_images,
            image_space=contents.made.image_space,
            layout=LAYOUT,
        )
        partial = self.current_file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(current), indent=2), encoding="utf-8")
        partial.replace(self.current_file)
        self._drop_others({generation, before.generation} if before and keep_before else {generation}, chroma_url)
        return current

    def clear(self, chroma_url: str | None) -> None:
        """Nothing is left of any generation."""
        self.current_file.unlink(missing_ok=True)
        self._drop_others(set(), chroma_url)

    def _begin_with(self, before: Current, generation: str, contents: Contents) -> bool:
        """Copies the current generation, if it is whole and of the same vectors' kind."""
        if (before.embedder, before.dim, before.layout) != (contents.made.embedder, contents.made.dim, LAYOUT):
            return False
        source, target = self.folder / before.generation, self.folder / generation
        if not (source / STAMPS).is_file() or not self.is_whole(before):
            return False
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(f"{_DATABASE}*"))
        # Not a copy of the file: another process that closes the database may be tidying it up at this moment.
        with (
            closing(sqlite3.connect(source / _DATABASE)) as old,
            closing(sqlite3.connect(target / _DATABASE)) as new,
        ):
            old.backup(new)
        return True

    def _owner(self) -> str:
        """What marks the collections of this index on a server that others use, too."""
        if not self._owner_file.exists():
            self._owner_file.write_text(uuid.uuid4().hex, encoding="utf-8")
        return self._owner_file.read_text(encoding="utf-8")

    def _drop_others(self, keep: Collection[str], chroma_url: str | None) -> None:
        for parent in (self.folder, self._lexical):
            for folder in parent.iterdir() if parent.exists() else ():
                if folder.name.partition(".")[0] not in keep:
                    shutil.rmtree(folder, ignore_errors=True)
        if chroma_url is None:
            return
        with reachable(chroma_url), closing(connect(self.folder, chroma_url)) as client:
            for collection in client.list_collections():
                mine = (collection.metadata or {}).get(_OWNER) == self._owner()
                if mine and collection.name.partition("-")[2] not in keep:
                    client.delete_collection(collection.name)


class _Filling:
    """The collections of a generation while it is filled."""

    def __init__(self, client: Any, generation: str, before: Current | None, owner: str) -> None:
        self._batch = client.get_max_batch_size()
        self.stamps: dict[str, str] = {}
        self.count_images = 0
        names = {"figures": before.collection if before else "", "images": before.image_collection if before else ""}
        self._texts, self._images = (self._begin(client, kind, generation, names[kind], owner) for kind in names)

    @staticmethod
    def _begin(client: Any, kind: str, generation: str, old_name: str, owner: str) -> Any:
        if old_name:
            collection = client.get_collection(old_name, embedding_function=None)
            collection.modify(name=f"{kind}-{generation}")
            return collection
        return client.create_collection(
            f"{kind}-{generation}", configuration=CONFIGURATION, metadata={_OWNER: owner}, embedding_function=None
        )

    def put(self, rows: Rows, duplicates: Duplicates, known: dict[str, str]) -> None:
        metadatas = [_metadata(figure, duplicates) for figure in rows.figures]
        stamps = [_stamp(rows, number, metadata) for number, metadata in enumerate(metadatas)]
        ids = [figure.figure_id for figure in rows.figures]
        self.stamps.update(zip(ids, stamps, strict=True))
        self.count_images += int(rows.has_image.sum())
        new = [number for number, figure_id in enumerate(ids) if known.get(figure_id) != stamps[number]]
        # Chroma's update would keep metadata that a figure no longer has.
        self.remove([ids[number] for number in new if ids[number] in known])
        with_image = [number for number in new if rows.has_image[number]]
        for some in self._batches(new):
            self._texts.add(
                ids=[ids[number] for number in some],
                embeddings=rows.vectors[some],
                documents=[rows.figures[number].caption for number in some],
                metadatas=[metadatas[number] for number in some],
            )
        for some in self._batches(with_image):
            self._images.add(ids=[ids[number] for number in some], embeddings=rows.image_vectors[some])

    def remove(self, ids: Collection[str]) -> None:
        for some in self._batches(list(ids)):
            self._texts.delete(ids=some)
            self._images.delete(ids=some)

    def is_whole(self) -> bool:
        return bool(self._texts.count() == len(self.stamps) and self._images.count() == self.count_images)

    def _batches(self, values: list[Any]) -> Iterator[list[Any]]:
        for start in range(0, len(values), self._batch):
            yield values[start : start + self._batch]


def figure_of(figure_id: str, document: str, metadata: dict[str, Any]) -> Figure:
    """The figure from what Chroma holds of it."""
    values = {key: value for key, value in metadata.items() if key not in ("group", "also")}
    absent = dict.fromkeys(("pmcid", "graphic", "label", "license", "article_url", "source"), "")
    return Figure.from_dict({**absent, **values, "figure_id": figure_id, "caption": document})


def also_of(metadata: dict[str, Any]) -> tuple[Figure, ...]:
    """The same figure as other corpora have it, from what Chroma holds of it."""
    return tuple(Figure.from_dict(values) for values in json.loads(metadata.get("also", "[]")))


def _metadata(figure: Figure, duplicates: Duplicates) -> dict[str, Any]:
    values = figure.to_dict()
    if group := duplicates.group.get(figure.figure_id):
        values["group"] = group
    if also := duplicates.also.get(figure.figure_id):
        values["also"] = json.dumps([other.to_dict() for other in also])
    # Chroma refuses None and empty lists.
    return {key: value for key, value in values.items() if value and key not in ("figure_id", "caption")}


def _stamp(rows: Rows, number: int, metadata: dict[str, Any]) -> str:
    """Changes when anything changes that Chroma holds of the figure."""
    sha = hashlib.blake2b(json.dumps([rows.figures[number].caption, metadata]).encode(), digest_size=8)
    sha.update(rows.vectors[number].tobytes())
    sha.update(rows.image_vectors[number].tobytes())
    return sha.hexdigest()


def _write_stamps(folder: Path, stamps: dict[str, str]) -> None:
    pq.write_table(pa.table({"figure_id": list(stamps), "stamp": list(stamps.values())}), folder / STAMPS)


def _read_stamps(folder: Path) -> dict[str, str]:
    table = pq.read_table(folder / STAMPS)
    return dict(zip(table["figure_id"].to_pylist(), table["stamp"].to_pylist(), strict=True))
