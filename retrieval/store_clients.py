"""Clients of Chroma, a directory or a server, and what is wrong with either in one sentence.

with in_words(None), closing(connect(Path("data/index/chroma/0123456789ab"), None)) as client:
    checked(client, "figures-0123456789ab", expected=21706, dim=384)
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import chromadb
import httpx
import numpy as np
from chromadb.config import Settings

from retrieval.errors import ChromaUnreachableError, IndexMissingError

STAMPS = "stamps.parquet"
CHECKSUMS = "checksums.json"
_GRAPH_IS_KEPT = "index_metadata.pickle"


def connect(folder: Path, chroma_url: str | None) -> Any:
    """A client of the Chroma directory, or of the server.

    Raises:
        ChromaUnreachableError: no server at `chroma_url`.
        IndexMissingError: the directory is no Chroma's.
    """
    settings = Settings(anonymized_telemetry=False)
    if chroma_url is None:
        with in_words(None):
            try:
                return chromadb.PersistentClient(str(folder), settings=settings)
            except AttributeError as error:
                # Chroma 1.5.9, tidying up after a database that it could not open.
                raise IndexMissingError(f"{folder} holds no Chroma database that can be opened.") from error
    scheme, _, rest = chroma_url.rpartition("://")
    host, _, port = rest.rstrip("/").partition(":")
    secure = scheme == "https"
    try:
        return chromadb.HttpClient(host, int(port or (443 if secure else 8000)), ssl=secure, settings=settings)
    except ValueError as error:
        raise _unreachable(chroma_url) from error


def checked(client: Any, name: str, expected: int, dim: int) -> Any:
    """The collection, if it is whole: raises IndexMissingError where it is not, Chroma's errors where it is damaged."""
    collection = client.get_collection(name, embedding_function=None)
    count = collection.count()
    # Counting reads the database only; a query reads the graph as well.
    probe = np.full((1, dim), dim**-0.5, np.float32)
    answered = len(collection.query(query_embeddings=probe, n_results=1, include=[])["ids"][0])
    if count != expected or answered != 1:
        raise IndexMissingError(f"Chroma holds {count} of {expected} vectors.")
    return collection


def _unreachable(chroma_url: str | None) -> ChromaUnreachableError:
    return ChromaUnreachableError(
        f"No Chroma server answers at {chroma_url}: start one with `chroma run`, or unset MEDVINT_CHROMA_URL."
    )


@contextmanager
def reachable(chroma_url: str | None) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise _unreachable(chroma_url) from error


@contextmanager
def in_words(chroma_url: str | None) -> Iterator[None]:
    with reachable(chroma_url):
        try:
            yield
        except (chromadb.errors.ChromaError, ValueError) as error:
            raise IndexMissingError(f"Chroma's part of the index cannot be read: {error}") from error


def write_checksums(folder: Path) -> None:
    """Of everything in a generation that is not the database, which Chroma checks itself, in `CHECKSUMS`."""
    (folder / CHECKSUMS).write_text(json.dumps(_checksums(folder)), encoding="utf-8")


def check_files(folder: Path) -> None:
    """Chroma 1.5.9 ends the process with a segmentation fault where the file of a graph is cut off.

    Raises:
        IndexMissingError: a file was changed since `write_checksums`, or is not there.
    """
    try:
        expected = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        found = _checksums(folder)
    except (OSError, ValueError) as error:
        raise IndexMissingError(f"Chroma's part of the index cannot be read: {error}") from error
    if found != expected:
        raise IndexMissingError(f"The files in {folder} are not as they were written.")


def _checksums(folder: Path) -> dict[str, str]:
    """Graphs of fewer than a thousand vectors have files, too, but those mean nothing and change."""
    graphs = [file for mark in folder.glob(f"*/{_GRAPH_IS_KEPT}") for file in mark.parent.iterdir()]
    found = {}
    for file in (folder / STAMPS, *sorted(graphs)):
        with file.open("rb") as opened:
            found[file.relative_to(folder).as_posix()] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found
