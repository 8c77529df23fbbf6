"""One Chroma collection of clustered vectors: filled so that it can be stopped at any moment, then measured.

fill(Path("work/100000"), Clustered(100_000), figures)
measure(Path("work/100000"), Clustered(100_000)).recall

Both belong in a process of their own: memory that was taken once is not given back.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import psutil
from chromadb.config import Settings

from retrieval.benchmarks.common import K, in_turn, p50, p95
from retrieval.benchmarks.vectors import BLOCK, Clustered, nearest
from retrieval.figures import Figure
from retrieval.store_chroma import CONFIGURATION
from retrieval.store_images import folder_size
from serving.benchmarks.measuring import BenchmarkError

QUERIES = 1000
EXACT_QUERIES = 50
"""NumPy reads every vector for each of them, which takes long at a million."""


@dataclass(frozen=True)
class Filled:
    """Rows a second over the whole fill, its first and its last tenth; `seconds` all of it.

    `*_per_cpu_s`: rows in a second of one core, which a machine that is busy with something else hardly changes.
    """

    seconds: float
    rate: float
    first_rate: float
    last_rate: float
    first_per_cpu_s: float
    last_per_cpu_s: float


@dataclass(frozen=True)
class Measured:
    """Times in ms unless named otherwise, sizes in bytes.

    `memory`: what opening and querying added to the process. `reopen_s`: from a closed directory to the first
    answer, the files in the page cache. `exact_*`: NumPy over the same vectors in memory.
    """

    reopen_s: float
    memory: int
    disk: int
    p50: float
    p95: float
    exact_p50: float
    exact_p95: float
    recall: float


def fill(
    folder: Path,
    vectors: Clustered,
    figures: Sequence[Figure],
    progress: Callable[[int, int, float], None] | None = None,
) -> Filled:
    """Insert what is not there yet, with captions and metadata of real figures taken in turn.

    `progress` gets rows there, rows wanted and seconds left.

    Raises:
        BenchmarkError: the folder holds something else.
    """
    collection = _open(folder)
    log = folder / "blocks.jsonl"
    log.touch()
    done = len(log.read_text().splitlines())
    for number in range(done, vectors.blocks):
        block = vectors.block(number)
        rows = range(number * BLOCK, number * BLOCK + len(block))
        chosen = [figures[row % len(figures)] for row in rows]
        # The block that a kill cut off may be there, in part or whole.
        put = collection.upsert if number == done else collection.add
        start, cpu_start = time.perf_counter(), time.process_time()
        put(
            ids=[f"{row}" for row in rows],
            embeddings=block,
            documents=[figure.caption for figure in chosen],
            metadatas=[_metadata(figure) for figure in chosen],
        )
        took, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        with log.open("a") as file:
            file.write(json.dumps({"rows": len(block), "seconds": took, "cpu_s": cpu}) + "\n")
        if progress:
            progress(rows.stop, vectors.count, took * (vectors.blocks - number - 1))
    if (count := collection.count()) != vectors.count:
        raise BenchmarkError(f"{folder} holds {count:,} of {vectors.count:,} vectors: delete it and fill it again.")
    return _filled(log)


def _filled(log: Path) -> Filled:
    ordered = [json.loads(line) for line in log.read_text().splitlines()]
    tenth = max(1, len(ordered) // 10)

    def rate(some: list[dict[str, Any]], clock: str = "seconds") -> float:
        return sum(block["rows"] for block in some) / sum(block[clock] for block in some)

    first, last = ordered[:tenth], ordered[-tenth:]
    total = sum(block["seconds"] for block in ordered)
    return Filled(total, rate(ordered), rate(first), rate(last), rate(first, "cpu_s"), rate(last, "cpu_s"))


def measure(folder: Path, vectors: Clustered, queries: int = QUERIES, exact_queries: int = EXACT_QUERIES) -> Measured:
    """Everything that needs the filled collection."""
    asked = vectors.queries(queries)
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    collection = _open(folder)
    _query(collection, asked[0])
    reopen_s = time.perf_counter() - start
    answers: dict[int, list[str]] = {}
    (times,) = in_turn(queries, lambda number: answers.update({number: _query(collection, asked[number])}))
    memory = psutil.Process().memory_info().rss - before
    truth = nearest(asked, vectors.all(), min(K, vectors.count))
    right = sum(len(set(answers[number]) & set(map(str, row))) for number, row in enumerate(truth.tolist()))
    matrix = np.empty((vectors.count, vectors.dim), np.float32)
    for number, block in enumerate(vectors.all()):
        matrix[number * BLOCK : number * BLOCK + len(block)] = block
    (exact,) = in_turn(min(exact_queries, queries), lambda number: np.argpartition(-(matrix @ asked[number]), K)[:K])
    return Measured(
        reopen_s, memory, folder_size(folder), p50(times), p95(times), p50(exact), p95(exact), right / truth.size
    )


def _open(folder: Path) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    client: Any = chromadb.PersistentClient(str(folder / "chroma"), settings=Settings(anonymized_telemetry=False))
    return client.get_or_create_collection("vectors", configuration=CONFIGURATION, embedding_function=None)


def _metadata(figure: Figure) -> dict[str, Any]:
    # As the index keeps it: Chroma refuses None and empty lists.
    return {key: value for key, value in figure.to_dict().items() if value and key not in ("figure_id", "caption")}


def _query(collection: Any, vector: Any) -> list[str]:
    return list(collection.query(query_embeddings=[vector], n_results=K, include=["distances"])["ids"][0])
