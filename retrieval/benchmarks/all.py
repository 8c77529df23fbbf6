"""Speed and scale of retrieval in one run: a table in Markdown, and JSON.

    python -m retrieval.benchmarks --data ../shared/data --out data/reports/retrieval
    python -m retrieval.benchmarks --sizes 100000          # without the million, which takes long

It prints at the end what 1.6 million figures would cost at the rates that it measured.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path

from retrieval.benchmarks import cost, scale, speed, web
from retrieval.benchmarks.common import arguments, read, roco
from retrieval.build import index_folder
from retrieval.embedders import DemoEmbedder
from retrieval.store import Store
from serving.benchmarks.measuring import machine, save


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=scale.sizes_of, default=scale.SIZES, help="numbers of vectors")
    parser.add_argument("--work", type=Path, default=scale.WORK, help=f"where their collections stay ({scale.WORK})")
    options = parser.parse_args()
    about, source = machine(), roco(options.data)
    images = speed.images_of(options.data, speed.FULL_SEARCHES)
    with tempfile.TemporaryDirectory() as folder:
        embedder = DemoEmbedder()
        found = speed.rows(source, images, Path(folder), embedder, speed.QUERIES)
        found.append(web.memory_row(Path(folder), images))
        figures = read(source)
        rates = cost.embedding_rates(embedder, [figure.words for figure in figures], images)
        parquet = sum(Store(index_folder(Path(folder))).parquet.sizes().values()) / len(figures)
    grown = scale.grow(options.sizes, options.work, figures)
    kept = cost.stored(grown, parquet)
    about |= {"stored": asdict(kept), "rates": asdict(rates)}
    path = save("retrieval", found + scale.rows(grown), about, options.out)
    report = cost.text(cost.FIGURES, rates, kept)
    path.with_name("cost.md").write_text(report)
    print(f"\n{report}")


if __name__ == "__main__":
    main()
