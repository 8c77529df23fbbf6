"""Exact search with NumPy over an index's Parquet: what the measurements and the tests compare with.

exact = ExactIndex(data_dir)
measure_exact(search, exact, {"two thirds": vectors})       # recall@8 of the approximate index, in percent
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.build import index_folder
from retrieval.embedders import Vectors
from retrieval.figures import Figure
from retrieval.generation import Query
from retrieval.search import POOL, Search
from retrieval.store import Store
from serving.evaluation.intervals import Interval, interval

K = 8
SAME = 1e-5
"""Cosines that differ by less are the same: figures of equal captions may stand for each other."""


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


def measure_exact(search: Search, exact: ExactIndex, queries: Mapping[str, Vectors]) -> dict[str, Any]:
    """By kind of query: how many of the exact 8 nearest captions the index finds, in percent.

    Chroma's query asked for 8 and no more stands beside search, which collects more candidates and orders them itself.

    Args:
        queries: vectors [n, dim] of each kind.
    """
    generation = search.generation()
    numbers = {figure.figure_id: number for number, figure in enumerate(exact.figures)}
    found: dict[str, dict[str, Interval]] = {}
    for kind, vectors in queries.items():
        shares: dict[str, list[float]] = {"Chroma's query": [], "search": []}
        for vector in vectors:
            cosines = exact.vectors @ vector
            least = np.partition(cosines, -K)[-K] - SAME
            answer = generation.captions.query(query_embeddings=[vector], n_results=K, include=[])
            pool = generation.pool(Query(text=vector), POOL)
            best = generation.catalogue.figure_ids(pool.rows[np.argsort(-pool.views["text"])[:K]])
            for way, ids in (("Chroma's query", answer["ids"][0]), ("search", best)):
                shares[way].append(float(np.mean(cosines[[numbers[one] for one in ids]] >= least)))
        found[kind] = {way: interval(some, [str(n) for n in range(len(some))]) for way, some in shares.items()}
    return {"k": K, "n": {kind: len(vectors) for kind, vectors in queries.items()}, "recall": found}
