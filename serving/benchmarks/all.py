"""The whole table of one machine in one run: throughput, first token, decoding, start and memory.

python -m serving.benchmarks.all
python -m assistant.benchmark --all      # the same with the chat turn
"""

import argparse
from collections.abc import Callable

from serving.benchmarks import decoding, latency, startup, throughput
from serving.benchmarks.client import ANSWER_TOKENS
from serving.benchmarks.measuring import Row, Server, arguments, machine, read_bandwidth, running_server, save

More = Callable[[Server, bool], list[Row]]
"""Rows of another part, from the running server and whether to be quick."""


def run(options: argparse.Namespace, *more: More) -> None:
    """Measure everything and save it as `table`."""
    quick = options.quick
    about = machine()
    tokens = 4 if quick else ANSWER_TOKENS
    bandwidth = read_bandwidth()
    imported = startup.import_seconds(1 if quick else startup.IMPORTS)
    if not quick:
        with running_server(options.model):
            pass
    with running_server(options.model) as server:
        first = latency.measure(server, 2 if quick else latency.RUNS)
        loads = throughput.served(server, throughput.CONCURRENCY, 1 if quick else throughput.ROUNDS, tokens)
        runs, length = (1, 8) if quick else (decoding.RUNS, decoding.TOKENS)
        rate = decoding.tokens_per_second(server, runs, length)
        rest = [row for part in more for row in part(server, quick)]
        rest += [startup.start_row(server, imported), startup.memory_row(server)]
        rest += [
            decoding.row(options.model, rate, bandwidth, "weights read", ">= 0.8"),
            decoding.int8_row(server, rate, runs, length),
        ]
    reference = throughput.alone(options.model, 1 if quick else throughput.REFERENCE_QUESTIONS, tokens)
    found = [*throughput.rows(loads, reference, throughput.GOALS), *first, *rest]
    save("table", found, about | {"answer_tokens": tokens}, options.out)


def main() -> None:
    run(arguments(__doc__).parse_args())


if __name__ == "__main__":
    main()
