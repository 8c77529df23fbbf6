"""Building and searching beside what they cannot do without: the embedder alone, Chroma's query alone.

python -m retrieval.benchmarks.speed
"""

import tempfile
from pathlib import Path

from PIL import Image

from retrieval.benchmarks.common import K, Source, arguments, in_turn, p50, p95, read, roco, seconds
from retrieval.build import build_index
from retrieval.embedders import DemoEmbedder, Embedder, Vectors
from retrieval.generation import Query
from retrieval.search import Search, open_search
from serving.benchmarks.measuring import BenchmarkError, Row, machine, save

QUERIES = 300
FULL_SEARCHES = 60
FULL_SEARCH_MS = 250
WARM_UP = 64
QUESTION = "What does the radiograph of the chest show?"


def build_row(source: Source, data_dir: Path, embedder: Embedder) -> Row:
    """A whole build, one half of the same words embedded alone before it, the other after it.

    So a machine that slows down meanwhile slows both.
    """
    texts = [figure.words for figure in read(source)]
    half = len(texts) // 2
    embedder.embed_texts(texts[:WARM_UP])
    alone = seconds(lambda: embedder.embed_texts(texts[:half]))
    built = seconds(lambda: build_index(source.corpus, data_dir, source.path, source.licences, embedder=embedder))
    alone += seconds(lambda: embedder.embed_texts(texts[half:]))
    detail = {"figures": len(texts), "per_s": round(len(texts) / built), "embedder_per_s": round(len(texts) / alone)}
    return Row(f"build of {len(texts):,} captions", built, "embedder alone", alone, "s", "<= 1.3", detail)


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


def images_of(data: Path, count: int) -> list[Image.Image]:
    """Radiographs, CT and MRI slices of SLAKE.

    Raises:
        BenchmarkError: they are not there.
    """
    files = sorted((data / "slake" / "imgs").glob("*/source.jpg"))[:count]
    if not files:
        raise BenchmarkError(f"There are no images in {data / 'slake'}: give the folder that holds it with --data.")
    return [Image.open(file).convert("RGB") for file in files]


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


def main() -> None:
    options = arguments(__doc__).parse_args()
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        images = images_of(options.data, FULL_SEARCHES)
        found = rows(roco(options.data), images, Path(folder), DemoEmbedder(), QUERIES)
    save("speed", found, about, options.out)


if __name__ == "__main__":
    main()
