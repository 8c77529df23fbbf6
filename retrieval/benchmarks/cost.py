"""What a large index costs: hours, disk and memory, from rates that were measured and from nothing else.

    python -m retrieval.benchmarks.cost --rates                            # on the machine that is to embed: its rates
    python -m retrieval.benchmarks.cost --texts-per-s N --images-per-s N   # with rates of another machine, a GPU's

The rest comes from the result of `python -m retrieval.benchmarks` in --out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from retrieval.benchmarks.common import arguments, read, roco, seconds
from retrieval.benchmarks.growing import Filled, Measured
from retrieval.benchmarks.speed import images_of
from retrieval.embedders import Embedder, open_embedder
from serving.benchmarks.measuring import GB, BenchmarkError

FIGURES = 1_600_000
"""About as many as PMC-OA has."""
TEXTS, IMAGES = 2048, 128
VECTOR_BYTES = 384 * 4

_HOUR = 3600


@dataclass(frozen=True)
class Rates:
    """What an embedder does in a second."""

    texts_per_s: float
    images_per_s: float


@dataclass(frozen=True)
class Stored:
    """Bytes of one vector with its caption in Chroma, on disk and in memory, and inserts a second, at `figures`.

    `parquet`: bytes of a figure with one vector in the shards.
    """

    figures: int
    disk: float
    memory: float
    inserts_per_s: float
    parquet: float


def embedding_rates(embedder: Embedder, texts: Sequence[str], images: Sequence[Image.Image]) -> Rates:
    """Of one worker, once warm."""
    some, shown = list(texts[:TEXTS]), [images[number % len(images)] for number in range(IMAGES)]
    embedder.embed_texts(some[:64])
    embedder.embed_images(shown[:2])
    return Rates(
        len(some) / seconds(lambda: embedder.embed_texts(some)),
        len(shown) / seconds(lambda: embedder.embed_images(shown)),
    )


def stored(grown: Mapping[int, tuple[Filled, Measured]], parquet: float) -> Stored:
    """At the largest size measured; inserting at the rate of its last tenth."""
    size = max(grown)
    filled, measured = grown[size]
    return Stored(size, measured.disk / size, measured.memory / size, filled.last_rate, parquet)


def read_stored(file: Path) -> Stored:
    """From the result of `python -m retrieval.benchmarks`.

    Raises:
        BenchmarkError: there is none.
    """
    if not file.is_file():
        raise BenchmarkError(f"There is no {file}: `python -m retrieval.benchmarks` measures what is needed.")
    return Stored(**json.loads(file.read_text())["stored"])


def text(figures: int, rates: Rates, kept: Stored) -> str:
    """The estimate as Markdown, with what it assumes."""
    caption_h, image_h = (figures / rate / _HOUR for rate in (rates.texts_per_s, rates.images_per_s))
    parquet = kept.parquet + VECTOR_BYTES
    insert_h = 2 * figures / kept.inserts_per_s / _HOUR
    lines = [
        f"{figures:,} figures, each with a caption and an image, would take:",
        "",
        "| what | cost | computed from |",
        "|---|---|---|",
        f"| embedding the captions, one worker | {caption_h:.1f} h | {rates.texts_per_s:,.0f} captions/s |",
        f"| embedding the images, one worker | {image_h:.1f} h | {rates.images_per_s:,.1f} images/s |",
        f"| filling Chroma, its one writer | {insert_h:.1f} h | {kept.inserts_per_s:,.0f} vectors/s, two a figure |",
        f"| Parquet on disk | {figures * parquet / GB:.1f} GB | {parquet:,.0f} bytes a figure |",
        f"| Chroma on disk | {2 * figures * kept.disk / GB:.1f} GB | {kept.disk:,.0f} bytes a vector |",
        f"| Chroma in memory | {2 * figures * kept.memory / GB:.1f} GB | {kept.memory:,.0f} bytes a vector |",
        "",
        "Assumed: "
        f"bytes and inserts a second stay what they were at {kept.figures:,} vectors, where they were measured on "
        "clustered ones of 384 numbers (other widths scale the disk and the memory); workers share nothing, so that "
        "`n` of them take an `n`-th of the time; pictures are decoded beside and not waited for; a rebuild keeps the "
        "generation before it, and needs Chroma's disk twice while it runs; a shard holds an image's vector in the "
        f"{VECTOR_BYTES:,} bytes of its numbers. Not counted: the images themselves and their transfer.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--figures", type=int, default=FIGURES)
    parser.add_argument("--embedder", default="demo", help="as in open_embedder: demo, clip:FOLDER, pmc-clip:FOLDER")
    parser.add_argument("--rates", action="store_true", help="measure the embedder here, print it, and no more")
    parser.add_argument("--texts-per-s", type=float, help="captions a second of one worker, else measured here")
    parser.add_argument("--images-per-s", type=float, help="images a second of one worker, else measured here")
    options = parser.parse_args()
    rates = Rates(options.texts_per_s or 0, options.images_per_s or 0)
    if not (rates.texts_per_s and rates.images_per_s):
        words = [figure.words for figure in read(roco(options.data))[:TEXTS]]
        rates = embedding_rates(open_embedder(options.embedder), words, images_of(options.data, IMAGES))
    if options.rates:
        print(f"--texts-per-s {rates.texts_per_s:.1f} --images-per-s {rates.images_per_s:.1f}")
        return
    print(text(options.figures, rates, read_stored(options.out / "retrieval.json")))


if __name__ == "__main__":
    main()
