"""The index on disk: Parquet shards are the truth, Chroma is made from them and can always be made again.

    index/parquet/{source}-{number}.parquet    figures, embeddings, and the embedder's name in the schema
    index/chroma/{generation}/                 one whole Chroma directory, never written again once it is current
    index/current.json                         which generation searches use, and which shards it was made from
    index/lock                                 held by the one process that writes

A build fills a new generation and then points `current.json` at it, so that readers in other processes never
share a directory with a writer: two processes in one Chroma directory lose data.
"""

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from chromadb.config import Settings

from retrieval.embedders import Embedder, Vectors
from retrieval.errors import ChromaUnreachableError, EmbedderMismatchError, IndexBusyError, IndexMissingError
from retrieval.figures import Figure

REBUILD_COMMAND = "medvint index rebuild"
BUILD_COMMAND = "medvint index build sample"

_STRINGS = ("figure_id", "pmcid", "graphic", "label", "caption", "license", "article_url", "source")
_OPTIONAL = ("image_path", "image_url", "caption_by", "modality", "region", "description")


@dataclass(frozen=True)
class Current:
    """What `current.json` says: the generation in use and what it holds."""

    generation: str
    figures: int
    embedder: str
    dim: int
    shards: dict[str, int]

    @property
    def collection(self) -> str:
        return f"figures-{self.generation}"


def digest(figure: Figure) -> str:
    """Changes when anything of the figure changes, so that a build sees which figures are new or newly described."""
    values = figure.to_dict()
    # Figures without them keep the digest that they had before these fields were there, and are not embedded again.
    for name in ("year", "description"):
        if not values[name]:
            del values[name]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


class Store:
    """The folder of one index. Reading needs no lock; everything that writes runs within `writing()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parquet = folder / "parquet"
        self.chroma = folder / "chroma"
        self.current_file = folder / "current.json"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the index for this process; the system lets go of it if the process dies, however it dies.

        Raises:
            IndexBusyError: another process, or another thread, is writing.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip()
                raise IndexBusyError(
                    f"The index in {self.folder} is being written by another process"
                    f"{f' ({holder})' if holder else ''}; wait until it has finished."
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
            yield

    # Parquet

    def shards(self, source: str = "*") -> list[Path]:
        return sorted(self.parquet.glob(f"{source}-[0-9]*.parquet"))

    def embedder_name(self) -> str | None:
        """Of the shards; None where there are none, two names where a rebuild was interrupted."""
        names = {_schema_value(shard, "embedder") for shard in self.shards()}
        return " and ".join(sorted(names)) or None

    def check_embedder(self, embedder: Embedder) -> None:
        """
        Raises:
            EmbedderMismatchError: another embedder made the shards.
        """
        made_by = self.embedder_name()
        if made_by is not None and made_by != embedder.name:
            raise EmbedderMismatchError(
                f'The index in {self.folder} was made by "{made_by}", but "{embedder.name}" is to use it: '
                f"`{REBUILD_COMMAND}` embeds its captions anew."
            )

    def digests(self, source: str) -> dict[str, str]:
        """Figure id to digest of every figure of a source that is stored; of a figure stored twice the newer."""
        known: dict[str, str] = {}
        for shard in self.shards(source):
            table = pq.read_table(shard, columns=["figure_id", "digest"])
            known.update(zip(table["figure_id"].to_pylist(), table["digest"].to_pylist(), strict=True))
        return known

    def append(self, source: str, figures: list[Figure], vectors: Vectors, embedder: Embedder) -> Path:
        """One more shard, whole or not at all."""
        last = self.shards(source)
        number = int(last[-1].stem.rpartition("-")[2]) + 1 if last else 0
        shard = self.parquet / f"{source}-{number:06d}.parquet"
        self._write(shard, _table(figures, vectors, embedder.name))
        return shard

    def keep_only(self, source: str, live: dict[str, str]) -> int:
        """Drops the source's rows whose id and digest are not `live`; returns how many went."""
        dropped = 0
        for shard in self.shards(source):
            table = pq.read_table(shard)
            keep = [
                live.get(figure_id) == value
                for figure_id, value in zip(table["figure_id"].to_pylist(), table["digest"].to_pylist(), strict=True)
            ]
            dropped += keep.count(False)
            if not any(keep):
                shard.unlink()
            elif not all(keep):
                self._write(shard, table.filter(pa.array(keep)))
        return dropped

    def reembed(self, embedder: Embedder, step: int, progress: Callable[[int, int], None] | None = None) -> int:
        """Embeds the captions of every shard that another embedder made; returns how many."""
        others = [shard for shard in self.shards() if _schema_value(shard, "embedder") != embedder.name]
        total = sum(pq.read_metadata(shard).num_rows for shard in others)
        done = 0
        for shard in others:
            rows = pq.read_table(shard).drop_columns(["embedding", "digest"]).to_pylist()
            figures = [Figure.from_dict(row) for row in rows]
            vectors = []
            for start in range(0, len(figures), step):
                vectors.append(embedder.embed_texts([figure.words for figure in figures[start : start + step]]))
                done += len(vectors[-1])
                if progress:
                    progress(done, total)
            self._write(shard, _table(figures, np.concatenate(vectors), embedder.name))
        return total

    def _write(self, shard: Path, table: pa.Table) -> None:
        self.parquet.mkdir(parents=True, exist_ok=True)
        partial = shard.with_suffix(".partial")
        with partial.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(shard)

    def batches(self) -> Iterator[tuple[list[Figure], Vectors]]:
        """Every figure once, shard by shard.

        Of a figure stored several times the article's own caption goes before a description of ours, and a
        newer shard before an older one.
        """
        winner: dict[str, tuple[bool, int]] = {}
        shards = self.shards()
        for number, shard in enumerate(shards):
            table = pq.read_table(shard, columns=["figure_id", "caption_by"])
            for figure_id, by in zip(table["figure_id"].to_pylist(), table["caption_by"].to_pylist(), strict=True):
                winner[figure_id] = max(winner.get(figure_id, (False, -1)), (by == "article", number))
        for number, shard in enumerate(shards):
            table = pq.read_table(shard)
            rows = table.drop_columns(["embedding", "digest"]).to_pylist()
            mine = [index for index, row in enumerate(rows) if winner[row["figure_id"]][1] == number]
            if mine:
                vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False)).astype(np.float32)
                yield [Figure.from_dict(rows[index]) for index in mine], vectors[mine]

    # Chroma

    def current(self) -> Current | None:
        """None where there is none, or where it cannot be read: it is made from Parquet like the rest."""
        try:
            return Current(**json.loads(self.current_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def in_step(self) -> bool:
        """Whether Chroma was made from exactly the shards that are there."""
        current = self.current()
        return current is not None and current.shards == self._shard_sizes()

    def _shard_sizes(self) -> dict[str, int]:
        return {shard.name: shard.stat().st_size for shard in self.shards()}

    def rebuild_chroma(
        self, chroma_url: str | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Current:
        """Fills a new generation from Parquet and makes it the current one; needs `writing()`.

        Raises:
            IndexMissingError: there is no Parquet to make it from.
        """
        shards = self._shard_sizes()
        if not shards:
            raise IndexMissingError(f"There is no index in {self.folder} yet: `{BUILD_COMMAND}` makes one.")
        first = self.shards()[0]
        generation = uuid.uuid4().hex[:12]
        total = sum(pq.read_metadata(shard).num_rows for shard in self.shards())
        client = self._client(generation, chroma_url)
        collection = client.create_collection(
            f"figures-{generation}", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        limit = client.get_max_batch_size()
        done = 0
        for figures, vectors in self.batches():
            for start in range(0, len(figures), limit):
                some = figures[start : start + limit]
                collection.add(
                    ids=[figure.figure_id for figure in some],
                    embeddings=vectors[start : start + limit],
                    documents=[figure.caption for figure in some],
                    metadatas=[_metadata(figure) for figure in some],
                )
                done += len(some)
                if progress:
                    progress(done, total)
        if progress and done < total:
            progress(total, total)
        before = self.current()
        current = Current(generation, done, _schema_value(first, "embedder"), int(_schema_value(first, "dim")), shards)
        partial = self.current_file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(current), indent=2), encoding="utf-8")
        partial.replace(self.current_file)
        # The generation before stays: another process may still be reading it.
        self._drop_generations(keep={generation, before.generation if before else generation}, client=client)
        return current

    def _drop_generations(self, keep: Collection[str], client: Any) -> None:
        if self.chroma.exists():
            for folder in self.chroma.iterdir():
                if folder.name not in keep:
                    shutil.rmtree(folder, ignore_errors=True)
        for collection in client.list_collections():
            if collection.name.startswith("figures-") and collection.name.removeprefix("figures-") not in keep:
                client.delete_collection(collection.name)

    def open_collection(self, current: Current, chroma_url: str | None = None) -> Any:
        """The Chroma collection of a generation.

        Raises:
            IndexMissingError: it is not there, cannot be read or is not whole.
            ChromaUnreachableError: no server at `chroma_url`.
        """
        if chroma_url is None and not (self.chroma / current.generation).is_dir():
            raise IndexMissingError(f"The Chroma directory {current.generation} in {self.chroma} is gone.")
        try:
            collection = self._client(current.generation, chroma_url).get_collection(
                current.collection, embedding_function=None
            )
            count = collection.count()
        except (chromadb.errors.ChromaError, ValueError) as error:
            raise IndexMissingError(f"Chroma's part of the index cannot be read: {error}") from error
        if count != current.figures:
            raise IndexMissingError(f"Chroma holds {count} of {current.figures} figures.")
        return collection

    def _client(self, generation: str, chroma_url: str | None) -> Any:
        settings = Settings(anonymized_telemetry=False)
        if chroma_url is None:
            return chromadb.PersistentClient(str(self.chroma / generation), settings=settings)
        scheme, _, rest = chroma_url.rpartition("://")
        host, _, port = rest.rstrip("/").partition(":")
        secure = scheme == "https"
        try:
            return chromadb.HttpClient(host, int(port or (443 if secure else 8000)), ssl=secure, settings=settings)
        except ValueError as error:
            raise ChromaUnreachableError(
                f"No Chroma server answers at {chroma_url}: start one with `chroma run`, or unset MEDVINT_CHROMA_URL."
            ) from error


def figure_of(figure_id: str, document: str, metadata: dict[str, Any]) -> Figure:
    """The figure from what Chroma holds of it."""
    return Figure.from_dict(
        {"label": "", "pmcid": "", "article_url": "", **metadata, "figure_id": figure_id, "caption": document}
    )


def _schema_value(shard: Path, key: str) -> str:
    return pq.read_schema(shard).metadata[key.encode()].decode()


def _metadata(figure: Figure) -> dict[str, Any]:
    # Chroma refuses None and empty lists.
    values = figure.to_dict()
    return {key: value for key, value in values.items() if value and key not in ("figure_id", "caption")}


def _table(figures: list[Figure], vectors: Vectors, embedder: str) -> pa.Table:
    dim = vectors.shape[1]
    rows = [figure.to_dict() for figure in figures]
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in (*_STRINGS, *_OPTIONAL)}
    columns["year"] = pa.array([row["year"] for row in rows], pa.int32())
    columns["findings"] = pa.array([row["findings"] for row in rows], pa.list_(pa.string()))
    columns["digest"] = pa.array([digest(figure) for figure in figures], pa.string())
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, dim)
    return pa.table(columns).replace_schema_metadata({"embedder": embedder, "dim": str(dim)})
