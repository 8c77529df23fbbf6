"""95 % intervals and paired tests that know that the questions of one image are not independent.

interval([1, 0, 1], images=["a", "a", "b"])       # {"value": 66.7, "low": 50.0, "high": 100.0}, percent
mcnemar(only_a=12, only_b=3)                      # 0.035, exact and two-sided
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from scipy.stats import binomtest

ROUNDS = 2000
BATCH = 100


class Interval(TypedDict):
    """Percent, or points of percent for a difference."""

    value: float
    low: float
    high: float


def intervals(columns: np.ndarray, images: Sequence[str], seed: int = 0, rounds: int = ROUNDS) -> list[Interval]:
    """The mean of each column in percent, with a bootstrap that draws whole images.

    Args:
        columns: (questions, columns) of values in [-1, 1].
        images: the image of each question, the unit that is drawn with replacement.
    """
    _, group = np.unique(np.asarray(images), return_inverse=True)
    count = int(group.max()) + 1
    sums = np.zeros((count, columns.shape[1]))
    np.add.at(sums, group, columns)
    sizes = np.bincount(group, minlength=count)
    draw = np.random.default_rng(seed)
    means = []
    for start in range(0, rounds, BATCH):
        weights = draw.multinomial(count, np.full(count, 1 / count), size=min(BATCH, rounds - start))
        means.append(weights @ sums / (weights @ sizes)[:, None])
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return [
        Interval(value=_percent(value), low=_percent(below), high=_percent(above))
        for value, below, above in zip(columns.mean(axis=0), low, high, strict=True)
    ]


def interval(values: Sequence[float], images: Sequence[str], seed: int = 0) -> Interval:
    """`intervals` of one column."""
    return intervals(np.asarray(values, dtype=float)[:, None], images, seed)[0]


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact McNemar test: the two-sided binomial probability of flips at least as uneven as these."""
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _percent(share: float) -> float:
    return round(100 * float(share), 1) + 0.0  # + 0.0: no minus before a zero
