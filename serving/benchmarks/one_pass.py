"""What one pass gains over autoregression at equal size: answers of MedVInT-TE beside MedVInT-TD's in transformers.

python -m serving.benchmarks.one_pass
python -m serving.benchmarks.one_pass data/models/demo --quick

Both have the same tower, queries and language model (random weights in TE: time does not depend on them); TE has one
fusion layer and the words' projection more. An answer's tokens are fixed, so that both write as many.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from serving.benchmarks.client import IMAGE_QUESTION, Question, random_image
from serving.benchmarks.measuring import Row, arguments, machine, save
from serving.benchmarks.reference import Reference
from serving.medvint_te.answering import MOST_TOKENS, Answerer, Asked
from serving.medvint_te.configuration import MedVInTTEConfig
from serving.medvint_te.modeling import MedVInTTEForMaskedLM

LENGTHS = (1, 4, 12)
QUESTIONS_OF_ONE_IMAGE = 8
RUNS = 7
FIRST_IMAGE = 80_000
WIDTH = 768


def same_size(td: Reference) -> Answerer:
    """A MedVInT-TE on the configuration of a MedVInT-TD."""
    config = td.model.config
    projector = dict(config.projector_config) | {"output_norm": False}
    te = MedVInTTEConfig(
        vision_config=config.vision_config,
        projector_config=projector,
        text_config={**config.text_config.to_dict(), "model_type": "llama"},
        embed_dim=projector["hidden_size"] or WIDTH,
        text_length=None,
    )
    model = MedVInTTEForMaskedLM(te).to(td.model.dtype)
    return Answerer(model, td.tokenizer, td.processor)


def seconds(work: Callable[[Image.Image], object], runs: int) -> float:
    """Median over new images, after one run that warms up."""
    each = []
    for run in range(runs + 1):
        image = random_image(FIRST_IMAGE + run)
        start = time.perf_counter()
        work(image)
        each.append(time.perf_counter() - start)
    return statistics.median(each[1:])


def measure(folder: Path, runs: int) -> list[Row]:
    """Milliseconds an answer: the image is new each time, its tower in both."""
    td = Reference(folder)
    te = same_size(td)
    sizes = {name: sum(p.numel() for p in model.parameters()) for name, model in (("td", td.model), ("te", te.model))}
    detail: dict[str, Any] = {f"{name}_parameters_m": round(count / 1e6, 1) for name, count in sizes.items()}
    found = []

    def autoregression(tokens: int, image: Image.Image) -> None:
        td.ask(Question(IMAGE_QUESTION, image), tokens)

    def one_pass(questions: int, length: int | None, rounds: int, image: Image.Image) -> None:
        (seen,) = te.look([image])
        te.answer([Asked(seen, IMAGE_QUESTION)] * questions, length=length, rounds=rounds)

    for tokens in LENGTHS:
        wrote = seconds(partial(autoregression, tokens), runs)
        read = seconds(partial(one_pass, 1, tokens, 1), runs)
        what = f"one pass, {tokens} tokens"
        found.append(Row(what, read * 1000, "autoregression", wrote * 1000, "ms", detail=detail))
    # Wrote is now that of the longest answer: as long as the longest that is tried.
    for what, (length, rounds) in (
        (f"every length to {MOST_TOKENS} tried", (None, 1)),
        (f"unmasking in 4 rounds, {LENGTHS[-1]} tokens", (LENGTHS[-1], 4)),
    ):
        took = seconds(partial(one_pass, 1, length, rounds), runs)
        found.append(Row(what, took * 1000, f"autoregression, {LENGTHS[-1]} tokens", wrote * 1000, "ms", detail=detail))
    many = seconds(partial(one_pass, QUESTIONS_OF_ONE_IMAGE, LENGTHS[1], 1), runs)
    alone = seconds(partial(one_pass, 1, LENGTHS[1], 1), runs)
    what = f"a question, {QUESTIONS_OF_ONE_IMAGE} of one image in a batch"
    found.append(Row(what, many * 1000 / QUESTIONS_OF_ONE_IMAGE, "alone", alone * 1000, "ms", detail=detail))
    return found


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    about = machine()
    save("one_pass", measure(options.model, 1 if options.quick else RUNS), about, options.out)


if __name__ == "__main__":
    main()
