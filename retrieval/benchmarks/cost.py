"""What a large index costs: hours, disk and memory, from rates that were measured and from nothing else.

    python -m retrieval.benchmarks.cost --rates --embedder pmc-clip:MODEL --device cuda    # where it is to embed
    python -m retrieval.benchmarks.cost --texts-per-s N --images-per-s N --pictures-per-s N     # with what that printed

The rest comes from the result of `python -m retrieval.benchmarks` in --out.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from retrieval.benchmarks.common import arguments, read, roco, seconds
from retrieval.embedders import Embedder
from retrieval.pipeline import opened
from retrieval.store_images import Thumbnails, open_picture, perceptual_hash
from serving.benchmarks.measuring import GB, BenchmarkError

FIGURES = 1_600_000
"""About as many as PMC-OA has."""
TEXTS, IMAGES = 2048, 128
VECTOR_BYTES = 384 * 4

_HOUR = 3600


@dataclass(frozen=True)
class Rates:
    """What one worker does in a second; `pictures_per_s`: files read, hashed and kept small, before embedding."""

    texts_per_s: float
    images_per_s: float
    pictures_per_s: float


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


def measured_rates(embedder: Embedder, texts: Sequence[str], files: Sequence[Path]) -> Rates:
    """Of one worker, once warm."""
    some, shown = list(texts[:TEXTS]), [files[number % len(files)] for number in range(IMAGES)]
    images = [open_picture(file) for file in shown]
    embedder.embed_texts(some[:64])
    embedder.embed_images(images[:2])
    with tempfile.TemporaryDirectory() as folder:
        thumbnails = Thumbnails(Path(folder))
        reading = seconds(lambda: _read_pictures(shown, thumbnails))
    return Rates(
        len(some) / seconds(lambda: embedder.embed_texts(some)),
        len(shown) / seconds(lambda: embedder.embed_images(images)),
        len(shown) / reading,
    )


def _read_pictures(files: Sequence[Path], thumbnails: Thumbnails) -> None:
    for file in files:
        image = open_picture(file)
        perceptual_hash(image)
        thumbnails.write(file.name, image)


def figure_files(data: Path) -> list[Path]:
    """Figures as articles have them: those of OpenStax.

    Raises:
        BenchmarkError: they are not there.
    """
    files = sorted((data / "openstax" / "images").glob("*.jpg"))
    if not files:
        raise BenchmarkError(f"There are no images in {data / 'openstax'}: give the folder that holds it with --data.")
    # Alphabetical neighbours are of one book.
    return files[:: max(1, len(files) // IMAGES)][:IMAGES]


def rates_here(data: Path, embedder: Embedder) -> Rates:
    """Of captions of ROCO and figures of OpenStax in `data`."""
    return measured_rates(embedder, [figure.words for figure in read(roco(data))[:TEXTS]], figure_files(data))


def stored(results: Path) -> Stored:
    """At the largest size measured; inserting at the rate of its last tenth.

    Raises:
        BenchmarkError: `results` lacks what `python -m retrieval.benchmarks` writes there.
    """
    try:
        speed, scale = (json.loads((results / f"{name}.json").read_text()) for name in ("speed", "scale"))
    except FileNotFoundError as error:
        raise BenchmarkError(f"There is no {error.filename}: `python -m retrieval.benchmarks` makes it.") from error
    size = max(map(int, scale["sizes"]))
    filled, measured = (scale["sizes"][str(size)][part] for part in ("filled", "measured"))
    return Stored(
        size,
        measured["disk"] / size,
        measured["memory"] / size,
        filled["last_rate"],
        speed["parquet_bytes_per_figure"],
    )


def text(figures: int, rates: Rates, kept: Stored) -> str:
    """The estimate as Markdown, with what it assumes."""
    caption_h, image_h, picture_h = (figures / rate / _HOUR for rate in asdict(rates).values())
    parquet = kept.parquet + VECTOR_BYTES
    insert_h = 2 * figures / kept.inserts_per_s / _HOUR
    lines = [
        f"{figures:,} figures, each with a caption and an image, would take:",
        "",
        "| what | cost | computed from |",
        "|---|---|---|",
        f"| embedding the captions, one worker | {caption_h:.1f} h | {rates.texts_per_s:,.0f} captions/s |",
        f"| reading the images, with hash and thumbnail, one core | {picture_h:.1f} h "
        f"| {rates.pictures_per_s:,.0f} images/s |",
        f"| embedding the images, one worker | {image_h:.1f} h | {rates.images_per_s:,.1f} images/s |",
        f"| filling Chroma, its one writer | {insert_h:.1f} h | {kept.inserts_per_s:,.0f} vectors/s, two a figure |",
        f"| Parquet on disk | {figures * parquet / GB:.1f} GB | {parquet:,.0f} bytes a figure |",
        f"| Chroma on disk | {2 * figures * kept.disk / GB:.1f} GB | {kept.disk:,.0f} bytes a vector |",
        f"| Chroma in memory | {2 * figures * kept.memory / GB:.1f} GB | {kept.memory:,.0f} bytes a vector |",
        "",
        "Assumed: "
        f"bytes and inserts a second stay what they were at {kept.figures:,} vectors, where they were measured on "
        "clustered ones of 384 numbers (other widths scale the disk and the memory); images are as large as those of "
        "OpenStax; a worker reads, then embeds, so the hours add up; workers share nothing but a GPU, which several "
        "keep busy (`--workers 8 --gpus 0.125`), so that `n` of them take an `n`-th of what is done by a core; a "
        "rebuild keeps the generation before it, and needs Chroma's disk twice while it runs; a shard holds an image's "
        f"vector in the {VECTOR_BYTES:,} bytes of its numbers. Not counted: the images themselves and their transfer.",
    ]
    return "\n".join(lines) + "\n"


def run(results: Path, figures: int, rates: Rates) -> None:
    """Writes cost.md beside the results that it computes from, and prints it."""
    report = text(figures, rates, stored(results))
    (results / "cost.md").write_text(report)
    print(f"\n{report}")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--figures", type=int, default=FIGURES)
    parser.add_argument("--embedder", default="demo", help="as in open_embedder: demo, clip:FOLDER, pmc-clip:FOLDER")
    parser.add_argument("--device", default="cpu", help="of torch, such as cuda (cpu)")
    parser.add_argument("--rates", action="store_true", help="measure the rates here, print them, and no more")
    for field in fields(Rates):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, help="of one worker, else measured here")
    options = parser.parse_args()
    given = {field.name: getattr(options, field.name) for field in fields(Rates)}
    if all(given.values()):
        rates = Rates(**given)
    else:
        measured = rates_here(options.data, opened(options.embedder, options.device))
        rates = replace(measured, **{name: value for name, value in given.items() if value})
    if options.rates:
        print(" ".join(f"--{name.replace('_', '-')} {value:.1f}" for name, value in asdict(rates).items()))
        return
    run(options.out, options.figures, rates)


if __name__ == "__main__":
    main()
