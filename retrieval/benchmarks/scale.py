"""How Chroma grows with the number of figures: inserting, latency, recall, memory, disk, opening again.

    python -m retrieval.benchmarks.scale
    python -m retrieval.benchmarks.scale --sizes 100000,1000000 --work data/scale

Vectors of 384 numbers, clustered, with captions and metadata of ROCO. A fill that was stopped, by a kill too, goes
on where it was: `--work` keeps it. Each size is filled and measured in processes of its own.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from retrieval.benchmarks.common import K, arguments, read, roco
from retrieval.benchmarks.growing import Filled, Measured, fill, measure
from retrieval.benchmarks.vectors import Clustered
from retrieval.figures import Figure
from serving.benchmarks.measuring import GB, Row, machine, save

SIZES = (100_000, 1_000_000)
WORK = Path("data/scale")

Grown = dict[int, tuple[Filled, Measured]]


def grow(sizes: Sequence[int], work: Path, figures: Sequence[Figure]) -> Grown:
    """Fill and measure every size under `work`, smallest first."""
    grown = {}
    for size in sorted(sizes):
        folder, vectors = work / str(size), Clustered(size)
        filled = _in_a_process(fill, folder, vectors, figures, _show)
        grown[size] = filled, _in_a_process(measure, folder, vectors)
    return grown


def _in_a_process(work: Callable[..., Any], *arguments: Any) -> Any:
    # Started anew and not forked, so that it holds nothing but its own.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def _show(done: int, total: int, left_s: float) -> None:
    if done * 50 // total != (done - 1) * 50 // total or done == total:
        print(f"{done:,} of {total:,} inserted, {left_s / 60:.0f} min left", file=sys.stderr, flush=True)


def rows(grown: Grown) -> list[Row]:
    """Every size beside what it is measured against, then how the larger compare with the smallest."""
    found = [row for size, (filled, measured) in grown.items() for row in _rows_of(size, filled, measured)]
    smallest, *larger = grown
    return found + [row for size in larger for row in _growth(grown, smallest, size)]


def _rows_of(size: int, filled: Filled, measured: Measured) -> list[Row]:
    alone = size * Clustered(size).dim * 4 / GB
    name = f"{size:,}"
    vectors = "the vectors alone, float32"
    return [
        Row(f"{name}: insert, last tenth", filled.last_rate, "first tenth", filled.first_rate, "/s"),
        Row(
            f"{name}: insert by one core, last tenth",
            filled.last_per_cpu_s,
            "first tenth",
            filled.first_per_cpu_s,
            "/s",
        ),
        Row(f"{name}: query p50", measured.p50, "exact NumPy", measured.exact_p50, "ms"),
        Row(f"{name}: query p95", measured.p95, "exact NumPy", measured.exact_p95, "ms"),
        Row(f"{name}: recall@{K}", measured.recall, "exact NumPy", 1.0, "", ">= 0.99"),
        Row(f"{name}: memory", measured.memory / GB, vectors, alone, "GB"),
        Row(f"{name}: disk", measured.disk / GB, vectors, alone, "GB"),
        Row(f"{name}: open again to first answer", measured.reopen_s, "inserting all", filled.seconds, "s"),
    ]


def _growth(grown: Grown, smallest: int, size: int) -> list[Row]:
    (few_filled, few), (many_filled, many) = grown[smallest], grown[size]
    against, times = f"{smallest:,}", f"{size / smallest:g} times as many:"
    return [
        Row(f"{times} insert rate", many_filled.rate, against, few_filled.rate, "/s"),
        Row(f"{times} query p95", many.p95, against, few.p95, "ms"),
        Row(f"{times} memory", many.memory / GB, against, few.memory / GB, "GB"),
        Row(f"{times} disk", many.disk / GB, against, few.disk / GB, "GB"),
        Row(f"{times} open again", many.reopen_s, against, few.reopen_s, "s"),
    ]


def sizes_of(text: str) -> list[int]:
    """ "100000,1000000" as numbers."""
    return [int(part) for part in text.split(",")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=sizes_of, default=SIZES, help="numbers of vectors, with commas between them")
    parser.add_argument("--work", type=Path, default=WORK, help=f"where the collections stay between runs ({WORK})")


def run(data: Path, out: Path, sizes: Sequence[int], work: Path) -> None:
    """With the captions of ROCO."""
    about = machine()
    grown = grow(sizes, work, read(roco(data)))
    sizes_found = {
        size: {"filled": asdict(filled), "measured": asdict(found)} for size, (filled, found) in grown.items()
    }
    save("scale", rows(grown), about | {"dim": Clustered(1).dim, "sizes": sizes_found}, out)


def main() -> None:
    parser = arguments(__doc__)
    add_arguments(parser)
    options = parser.parse_args()
    run(options.data, options.out, options.sizes, options.work)


if __name__ == "__main__":
    main()
