"""One generation of the index, opened: Chroma's collections beside the catalogue.

A query collects candidates here by every view; nothing but ids and vectors is read of them. `show` reads the few
figures that are shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.catalogue import Catalogue, Mask, Rows
from retrieval.embedders import Vectors
from retrieval.figures import Figure
from retrieval.fusion import Pool
from retrieval.relevance import View
from retrieval.store import Current, also_of, figure_of

EXACT_UP_TO = 2000
"""Where filters leave so few figures, all of them are compared."""
SPARE = 1.5


@dataclass(frozen=True)
class Query:
    """What is looked for, embedded; what is None or "" is not asked."""

    image: Vectors | None = None
    text: Vectors | None = None
    words: str = ""


@dataclass(frozen=True)
class Generation:
    """`pictures` holds the vectors of the figures' own images; None where there are none."""

    current: Current
    captions: Any
    pictures: Any | None
    catalogue: Catalogue

    def pool(self, query: Query, count: int, mask: Mask | None = None) -> Pool:
        """What each view finds, `count` each, and how well all of that fits by all views.

        Args:
            mask: which rows of the catalogue may be found; None for all.
        """
        asked: dict[View, Vectors] = {}
        if query.image is not None:
            asked["image"] = query.image
        if query.text is not None:
            asked["text"] = query.text
        rows, vectors = self._nearest(self.captions, list(asked.values()), count, mask)
        look = [query.image] if query.image is not None else []
        seen, looks = self._nearest(self.pictures, look, count, mask) if self.pictures is not None else self._none()
        terms = self.catalogue.terms.scores(query.words) if query.words else None
        exact = self._best(terms, count, mask) if terms is not None else np.zeros(0, np.int64)
        together = np.unique(np.concatenate([rows, seen, exact]))
        captions = self._complete(self.captions, together, rows, vectors)
        views = {view: captions @ vector for view, vector in asked.items()}
        if terms is not None:
            views["terms"] = terms[together]
        if query.image is not None and self.pictures is not None:
            views["look"] = self._complete(self.pictures, together, seen, looks) @ query.image
        return Pool(together, views)

    def show(self, rows: Rows) -> list[tuple[Figure, tuple[Figure, ...]]]:
        """The figures of rows, in their order, each with what other corpora have under its id."""
        ids = self.catalogue.figure_ids(rows)
        if not ids:
            return []
        answer = self.captions.get(ids=ids, include=["documents", "metadatas"])
        figures = {
            figure_id: (figure_of(figure_id, text, metadata), also_of(metadata))
            for figure_id, text, metadata in zip(answer["ids"], answer["documents"], answer["metadatas"], strict=True)
        }
        return [figures[figure_id] for figure_id in ids]

    def figure(self, figure_id: str) -> Figure | None:
        """The figure of an id; None where there is none."""
        answer = self.captions.get(ids=[figure_id], include=["documents", "metadatas"])
        if not answer["ids"]:
            return None
        return figure_of(figure_id, answer["documents"][0], answer["metadatas"][0])

    def query_of(self, figure_id: str) -> Query | None:
        """A figure as a query: its caption and, where there is one, its image. None: there is no such figure."""
        found = self.captions.get(ids=[figure_id], include=["embeddings"])
        if not found["ids"]:
            return None
        image = self.pictures.get(ids=[figure_id], include=["embeddings"]) if self.pictures is not None else None
        has_image = image is not None and bool(image["ids"])
        return Query(
            image=np.asarray(image["embeddings"][0], np.float32) if image is not None and has_image else None,
            text=np.asarray(found["embeddings"][0], np.float32),
        )

    def _nearest(
        self, collection: Any, queries: Sequence[Vectors], count: int, mask: Mask | None
    ) -> tuple[Rows, Vectors]:
        """Rows and vectors of the `count` nearest to each query that may be found, each row once."""
        if not queries:
            return self._none()
        size = len(self.catalogue)
        may = size if mask is None else int(np.count_nonzero(mask))
        if may <= EXACT_UP_TO and mask is not None:
            ids = self.catalogue.figure_ids(np.flatnonzero(mask))
            rows, vectors = self._vectors(collection.get(ids=ids, include=["embeddings"])) if ids else self._none()
            best = {int(place) for query in queries for place in np.argsort(-(vectors @ query))[:count]}
            return rows[sorted(best)], vectors[sorted(best)]
        fetch = min(size, count if mask is None else int(count * SPARE * size / may))
        while True:
            answer = collection.query(query_embeddings=np.stack(queries), n_results=fetch, include=["embeddings"])
            parts = [
                self._vectors({"ids": ids, "embeddings": vectors})
                for ids, vectors in zip(answer["ids"], answer["embeddings"], strict=True)
            ]
            if mask is not None:
                short = any(np.count_nonzero(mask[rows]) < count for rows, _ in parts)
                parts = [(rows[mask[rows]][:count], vectors[mask[rows]][:count]) for rows, vectors in parts]
                if short and fetch < size:
                    fetch = min(size, 4 * fetch)
                    continue
            rows = np.concatenate([rows for rows, _ in parts])
            vectors = np.concatenate([vectors for _, vectors in parts])
            rows, first = np.unique(rows, return_index=True)
            return rows, vectors[first]

    def _complete(self, collection: Any, wanted: Rows, rows: Rows, vectors: Vectors) -> Vectors:
        """The vectors of all wanted rows, of which some are here already; NaN where the collection has none."""
        out = np.full((len(wanted), self.current.dim), np.nan, np.float32)
        out[np.searchsorted(wanted, rows)] = vectors
        missing = np.setdiff1d(wanted, rows)
        if len(missing):
            ids = self.catalogue.figure_ids(missing)
            found, more = self._vectors(collection.get(ids=ids, include=["embeddings"]))
            out[np.searchsorted(wanted, found)] = more
        return out

    def _vectors(self, answer: dict[str, Any]) -> tuple[Rows, Vectors]:
        if not answer["ids"]:
            return self._none()
        return self.catalogue.rows(answer["ids"]), np.asarray(answer["embeddings"], np.float32)

    def _none(self) -> tuple[Rows, Vectors]:
        return np.zeros(0, np.int64), np.zeros((0, self.current.dim), np.float32)

    def _best(self, scores: Vectors, count: int, mask: Mask | None) -> Rows:
        scores = scores if mask is None else np.where(mask, scores, 0)
        some = np.argpartition(-scores, count)[:count] if count < len(scores) else np.arange(len(scores))
        return some[scores[some] > 0]
