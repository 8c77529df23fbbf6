"""Vectors that lie as captions do: articles within topics, many cases close together. Uniform ones would mislead.

vectors = Clustered(100_000)
vectors.block(0), vectors.queries(200)              # [BLOCK, 384], [200, 384], the same in every process
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from retrieval.embedders import Vectors

BLOCK = 5_000
"""Rows that are made, inserted and resumed together; Chroma takes at most 5,461."""
TOPICS = 200
PER_CASE = 50
COMMON, TOPIC, CASE = 0.3, 0.3, 0.4
"""Shares of a case's squared length: what all captions have in common, its topic, itself."""
OWN = (0.15, 0.45)
"""Share of a vector's squared length that only it has. So two of one case have a cosine of about 0.7, two at random
of 0.2, as captions of the sample embedded by MiniLM have (median to the nearest 0.71, at random 0.27)."""

_CENTRES, _BLOCKS, _QUERIES = range(3)


@dataclass(frozen=True)
class Clustered:
    """`count` vectors of length 1, float32 [count, dim], made block by block and never all held.

    The number of cases grows with `count`, so that a larger set covers more and is not only denser.
    """

    count: int
    dim: int = 384
    seed: int = 0

    @property
    def blocks(self) -> int:
        return -(-self.count // BLOCK)

    def block(self, number: int) -> Vectors:
        """Rows `number * BLOCK` to the next block or the end."""
        rows = min(BLOCK, self.count - number * BLOCK)
        return self._draw(rows, np.random.default_rng([self.seed, _BLOCKS, number]))

    def all(self) -> Iterator[Vectors]:
        return (self.block(number) for number in range(self.blocks))

    def queries(self, count: int) -> Vectors:
        """Vectors that are in no block, of the same cases."""
        return self._draw(count, np.random.default_rng([self.seed, _QUERIES]))

    @cached_property
    def _cases(self) -> Vectors:
        rng = np.random.default_rng([self.seed, _CENTRES])
        common, topics = _directions(rng, 1, self.dim), _directions(rng, TOPICS, self.dim)
        own = _directions(rng, max(1, self.count // PER_CASE), self.dim)
        cases = COMMON**0.5 * common + TOPIC**0.5 * topics[rng.integers(0, TOPICS, len(own))] + CASE**0.5 * own
        return _length_one(cases.astype(np.float32))

    def _draw(self, rows: int, rng: np.random.Generator) -> Vectors:
        cases = self._cases[rng.integers(0, len(self._cases), rows)]
        own = rng.uniform(*OWN, (rows, 1)).astype(np.float32)
        vectors = np.sqrt(1 - own) * cases + np.sqrt(own) * _directions(rng, rows, self.dim)
        return _length_one(vectors.astype(np.float32))


def _directions(rng: np.random.Generator, rows: int, dim: int) -> Vectors:
    return _length_one(rng.standard_normal((rows, dim), dtype=np.float32))


def _length_one(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def nearest(queries: Vectors, blocks: Iterator[Vectors], k: int) -> np.ndarray:
    """Row numbers of the `k` largest cosines, [queries, k], exact; one block is held at a time."""
    best = np.full((len(queries), k), -2, np.float32)
    rows = np.zeros((len(queries), k), np.int64)
    first = 0
    for block in blocks:
        cosines = np.concatenate([best, queries @ block.T], axis=1)
        here = np.broadcast_to(np.arange(first, first + len(block)), (len(queries), len(block)))
        numbers = np.concatenate([rows, here], axis=1)
        top = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        best, rows = np.take_along_axis(cosines, top, 1), np.take_along_axis(numbers, top, 1)
        first += len(block)
    return rows
