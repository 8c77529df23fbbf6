"""What search keeps of every figure of a generation beside Chroma: memory-mapped columns, and BM25.

    index/lexical/{generation}.{layout}/    of each row: id, article, duplicate group, facets, year, vectors, the terms
                                            of its caption, what is shown of it

Chroma finds ids within two milliseconds, but needs as long again for their vectors, longer for their metadata, and
longest for a `where`. So Chroma is only asked for the nearest, and everything else is here. It is made from the
generation itself, so that the two never differ.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.lexical import LexicalIndex, write_lexical
from retrieval.store_chroma import also_of

FACETS = ("modality", "region", "license", "source")
_COLUMNS = ("article", "group", *FACETS)
LAYOUT = 2
"""Of the folder; one of another layout is made anew."""
_PAGE = 5000
_VECTORS, _LOOKS, _SHOWN = "vectors.npy", "looks.npy", "shown.bin"
_BETWEEN = "\n"
"""Between the corpora of a figure that several have."""

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Column:
    """Of each row the number of its name; `names` are sorted."""

    codes: NDArray[np.int32]
    names: NDArray[np.bytes_]

    def among(self, values: Collection[str]) -> Mask:
        """Which rows have one of the values."""
        return np.isin(self.names, _encoded(values))[self.codes]

    def where(self, fits: Callable[[str], bool]) -> Mask:
        """Which rows have a value that fits; a row may have several."""
        names = [any(map(fits, name.decode().split(_BETWEEN))) for name in self.names.tolist()]
        return np.array(names, bool)[self.codes]


class Catalogue:
    """One row a figure, sorted by id. Arrays are read from disk as they are needed.

    `vectors` float32 [n, dim] of the words; `looks` float32 [n, dim] of the images, NaN where a figure has none, None
    where none has.
    """

    def __init__(self, folder: Path) -> None:
        self.ids: NDArray[np.bytes_] = np.load(folder / "ids.npy", mmap_mode="r")
        self.years: NDArray[np.int16] = np.load(folder / "years.npy", mmap_mode="r")
        self.columns = {
            name: Column(np.load(folder / f"{name}.npy", mmap_mode="r"), np.load(folder / f"{name}-names.npy"))
            for name in _COLUMNS
        }
        self.terms = LexicalIndex(folder / "bm25")
        self.vectors: NDArray[np.float32] = np.load(folder / _VECTORS, mmap_mode="r")
        self.looks: NDArray[np.float32] | None = None
        if (folder / _LOOKS).is_file():
            self.looks = np.load(folder / _LOOKS, mmap_mode="r")
        self._shown: NDArray[np.uint8] = np.memmap(folder / _SHOWN, np.uint8, "r")
        self._ends: NDArray[np.int64] = np.load(folder / "shown-ends.npy", mmap_mode="r")
        self._group_sizes = np.bincount(self.columns["group"].codes)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, figure_ids: Sequence[str]) -> Rows:
        """The rows of ids that are there."""
        return np.searchsorted(self.ids, _encoded(figure_ids))

    def figure_ids(self, rows: Rows) -> list[str]:
        """The inverse of `rows`."""
        return [value.decode() for value in self.ids[rows].tolist()]

    def shown(self, row: int) -> tuple[str, dict[str, Any]]:
        """Caption and metadata of a row, as Chroma has them."""
        start = int(self._ends[row - 1]) if row else 0
        caption, metadata = json.loads(self._shown[start : int(self._ends[row])].tobytes())
        return caption, metadata

    def duplicates(self, row: int, mask: Mask | None) -> tuple[int, ...]:
        """The other rows of its group, of those that may be found."""
        group = self.columns["group"].codes
        if self._group_sizes[group[row]] == 1:
            return ()
        same = group == group[row]
        return tuple(int(other) for other in np.flatnonzero(same if mask is None else same & mask) if other != row)

    def names(self, column: str) -> list[str]:
        """The values that a column has, without the empty one."""
        names = {part for name in self.columns[column].names.tolist() for part in name.decode().split(_BETWEEN)}
        return sorted(names - {""})


def open_catalogue(folder: Path, captions: Any, pictures: Any | None) -> Catalogue:
    """The catalogue in `folder`, made first where it is not there.

    Args:
        pictures: the collection of images' vectors; None where there is none, or none that queries compare with.
    """
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.partial")
        partial.mkdir(parents=True)
        _write(partial, captions)
        try:
            partial.rename(folder)
        except OSError:
            # Another process was faster; its catalogue holds the same.
            shutil.rmtree(partial)
            if not folder.is_dir():
                raise
    if pictures is not None and not (folder / _LOOKS).is_file():
        partial = folder / f"{uuid.uuid4().hex[:8]}.partial"
        _write_vectors(partial, np.load(folder / "ids.npy", mmap_mode="r"), pictures)
        partial.replace(folder / _LOOKS)
    return Catalogue(folder)


def _write(folder: Path, collection: Any) -> None:
    ids: list[str] = []
    texts: list[str] = []
    years: list[int] = []
    shown: list[bytes] = []
    values: dict[str, list[str]] = {name: [] for name in _COLUMNS}
    for figure_id, caption, metadata in _read(collection):
        ids.append(figure_id)
        shown.append(json.dumps([caption, metadata]).encode())
        texts.append(f"{caption} {metadata.get('description', '')}")
        years.append(metadata.get("year", 0))
        # A figure without a PMCID is an article of its own: an own collection has no articles.
        values["article"].append(metadata.get("pmcid", "") or figure_id)
        values["group"].append(str(metadata.get("group", "")) or figure_id)
        for name in FACETS:
            values[name].append(metadata.get(name, ""))
        for other in also_of(metadata):
            values["source"][-1] += _BETWEEN + other.source
    encoded = _encoded(ids)
    order = np.argsort(encoded)
    np.save(folder / "ids.npy", encoded[order])
    np.save(folder / "years.npy", np.array(years, np.int16)[order])
    for name, column in values.items():
        names, codes = np.unique(_encoded(column), return_inverse=True)
        np.save(folder / f"{name}.npy", codes[order].astype(np.int32))
        np.save(folder / f"{name}-names.npy", names)
    write_lexical(folder / "bm25", [texts[row] for row in order])
    with (folder / _SHOWN).open("wb") as file:
        ends = np.cumsum([file.write(shown[row]) for row in order])
    np.save(folder / "shown-ends.npy", ends)
    _write_vectors(folder / _VECTORS, encoded[order], collection)


def _write_vectors(file: Path, ids: NDArray[np.bytes_], collection: Any) -> None:
    vectors = None
    for offset in range(0, collection.count(), _PAGE):
        page = collection.get(limit=_PAGE, offset=offset, include=["embeddings"])
        part = np.asarray(page["embeddings"], np.float32)
        if vectors is None:
            vectors = np.lib.format.open_memmap(file, "w+", np.float32, (len(ids), part.shape[1]))
            vectors[:] = np.nan
        vectors[np.searchsorted(ids, _encoded(page["ids"]))] = part


def _read(collection: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for offset in range(0, collection.count(), _PAGE):
        page = collection.get(limit=_PAGE, offset=offset, include=["documents", "metadatas"])
        yield from zip(page["ids"], page["documents"], page["metadatas"], strict=True)


def _encoded(values: Collection[str]) -> NDArray[np.bytes_]:
    # Bytes sort and compare as they are stored; an array of no strings still needs a width.
    return np.array([value.encode() for value in values] or [b""], np.bytes_)[: len(values)]
