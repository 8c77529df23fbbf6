"""Time to first token: an image seen before and a new one, beside a text prompt of the same length.

python -m serving.benchmarks.latency
"""

import statistics
import time

import httpx

from serving.benchmarks.client import IMAGE_QUESTION, TIMEOUT_S, Question, ask, random_image, text_of_length
from serving.benchmarks.measuring import Row, Server, arguments, machine, running_server, save
from serving.benchmarks.reference import Reference

RUNS = 15
# The runs' numbers have two digits, so that every prompt has the same length.
FIRST = 20
SEEN = 70_000
NEW = 60_000


def measure(server: Server, runs: int) -> list[Row]:
    """All four in turn in every run, so that what else the machine does meets each alike."""
    reference = Reference(server.model)
    seconds: dict[str, list[float]] = {"text": [], "seen": [], "new": [], "tower": []}
    seen = random_image(SEEN)
    with httpx.Client(base_url=server.base_url, timeout=TIMEOUT_S) as client:
        length = ask(client, Question(f"10. {IMAGE_QUESTION}", seen), 2).prompt_tokens
        text = text_of_length(client, length)
        for run in range(FIRST, FIRST + runs):
            asked = {
                "text": Question(f"{run}{text}"),
                "seen": Question(f"{run}. {IMAGE_QUESTION}", seen),
                "new": Question(f"{run}. {IMAGE_QUESTION}", random_image(NEW + run)),
            }
            for name, question in asked.items():
                seconds[name].append(ask(client, question, 2).first_s)
            pixels = reference.inputs(asked["new"])["pixel_values"]
            start = time.perf_counter()
            reference.encode(pixels)
            seconds["tower"].append(time.perf_counter() - start)
    # The first run warms the tower up.
    middle = {name: statistics.median(values[1:] or values) * 1000 for name, values in seconds.items()}
    detail = {"prompt_tokens": length, "runs": runs}
    return [
        Row(
            "first token, image seen before",
            middle["seen"],
            "text prompt of the same length",
            middle["text"],
            "ms",
            "<= 1.3",
            detail,
        ),
        Row(
            "first token, new image",
            middle["new"],
            "tower and projector alone + text prompt",
            middle["tower"] + middle["text"],
            "ms",
            "<= 1.2",
            detail | {"tower_ms": round(middle["tower"], 1)},
        ),
    ]


def main() -> None:
    options = arguments(__doc__).parse_args()
    about = machine()
    with running_server(options.model) as server:
        found = measure(server, 2 if options.quick else RUNS)
    save("latency", found, about, options.out)


if __name__ == "__main__":
    main()
