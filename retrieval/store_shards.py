"""The Parquet shards of an index: figures, their vectors, and which embedder made them.

    {source}-{number}.parquet    columns as in `SCHEMA`; the schema's metadata names embedder, dimension, image space

A shard is written whole or not at all. Of a figure that a source holds several times the newest shard's row counts.
"""

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from retrieval.embedders import Vectors
from retrieval.errors import DamagedShardError, IndexBusyError
from retrieval.figures import Figure, FigureError

ROWS_AT_ONCE = 1024

_STRINGS = ("figure_id", "pmcid", "graphic", "label", "caption", "license", "article_url", "source")
_OPTIONAL = ("image_path", "image_url", "caption_by", "modality", "region", "description")
FIGURE_FIELDS = [
    *(pa.field(name, pa.string()) for name in (*_STRINGS, *_OPTIONAL)),
    pa.field("findings", pa.list_(pa.string())),
    pa.field("year", pa.int32()),
]
FIGURE_COLUMNS = [field.name for field in FIGURE_FIELDS]


@dataclass(frozen=True)
class Rows:
    """Figures and what was made of them, row by row.

    `vectors` float32 [n, dim] of the words; `image_vectors` float32 [n, dim] with NaN where a figure has no image;
    `hashes` perceptual hashes as hex, "" where there is none.
    """

    figures: list[Figure]
    vectors: Vectors
    image_vectors: Vectors
    hashes: list[str]

    def __len__(self) -> int:
        return len(self.figures)

    @property
    def has_image(self) -> np.ndarray:
        """bool [n]."""
        return ~np.isnan(self.image_vectors[:, 0])

    def take(self, numbers: Sequence[int]) -> "Rows":
        chosen = list(numbers)
        return Rows(
            [self.figures[i] for i in chosen],
            self.vectors[chosen],
            self.image_vectors[chosen],
            [self.hashes[i] for i in chosen],
        )

    @classmethod
    def join(cls, parts: Sequence["Rows"]) -> "Rows":
        return cls(
            [figure for part in parts for figure in part.figures],
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.image_vectors for part in parts]),
            [value for part in parts for value in part.hashes],
        )


@dataclass(frozen=True)
class Made:
    """By whom the vectors of a shard were made."""

    embedder: str
    dim: int
    image_space: str = ""


def digest(figure: Figure) -> str:
    """Changes when anything of the figure changes, so that a build sees which figures are new or newly described."""
    values = figure.to_dict()
    # Figures without them keep the digest that they had before these fields were there, and are not embedded again.
    for name in ("year", "description"):
        if not values[name]:
            del values[name]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def no_images(count: int, dim: int) -> Vectors:
    return np.full((count, dim), np.nan, np.float32)


def to_table(rows: Rows, made: Made) -> pa.Table:
    """The rows as a shard holds them."""
    values = [figure.to_dict() for figure in rows.figures]
    columns = {field.name: pa.array([row[field.name] for row in values], field.type) for field in FIGURE_FIELDS}
    columns["digest"] = pa.array([digest(figure) for figure in rows.figures], pa.string())
    columns["image_hash"] = pa.array([value or None for value in rows.hashes], pa.string())
    columns["embedding"] = _vector_column(rows.vectors, made.dim)
    columns["image_embedding"] = _vector_column(rows.image_vectors, made.dim)
    metadata = {"embedder": made.embedder, "dim": str(made.dim), "image_space": made.image_space}
    return pa.table(columns).replace_schema_metadata(metadata)


def from_table(table: pa.Table, dim: int) -> Rows:
    """The inverse of `to_table`; columns that older shards lack take their defaults."""
    known = [name for name in FIGURE_COLUMNS if name in table.column_names]
    figures = [
        Figure.from_dict({**row, "description": row.get("description") or ""})
        for row in table.select(known).to_pylist()
    ]
    if "image_embedding" in table.column_names:
        image_vectors = _vectors(table["image_embedding"], dim)
        hashes = [value or "" for value in table["image_hash"].to_pylist()]
    else:
        image_vectors, hashes = no_images(len(figures), dim), [""] * len(figures)
    return Rows(figures, _vectors(table["embedding"], dim), image_vectors, hashes)


def _vector_column(vectors: Vectors, dim: int) -> pa.FixedSizeListArray:
    missing = np.isnan(vectors[:, 0])
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, dim, mask=pa.array(missing) if missing.any() else None)


def _vectors(column: pa.ChunkedArray, dim: int) -> Vectors:
    there = column.is_valid().to_numpy(zero_copy_only=False)
    vectors = no_images(len(column), dim)
    vectors[there] = column.combine_chunks().drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return vectors


class Shards:
    """The folder of the shards. Who writes holds the index's lock (`Store.writing`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self, source: str | None = None) -> list[Path]:
        """Oldest first within a source."""
        found = sorted(self.folder.glob("*-[0-9]*.parquet"))
        return found if source is None else [path for path in found if path.stem.rpartition("-")[0] == source]

    def sizes(self) -> dict[str, int]:
        """In bytes, by file name."""
        return {path.name: path.stat().st_size for path in self.paths()}

    def made(self, path: Path) -> Made:
        """
        Raises:
            DamagedShardError: the file cannot be read.
        """
        with _reading(path):
            metadata = pq.read_schema(path).metadata
            space = metadata.get(b"image_space", b"").decode()
            return Made(metadata[b"embedder"].decode(), int(metadata[b"dim"]), space)

    def count(self, path: Path) -> int:
        """Rows of a shard."""
        with _reading(path):
            return int(pq.read_metadata(path).num_rows)

    def read(self, path: Path, columns: list[str] | None = None, check: bool = False) -> pa.Table:
        """A shard, or what it has of `columns`; `check` compares the pages' checksums.

        Raises:
            DamagedShardError: the file cannot be read.
        """
        with _reading(path), pq.ParquetFile(path, page_checksum_verification=check) as file:
            names = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
            return file.read(names)

    def rows(self, path: Path, rows_at_once: int = ROWS_AT_ONCE) -> Iterator[Rows]:
        """A shard in pieces, so that memory does not grow with its size.

        Raises:
            DamagedShardError: the file cannot be read.
        """
        dim = self.made(path).dim
        with _reading(path), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows_at_once):
                yield from_table(pa.Table.from_batches([batch]), dim)

    def image_space(self) -> str:
        """The space of the image vectors; where a change of it was interrupted, the one that most shards have."""
        spaces = Counter(self.made(path).image_space for path in self.paths())
        del spaces[""]
        return max(spaces, key=lambda space: spaces[space], default="")

    def digests(self, source: str) -> dict[str, str]:
        """Figure id to digest of every figure of a source; of a figure stored twice the newer."""
        known: dict[str, str] = {}
        for path in self.paths(source):
            table = self.read(path, ["figure_id", "digest"])
            known.update(zip(table["figure_id"].to_pylist(), table["digest"].to_pylist(), strict=True))
        return known

    def append(self, source: str, table: pa.Table) -> Path:
        """One more shard."""
        last = self.paths(source)
        number = int(last[-1].stem.rpartition("-")[2]) + 1 if last else 0
        path = self.folder / f"{source}-{number:06d}.parquet"
        self.write(path, table)
        return path

    def write(self, path: Path, table: pa.Table) -> None:
        """Replaces a shard or makes one, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Of its own name: a worker of a pipeline that was killed may still be writing the same shard.
        partial = path.with_suffix(f".{uuid.uuid4().hex[:8]}.partial")
        with partial.open("wb") as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def drop(self, gone: Callable[[dict[str, Any]], bool], columns: list[str], source: str | None = None) -> list[str]:
        """Drops the rows whose `columns` make `gone` true; returns their figure ids."""
        dropped: list[str] = []
        for path in self.paths(source):
            rows = self.read(path, ["figure_id", *columns]).to_pylist()
            keep = [not gone(row) for row in rows]
            dropped += [row["figure_id"] for row, kept in zip(rows, keep, strict=True) if not kept]
            if not any(keep):
                path.unlink()
            elif not all(keep):
                self.write(path, self.read(path).filter(pa.array(keep)))
        return dropped

    def drop_superseded(self, source: str) -> None:
        """Drops older rows of figures that a newer shard of the source holds too."""
        ids = [figure_id for path in self.paths(source) for figure_id in self._ids(path)]
        left = Counter(ids)
        if len(left) == len(ids):
            return

        def superseded(row: dict[str, Any]) -> bool:
            left[row["figure_id"]] -= 1
            return left[row["figure_id"]] > 0

        self.drop(superseded, [], source)

    def _ids(self, path: Path) -> list[str]:
        return self.read(path, ["figure_id"])["figure_id"].to_pylist()

    def set_aside_damaged(self, source: str) -> list[Path]:
        """Renames the source's shards that cannot be read to `*.damaged`, so that a build makes their rows anew."""
        damaged = []
        for path in self.paths(source):
            try:
                self.read(path)
            except DamagedShardError:
                damaged.append(path.replace(path.with_suffix(".damaged")))
        return damaged

    def remove_damaged(self) -> None:
        """Removes what `set_aside_damaged` kept: nobody can tell which figures are in it."""
        for path in self.folder.glob("*.damaged"):
            path.unlink()

    def clear_partial(self) -> None:
        """Removes what a process that was killed left half written."""
        for path in self.folder.glob("*.partial"):
            path.unlink()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise IndexBusyError("The index was changed while it was read; please try again.") from error
    except (pa.ArrowException, OSError, KeyError, TypeError, FigureError) as error:
        raise DamagedShardError(
            f"{path} cannot be read ({error}): `medvint index verify` lists what is damaged, and building the corpus "
            f"{path.stem.rpartition('-')[0]} again makes it anew."
        ) from error
