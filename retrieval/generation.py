"""One generation of the index, opened: Chroma's collections beside the catalogue.

Chroma finds the nearest; everything else of them is in the catalogue.
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

_NO_ROWS: Rows = np.zeros(0, np.int64)


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
        rows = self._nearest(self.captions, self.catalogue.vectors, list(asked.values()), count, mask)
        terms = self.catalogue.terms.scores(query.words) if query.words else None
        exact = self._best(terms, count, mask) if terms is not None else _NO_ROWS
        looks = self.catalogue.looks if self.pictures is not None else None
        seen = _NO_ROWS
        if query.image is not None and looks is not None:
            seen = self._nearest(self.pictures, looks, [query.image], count, mask)
        together = np.unique(np.concatenate([rows, seen, exact]))
        captions = self.catalogue.vectors[together]
        views = {view: captions @ vector for view, vector in asked.items()}
        if terms is not None:
            views["terms"] = terms[together]
        if query.image is not None and looks is not None:
            views["look"] = looks[together] @ query.image
        return Pool(together, views)

    def show(self, rows: Rows) -> list[tuple[Figure, tuple[Figure, ...]]]:
        """The figures of rows, in their order, each with what other corpora have under its id."""
        found = []
        for figure_id, row in zip(self.catalogue.figure_ids(rows), rows.tolist(), strict=True):
            caption, metadata = self.catalogue.shown(row)
            found.append((figure_of(figure_id, caption, metadata), also_of(metadata)))
        return found

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
        self, collection: Any, vectors: Vectors, queries: Sequence[Vectors], count: int, mask: Mask | None
    ) -> Rows:
        """The `count` rows nearest to each query that may be found, each row once.

        Args:
            vectors: what the collection holds, by row; NaN where it has none.
        """
        if not queries:
            return _NO_ROWS
        size = len(self.catalogue)
        may = size if mask is None else int(np.count_nonzero(mask))
        if may <= EXACT_UP_TO and mask is not None:
            rows = np.flatnonzero(mask)
            rows = rows[~np.isnan(vectors[rows, 0])]
            near = [rows[np.argsort(-(vectors[rows] @ query))[:count]] for query in queries]
            return np.unique(np.concatenate(near))
        fetch = min(size, count if mask is None else int(count * SPARE * size / may))
        while True:
            answer = collection.query(query_embeddings=np.stack(queries), n_results=fetch, include=[])
            parts = [self.catalogue.rows(ids) for ids in answer["ids"]]
            if mask is not None:
                short = any(np.count_nonzero(mask[rows]) < count for rows in parts)
                parts = [rows[mask[rows]][:count] for rows in parts]
                if short and fetch < size:
                    fetch = min(size, 4 * fetch)
                    continue
            return np.unique(np.concatenate(parts))

    def _best(self, scores: Vectors, count: int, mask: Mask | None) -> Rows:
        scores = scores if mask is None else np.where(mask, scores, 0)
        some = np.argpartition(-scores, count)[:count] if count < len(scores) else np.arange(len(scores))
        return some[scores[some] > 0]
