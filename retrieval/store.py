"""The index on disk: Parquet shards are the truth, Chroma is made from them and can always be made again.

index/parquet/       the shards (`store_shards`)
index/chroma/        generations of Chroma, and index/current.json, which names the one in use (`store_chroma`)
index/thumbnails/    small pictures, where the figures' files were there (`store_images`)
index/lock           held by the one process that writes

store = Store(Path("data/index"))
with store.writing():
    store.append("roco", figures, vectors, embedder)
    store.rebuild_chroma()
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retrieval.duplicates import Duplicates, find_duplicates
from retrieval.embedders import Embedder, Vectors
from retrieval.errors import EmbedderMismatchError, IndexBusyError, IndexMissingError
from retrieval.figures import Figure
from retrieval.store_chroma import Contents, Current, Generations, also_of, figure_of
from retrieval.store_images import Thumbnails
from retrieval.store_shards import Made, Rows, Shards, digest, no_images, to_table

__all__ = ["BUILD_COMMAND", "REBUILD_COMMAND", "Current", "Rows", "Store", "also_of", "digest", "figure_of"]

REBUILD_COMMAND = "medvint index rebuild"
BUILD_COMMAND = "medvint index build sample"
IMPORT_PREFIX = "import-"


class Store:
    """The folder of one index. Reading needs no lock; everything that writes runs within `writing()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parquet = Shards(folder / "parquet")
        self.generations = Generations(folder)
        self.thumbnails = Thumbnails(folder / "thumbnails")

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
            self._clear_leftovers()
            yield

    def _clear_leftovers(self) -> None:
        """What a process that was killed left half done."""
        self.parquet.clear_partial()
        for folder in self.folder.glob(f"{IMPORT_PREFIX}*"):
            shutil.rmtree(folder)

    # Parquet

    def shards(self, source: str | None = None) -> list[Path]:
        return self.parquet.paths(source)

    def check_there(self) -> None:
        """
        Raises:
            IndexMissingError: nothing was built yet.
        """
        if not self.shards():
            raise IndexMissingError(f"There is no index in {self.folder} yet: `{BUILD_COMMAND}` makes one.")

    def embedder_name(self) -> str | None:
        """Of the shards; None where there are none, two names where a rebuild was interrupted."""
        names = {self.parquet.made(shard).embedder for shard in self.shards()}
        return " and ".join(sorted(names)) or None

    def check_embedder(self, embedder: Embedder) -> None:
        """
        Raises:
            EmbedderMismatchError: another embedder made the shards.
        """
        made_by = self.embedder_name()
        if made_by is not None and made_by != embedder.name:
            raise self.mismatch(made_by, embedder)

    def mismatch(self, made_by: str, embedder: Embedder) -> EmbedderMismatchError:
        """That the index is another embedder's, and what mends it."""
        return EmbedderMismatchError(
            f'The index in {self.folder} was made by "{made_by}", but "{embedder.name}" is to use it: '
            f"`{REBUILD_COMMAND}` embeds it anew, or set MEDVINT_EMBEDDER to the embedder that made it."
        )

    def digests(self, source: str) -> dict[str, str]:
        """Figure id to digest of every figure of a source that is stored; of a figure stored twice the newer."""
        return self.parquet.digests(source)

    def append(
        self,
        source: str,
        figures: list[Figure],
        vectors: Vectors,
        embedder: Embedder,
        image_vectors: Vectors | None = None,
        hashes: Sequence[str] | None = None,
    ) -> Path:
        """One more shard, whole or not at all.

        Args:
            image_vectors: float32 [n, dim], NaN where a figure has no image; None where none has.
            hashes: perceptual hashes, "" where there is none.
        """
        seen = no_images(len(figures), embedder.dim) if image_vectors is None else image_vectors
        rows = Rows(figures, vectors, seen, list(hashes or [""] * len(figures)))
        space = embedder.image_space if rows.has_image.any() else ""
        return self.parquet.append(source, to_table(rows, Made(embedder.name, embedder.dim, space)))

    def batches(self) -> Iterator[tuple[list[Figure], Vectors]]:
        """Every figure once, with the vectors of its words; see `rows`."""
        for rows in self.rows():
            yield rows.figures, rows.vectors

    def rows(self, duplicates: Duplicates | None = None) -> Iterator[Rows]:
        """Every figure once, at most 1,024 at a time.

        Of a figure stored several times the article's own caption goes before a description of ours, one with an
        image before one without, and a newer shard before an older one. Vectors of images are all of one space.
        """
        found = find_duplicates(self.parquet) if duplicates is None else duplicates
        space = self.parquet.image_space()
        for path in self.shards():
            fits = self.parquet.made(path).image_space == space
            given: set[str] = set()
            for rows in self.parquet.rows(path):
                mine = []
                for number, figure in enumerate(rows.figures):
                    holder = found.shard.get(figure.figure_id)
                    if holder is None or (holder == path.name and figure.figure_id not in given):
                        mine.append(number)
                    if holder is not None:
                        given.add(figure.figure_id)
                chosen = rows.take(mine)
                if not fits:
                    chosen.image_vectors[:] = float("nan")
                if mine:
                    yield chosen

    # Pictures

    def thumbnail(self, figure_id: str) -> Path | None:
        """A JPEG of at most 320 pixels a side; None where the figure's file was not there when it was added."""
        return self.thumbnails.find(figure_id)

    # Chroma

    def current(self) -> Current | None:
        """None where there is none, or where it cannot be read: it is made from Parquet like the rest."""
        return self.generations.current()

    def in_step(self) -> bool:
        """Whether Chroma was made from exactly the shards that are there."""
        current = self.current()
        return current is not None and current.shards == self.parquet.sizes()

    def rebuild_chroma(
        self,
        chroma_url: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        *,
        fresh: bool = False,
        keep_before: bool = True,
    ) -> Current:
        """Makes a new generation from Parquet the current one; needs `writing()`.

        What the generation before holds is taken over, so that few new figures in a large index take seconds.

        Args:
            fresh: take nothing over.
            keep_before: leave the generation before to readers in other processes that are amid a query.

        Raises:
            IndexMissingError: there is no Parquet to make it from.
            EmbedderMismatchError: two embedders made the shards.
            DamagedShardError: a shard cannot be read.
            ChromaUnreachableError: no server at `chroma_url`.
        """
        self.check_there()
        names = self.embedder_name()
        first = self.parquet.made(self.shards()[0])
        if names != first.embedder:
            raise EmbedderMismatchError(f"{names} made the index together: `{REBUILD_COMMAND}` makes it one.")
        duplicates = find_duplicates(self.parquet)
        repeated = len(duplicates.shard)
        contents = Contents(
            rows=lambda: self.rows(duplicates),
            total=max(1, sum(map(self.parquet.count, self.shards())) - repeated),
            made=Made(first.embedder, first.dim, self.parquet.image_space()),
            shards=self.parquet.sizes(),
            duplicates=duplicates,
        )
        return self.generations.fill(contents, chroma_url, progress, fresh=fresh, keep_before=keep_before)

    def open_collection(self, current: Current, chroma_url: str | None = None) -> Any:
        """The Chroma collection of a generation: vectors of the words, captions, metadata.

        Raises:
            IndexMissingError: it is not there, cannot be read or is not whole.
            ChromaUnreachableError: no server at `chroma_url`.
        """
        return self.generations.open(current, chroma_url)

    def open_images(self, current: Current, chroma_url: str | None = None) -> Any | None:
        """The collection of the vectors of images, under the same ids; None where the index has none.

        Raises as `open_collection` does.
        """
        return self.generations.open_images(current, chroma_url)

    def clear(self, chroma_url: str | None = None) -> None:
        """Nothing but the lock is left; needs `writing()`."""
        self.generations.clear(chroma_url)
        for folder in (self.parquet.folder, self.thumbnails.folder):
            shutil.rmtree(folder, ignore_errors=True)
