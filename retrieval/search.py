"""Search by image, by words, or both.

    search = open_search(Path("data"))
    search.search("pneumothorax", None)              # list[Hit], [] where nothing is similar
    search.search("What is this?", image, k=8)

The two queries are embedded into one space and each finds its own list; a figure that both speak for goes up.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retrieval.build import index_folder
from retrieval.embedders import DemoEmbedder, Embedder, Vectors
from retrieval.errors import EmbedderMismatchError, IndexBusyError, IndexMissingError
from retrieval.figures import Figure, Hit
from retrieval.store import BUILD_COMMAND, REBUILD_COMMAND, Current, Store, figure_of

POOL = 50
"""Candidates that each query brings: more than anyone is shown, so that fusion can lift what both found."""


@dataclass(frozen=True)
class Floors:
    """The cosine under which a query has found nothing; `retrieval/evaluation/floors.py` measures them.

    On the 434 figures of the sample, chosen on these same queries. Text: 0.32 rejects 59 of 60 questions on
    other subjects and 15 of the 529 questions of SLAKE's validate and VQA-RAD's validation part. Image: 0.40
    rejects 14 of 17 photographs and drawings and 38 of 40 pieces of nonsense, none of the held-out radiology,
    and 39 of 100 knees, skin and blood, of which the sample has few.
    """

    image: float
    text: float


FLOORS = Floors(image=0.40, text=0.32)
IMAGE_WEIGHT = 0.5
"""Of two queries that both tell something. At 0.5, 92.7 % of the captions found name the image's modality, at 0.8
98.3 %; what the question gains is not measured yet (`retrieval/evaluation/agreement.py`)."""


@dataclass(frozen=True)
class Candidate:
    """A figure with its cosine to every query that was made."""

    figure: Figure
    cosines: Mapping[str, float]


def fuse(candidates: list[Candidate], floors: Floors = FLOORS, image_weight: float = IMAGE_WEIGHT) -> list[Hit]:
    """Candidates of one or two queries as ranked hits; [] where no query reaches its floor.

    A query whose best candidate stays under its floor is left out: "What is shown here?" says nothing about
    a figure, and must not push the image's finds down. `score` is the mean of the cosines, weighted.
    """
    floor = {"image": floors.image, "text": floors.text}
    weight = {"image": image_weight, "text": 1 - image_weight}
    queries = {query for candidate in candidates for query in candidate.cosines}
    telling = sorted(q for q in queries if max(c.cosines[q] for c in candidates) >= floor[q])
    if not telling:
        return []
    total = sum(weight[query] for query in telling)
    scored = []
    for candidate in candidates:
        found_by = tuple(query for query in telling if candidate.cosines[query] >= floor[query])
        score = sum(weight[query] * candidate.cosines[query] for query in telling) / total
        if found_by:
            scored.append((score, candidate.figure, found_by))
    scored.sort(key=lambda item: (-item[0], item[1].figure_id))
    return [
        Hit(figure, min(max(score, 0.0), 1.0), rank, found_by)
        for rank, (score, figure, found_by) in enumerate(scored, 1)
    ]


class Search:
    """Search over one index; safe to call from several threads; notices when the index was rebuilt."""

    def __init__(
        self, store: Store, embedder: Embedder, chroma_url: str | None = None, floors: Floors = FLOORS
    ) -> None:
        self._store, self._embedder, self._chroma_url, self._floors = store, embedder, chroma_url, floors
        self._opening = threading.Lock()
        self._opened: tuple[Current, Any] | None = None
        self._collection()

    def search(self, text: str | None, image: Image.Image | None, k: int = 8) -> list[Hit]:
        """At most `k` figures, best first; [] where nothing reaches the floor, or there is neither text nor image.

        Raises:
            WeightsMissingError: an image is given and the image embedder has no weights.
            IndexMissingError: the index was deleted meanwhile.
        """
        queries: dict[str, Vectors] = {}
        if image is not None:
            queries["image"] = self._embedder.embed_images([image])[0]
        if text and text.strip():
            queries["text"] = self._embedder.embed_texts([text.strip()])[0]
        return fuse(self.candidates(queries, max(POOL, k)), self._floors)[:k] if queries else []

    def candidates(self, queries: Mapping[str, Vectors], count: int) -> list[Candidate]:
        """What each query finds, `count` each, with the cosines to all queries."""
        if not queries:
            return []
        current, collection = self._collection()
        answer = collection.query(
            query_embeddings=np.stack(list(queries.values())),
            n_results=min(count, current.figures),
            include=["metadatas", "documents", "embeddings"],
        )
        found: dict[str, Candidate] = {}
        for ids, texts, metadatas, vectors in zip(
            answer["ids"], answer["documents"], answer["metadatas"], answer["embeddings"], strict=True
        ):
            cosines = np.asarray(vectors, np.float32) @ np.stack(list(queries.values())).T
            for figure_id, text, metadata, row in zip(ids, texts, metadatas, cosines.tolist(), strict=True):
                if figure_id not in found:
                    found[figure_id] = Candidate(
                        figure_of(figure_id, text, metadata), dict(zip(queries, row, strict=True))
                    )
        return list(found.values())

    def __len__(self) -> int:
        return self._collection()[0].figures

    def _collection(self) -> tuple[Current, Any]:
        """The current generation's collection; a build in another process may have made a newer one."""
        with self._opening:
            current = self._store.current()
            if self._opened is not None and current == self._opened[0]:
                return self._opened
            if current is not None and current.embedder != self._embedder.name:
                raise EmbedderMismatchError(
                    f'The index in {self._store.folder} was made by "{current.embedder}", but searches use '
                    f'"{self._embedder.name}": `{REBUILD_COMMAND}` embeds its captions anew.'
                )
            try:
                if current is None:
                    raise IndexMissingError("There is no current generation.")
                collection = self._store.open_collection(current, self._chroma_url)
            except IndexMissingError:
                current, collection = self._heal()
            self._opened = current, collection
            return self._opened

    def _heal(self) -> tuple[Current, Any]:
        """Chroma is lost or damaged: it is made anew from Parquet."""
        if not self._store.shards():
            raise IndexMissingError(f"There is no index in {self._store.folder} yet: `{BUILD_COMMAND}` makes one.")
        self._store.check_embedder(self._embedder)
        try:
            with self._store.writing():
                current = self._store.rebuild_chroma(self._chroma_url)
        except IndexBusyError as error:
            raise IndexBusyError(f"The index is not ready yet. {error}") from error
        return current, self._store.open_collection(current, self._chroma_url)


def open_search(data_dir: Path, chroma_url: str | None = None, embedder: Embedder | None = None) -> Search:
    """Open the index at `data_dir/index`, with Chroma embedded or as the server at `chroma_url`.

    A missing or damaged Chroma directory is made anew from Parquet (about a thousand figures a second).

    Raises:
        IndexMissingError: nothing was built yet; the message names the command.
        IndexBusyError: the index is being built for the first time.
        EmbedderMismatchError: another embedder made the index; the message names the command.
    """
    return Search(Store(index_folder(data_dir)), embedder or DemoEmbedder(), chroma_url)
