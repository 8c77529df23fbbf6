"""Tokens a second of concurrent image questions: vLLM beside transformers' `generate`, one question at a time.

python -m serving.benchmarks.throughput
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.benchmarks.client import ANSWER_TOKENS, questions, run_load
from serving.benchmarks.measuring import Row, Server, arguments, machine, running_server, save
from serving.benchmarks.reference import Reference

CONCURRENCY = (1, 4, 32)
GOALS = {1: ">= 1", 4: ">= 1", 32: ">= 10", 64: ">= 60"}
ROUNDS = 2
REFERENCE_QUESTIONS = 4


def served(server: Server, concurrency: Sequence[int], rounds: int, tokens: int) -> dict[int, dict[str, Any]]:
    """What vLLM's client reports for each number of questions at once; all pictures are new."""
    run_load(server.base_url, questions(2, images=True, first=90_000), 2, 2)
    loads = {}
    for number in concurrency:
        asked = questions(max(number * rounds, 3), images=True, first=1_000 * (1 + number))
        loads[number] = run_load(server.base_url, asked, number, tokens)
    return loads


def alone(model: Path, asked: int, tokens: int, device: str = "cpu") -> float:
    """Tokens a second of transformers."""
    return Reference(model, device).tokens_per_second(questions(asked + 1, images=True, first=80_000), tokens)


def rows(loads: dict[int, dict[str, Any]], reference: float, goals: dict[int, str]) -> list[Row]:
    return [
        Row(
            f"{number} image questions at once",
            load["output_throughput"],
            "transformers, one at a time",
            reference,
            "tokens/s",
            goals.get(number, ""),
            {
                "asked": load["completed"],
                "first_token_ms": round(1000 * statistics.median(load["ttfts"])),
                "answer_ms": round(1000 * statistics.median(load["latencies"])),
            },
        )
        for number, load in loads.items()
    ]


def main() -> None:
    options = arguments(__doc__).parse_args()
    about = machine()
    tokens = 4 if options.quick else ANSWER_TOKENS
    with running_server(options.model) as server:
        loads = served(server, CONCURRENCY, 1 if options.quick else ROUNDS, tokens)
    reference = alone(options.model, 1 if options.quick else REFERENCE_QUESTIONS, tokens)
    save("throughput", rows(loads, reference, GOALS), about | {"answer_tokens": tokens}, options.out)


if __name__ == "__main__":
    main()
