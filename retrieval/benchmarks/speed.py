"""Building and searching beside what they cannot do without: the embedder alone, Chroma's query alone.

python -m retrieval.benchmarks.speed
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.benchmarks.common import (
    QUESTION,
    K,
    Source,
    arguments,
    images_of,
    in_turn,
    p50,
    p95,
    read,
    roco,
)
from retrieval.benchmarks.web import memory_row
from retrieval.build import BATCH, build_index
from retrieval.embedders import DemoEmbedder, Embedder, Vectors
from retrieval.generation import Query
from retrieval.search import Search, open_search
from retrieval.upkeep import stats
from serving.benchmarks.measuring import Row, machine, save

QUERIES = 300
FULL_SEARCHES = 60
FULL_SEARCH_MS = 250
WARM_UP = 64


def build_row(source: Source, data_dir: Path, embedder: Embedder) -> Row:
    """A whole build; each batch of the same words is embedded alone, too, right before the build embeds it.

    So whatever else the machine does slows both; `cpu_ratio` compares seconds of the processor, which it hardly does.
    """
    texts = [figure.words for figure in read(source)]
    embedder.embed_texts(texts[:WARM_UP])
    alone = np.zeros(2)

    def embed_alone(stage: str, done: int, total: int) -> None:
        nonlocal alone
        if stage == "embed" and done % BATCH == 0 and done < total:
            start = _clocks()
            embedder.embed_texts(texts[done : done + BATCH])
            alone = alone + _clocks() - start

    start = _clocks()
    build_index(source.corpus, data_dir, source.path, source.licences, embed_alone, embedder=embedder)
    built = _clocks() - start - alone
    detail = {
        "figures": len(texts),
        "per_s": round(len(texts) / built[0]),
        "embedder_per_s": round(len(texts) / alone[0]),
        "cpu_ratio": round(built[1] / alone[1], 3),
    }
    return Row(
        f"build of {len(texts):,} captions", float(built[0]), "embedder alone", float(alone[0]), "s", "<= 1.3", detail
    )


def _clocks() -> NDArray[np.float64]:
    """Seconds on the wall, and of the processor for this process."""
    return np.array([time.perf_counter(), time.process_time()])


def search_rows(search: Search, texts: list[str], texts_embedded: Vectors, looks: Vectors) -> list[Row]:
    """Search without embedding, by words and by words and image, beside Chroma's query of the words' vector.

    Args:
        texts: what is asked; the figures' own words are left out where they are needed whole.
        texts_embedded: of `texts`, float32 [n, dim].
        looks: of images, float32 [m, dim], taken in turn.
    """
    captions = search.generation().captions

    def words(number: int) -> object:
        return search.find(Query(None, texts_embedded[number], texts[number]), K)

    def both(number: int) -> object:
        return search.find(Query(looks[number % len(looks)], texts_embedded[number], texts[number]), K)

    def dense(number: int) -> object:
        return captions.query(query_embeddings=[texts_embedded[number]], n_results=K)

    by_words, by_both, alone = in_turn(len(texts), words, both, dense)
    detail = {
        "figures": len(search),
        "queries": len(texts),
        "p50_ms": round(p50(by_both), 2),
        "dense_p50_ms": round(p50(alone), 2),
    }
    return [
        Row("search by words, p95, embedded before", p95(by_words), "Chroma's dense query", p95(alone), "ms", "<= 1.5"),
        Row(
            "search fused with an image, p95, embedded before",
            p95(by_both),
            "Chroma's dense query",
            p95(alone),
            "ms",
            "<= 1.5",
            detail,
        ),
    ]


def full_rows(search: Search, embedder: Embedder, images: list[Image.Image], count: int) -> list[Row]:
    """A search by image and words from pixels to hits, beside embedding them alone and beside the goal."""

    def whole(number: int) -> object:
        return search.search(QUESTION, images[number % len(images)], K)

    def alone(number: int) -> object:
        embedder.embed_images([images[number % len(images)]])
        return embedder.embed_texts([QUESTION])

    searches, embedded = in_turn(count, whole, alone)
    name = "full search by image and words"
    return [
        Row(
            f"{name}, p95", p95(searches), "the goal", FULL_SEARCH_MS, "ms", "<= 1", {"p50_ms": round(p50(searches), 1)}
        ),
        Row(f"{name}, p50", p50(searches), "embedding both alone", p50(embedded), "ms"),
    ]


def two_thirds(text: str) -> str:
    return text[: len(text) * 2 // 3]


def rows(source: Source, images: list[Image.Image], data_dir: Path, embedder: Embedder, queries: int) -> list[Row]:
    """Everything, over an index that is built in `data_dir` and stays there."""
    built = build_row(source, data_dir, embedder)
    search = open_search(data_dir, embedder=embedder)
    figures = read(source)
    texts = [two_thirds(figure.words) for figure in figures[:: max(1, len(figures) // queries)][:queries]]
    found = search_rows(search, texts, embedder.embed_texts(texts), embedder.embed_images(images))
    return [built, *found, *full_rows(search, embedder, images, min(queries, FULL_SEARCHES))]


def run(data: Path, out: Path, embedder: Embedder) -> None:
    """Over the captions of ROCO, and the memory of a web process with them."""
    about, images = machine(), images_of(data, FULL_SEARCHES)
    with tempfile.TemporaryDirectory() as folder:
        found = rows(roco(data), images, Path(folder), embedder, QUERIES)
        found.append(memory_row(Path(folder), images))
        kept = stats(Path(folder))
    save("speed", found, about | {"parquet_bytes_per_figure": round(kept.bytes_parquet / kept.figures)}, out)


def main() -> None:
    options = arguments(__doc__).parse_args()
    run(options.data, options.out, DemoEmbedder())


if __name__ == "__main__":
    main()
