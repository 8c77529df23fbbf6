"""Speed and scale of retrieval: tables in Markdown, and JSON, one after the other.

    python -m retrieval.benchmarks --data ../shared/data --out data/reports/retrieval
    python -m retrieval.benchmarks --sizes 100000          # without the million, which takes long

It prints at the end what 1.6 million figures would cost at the rates that it measured.
"""

from retrieval.benchmarks import cost, scale, speed
from retrieval.benchmarks.common import arguments
from retrieval.embedders import DemoEmbedder


def main() -> None:
    parser = arguments(__doc__)
    scale.add_arguments(parser)
    options = parser.parse_args()
    embedder = DemoEmbedder()
    speed.run(options.data, options.out, embedder)
    scale.run(options.data, options.out, options.sizes, options.work)
    cost.run(options.out, cost.FIGURES, cost.rates_here(options.data, embedder))


if __name__ == "__main__":
    main()
