"""What the benchmarks of retrieval share: their options, the corpus they use, and works timed in turn."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval.corpora.reading import CorpusReport
from retrieval.corpora.registry import read_corpus
from retrieval.figures import Figure
from serving.benchmarks.measuring import BenchmarkError

DATA = Path("../shared/data")
RESULTS = Path("data/reports/retrieval")
QUESTION = "What does the radiograph of the chest show?"
K = 8
"""Figures that a search is asked for."""


@dataclass(frozen=True)
class Source:
    """A corpus to measure with, as `build_index` takes it; `licences` None takes the open ones."""

    corpus: str
    path: Path | None
    licences: frozenset[str] | None = None


ALL_LICENCES = frozenset({"CC BY", "CC BY-SA", "CC BY-NC", "CC BY-NC-SA", "CC BY-NC-ND", "CC BY-ND", "CC0", "unknown"})


def roco(data: Path) -> Source:
    """The 22 thousand captions of ROCO that lie in `data`.

    Raises:
        BenchmarkError: they are not there.
    """
    folder = data / "roco-captions"
    if not folder.is_dir():
        raise BenchmarkError(f"There is no {folder}: give the folder that holds it with --data.")
    return Source("roco", folder, ALL_LICENCES)


def read(source: Source) -> list[Figure]:
    """Its figures, which need no state of their own."""
    return list(read_corpus(source.corpus, source.path, source.licences, CorpusReport(), Path("data")))


def images_of(data: Path, count: int) -> list[Image.Image]:
    """Radiographs, CT and MRI slices of SLAKE.

    Raises:
        BenchmarkError: they are not there.
    """
    files = sorted((data / "slake" / "imgs").glob("*/source.jpg"))[:count]
    if not files:
        raise BenchmarkError(f"There are no images in {data / 'slake'}: give the folder that holds it with --data.")
    return [Image.open(file).convert("RGB") for file in files]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that all of them have."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help=f"the folder of the public data sets ({DATA})")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"where the result goes ({RESULTS})")
    return parser


def in_turn(count: int, *works: Callable[[int], object]) -> list[list[float]]:
    """Milliseconds of each work for the numbers 0 to `count`, side by side, the order changing with each number.

    Each has run once before, so that nothing is loaded while the clock runs.
    """
    for work in works:
        work(0)
    times: list[list[float]] = [[] for _ in works]
    for number in range(count):
        for which in sorted(range(len(works)), reverse=number % 2 == 1):
            start = time.perf_counter()
            works[which](number)
            times[which].append(1000 * (time.perf_counter() - start))
    return times


def seconds(work: Callable[[], object]) -> float:
    """How long it takes, once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def p50(values: Sequence[float]) -> float:
    return float(np.percentile(values, 50))


def p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95))
