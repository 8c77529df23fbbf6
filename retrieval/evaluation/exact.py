"""Exact search with NumPy over an index's Parquet: what the measurements and the tests compare with."""

from pathlib import Path

import numpy as np

from retrieval.build import index_folder
from retrieval.embedders import Vectors
from retrieval.figures import Figure
from retrieval.store import Store


class ExactIndex:
    """All figures and their vectors in memory."""

    def __init__(self, data_dir: Path, source: str | None = None) -> None:
        self.figures: list[Figure] = []
        parts: list[Vectors] = []
        for figures, vectors in Store(index_folder(data_dir)).batches():
            keep = [i for i, figure in enumerate(figures) if source in (None, figure.source)]
            self.figures += [figures[i] for i in keep]
            parts.append(vectors[keep])
        self.vectors: Vectors = np.concatenate(parts)

    def top(self, query: Vectors, k: int) -> list[tuple[int, float]]:
        """Numbers of the `k` nearest figures and their cosines, nearest first."""
        cosines = self.vectors @ query
        nearest = np.argsort(-cosines, kind="stable")[:k]
        return [(int(i), float(cosines[i])) for i in nearest]
