"""What each setting of the CPU server changes, beside the product's own defaults, in runs that take turns.

    python -m serving.benchmarks.knobs
    python -m serving.benchmarks.knobs --only "block size 128" --only compiled --rounds 3

The defaults are in `serving/server.py`; a ratio above 1 at a rate, or below 1 at a time, says that there is better.
"""

import json
import os
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

import prompts
from serving.benchmarks.client import (
    ANSWER_TOKENS,
    IMAGE_QUESTION,
    TIMEOUT_S,
    Question,
    ask,
    questions,
    random_image,
    run_load,
)
from serving.benchmarks.decoding import tokens_per_second
from serving.benchmarks.measuring import GB, Row, Server, arguments, machine, running_server, save, tree_memory

ROUNDS = 2
SEEN_RUNS = 7
CAPTIONS = [
    "Chest radiograph of a 54-year-old man with a large right-sided pleural effusion and a shift of the mediastinum.",
    "Axial CT of the chest, lung window: bilateral ground-glass opacities in the lower lobes of a 61-year-old woman.",
    "Coronal T2-weighted MRI of the abdomen with a cystic lesion of the right hepatic lobe.",
]
NGRAM = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4, "prompt_lookup_min": 2}
PYTORCH_LAYERS = ["all", "-RMSNorm", "-SiluAndMul"]
UNITS = {
    "32 at once": "tokens/s",
    "alone": "tokens/s",
    "with captions": "tokens/s",
    "image seen before": "ms",
    "start": "s",
    "memory": "GB",
}


@dataclass(frozen=True)
class Variant:
    """Flags and variables on top of the product's own."""

    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def variants() -> dict[str, Variant]:
    cores = sorted(os.sched_getaffinity(0))
    intel = Path(sys.prefix) / "lib" / "libiomp5.so"
    found = {
        "block size 16": Variant(("--block-size", "16")),
        "block size 64": Variant(("--block-size", "64")),
        "block size 128": Variant(("--block-size", "128")),
        "threads bound to cores": Variant((), {"GOMP_CPU_AFFINITY": " ".join(map(str, cores))}),
        "a core left free": Variant((), {"OMP_NUM_THREADS": str(max(1, len(cores) - 1))}),
        "PyTorch's norms and activations": Variant(("-cc", json.dumps({"custom_ops": PYTORCH_LAYERS}))),
        "compiled": Variant(("--no-enforce-eager",)),
        "no prefix caching": Variant(("--no-enable-prefix-caching",)),
        "float32": Variant(("--dtype", "float32")),
        "float16": Variant(("--dtype", "float16")),
        "n-gram speculation": Variant(("--speculative-config", json.dumps(NGRAM))),
        "a process of its own for the model": Variant(("--distributed-executor-backend", "mp")),
        "16 sequences at once": Variant(("--max-num-seqs", "16")),
    }
    if intel.is_file():
        found["Intel's OpenMP"] = Variant((), {"LD_PRELOAD": str(intel), "KMP_BLOCKTIME": "5"})
    return found


def measure(server: Server, quick: bool) -> dict[str, float]:
    """One figure for each of `UNITS`."""
    tokens = 4 if quick else ANSWER_TOKENS
    run_load(server.base_url, questions(2, images=True, first=90_000), 2, 2)
    load = run_load(server.base_url, questions(2 if quick else 32, images=True, first=40_000), 32, tokens)
    grounded = prompts.load("with_captions").render(question="What do the captions say?", captions=CAPTIONS)
    seen = random_image(0)
    with httpx.Client(base_url=server.base_url, timeout=TIMEOUT_S) as client:
        answers = [ask(client, Question(f"{run}. {grounded}"), tokens) for run in range(10, 12 if quick else 14)]
        again = [
            ask(client, Question(f"{run}. {IMAGE_QUESTION}", seen), 2).first_s
            for run in range(10, 12 if quick else 10 + SEEN_RUNS)
        ]
    return {
        "32 at once": load["output_throughput"],
        "alone": tokens_per_second(server, 1 if quick else 3, 8 if quick else 64),
        "with captions": statistics.median((answer.tokens - 1) / answer.rest_s for answer in answers[1:]),
        "image seen before": 1000 * statistics.median(again[1:]),
        "start": server.start_s,
        "memory": tree_memory(server.process.pid) / GB,
    }


def main() -> None:
    parser = arguments(__doc__)
    known = variants()
    parser.add_argument("--only", action="append", choices=[*known], help="one of the settings; may be repeated")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    about = machine()
    tried = {"default": Variant()} | {name: known[name] for name in options.only or known}
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in tried}
    for number in range(1 if options.quick else options.rounds):
        for name, variant in tried.items():
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
            with running_server(options.model, variant.flags, variant.environment) as server:
                figures[name].append(measure(server, options.quick))
    middle = {
        name: {what: statistics.median(run[what] for run in runs) for what in UNITS} for name, runs in figures.items()
    }
    found = [
        Row(f"{name}: {what}", middle[name][what], "default", middle["default"][what], unit)
        for name in tried
        if name != "default"
        for what, unit in UNITS.items()
    ]
    save("knobs", found, about | {"rounds": figures}, options.out)


if __name__ == "__main__":
    main()
