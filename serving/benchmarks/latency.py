"""First token of a text question and a short image answer: vLLM beside transformers' `generate`.

Same model, machine and prompts, in one run, so that the ratio means something elsewhere too.

    python -m serving.benchmarks.latency data/models/demo
"""

import argparse
import base64
import io
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.medvint.processing import MedVInTImageProcessor
from serving.server import SERVED_NAME, vllm_command, vllm_environment

TEXT = "What is a pneumothorax?"
IMAGE_QUESTION = "Which imaging modality is this?"
ANSWER_TOKENS = 8
Task = Callable[[int], tuple[Image.Image | None, str, int]]
"""From the number of the run: image, text and how many tokens to answer with."""
START_S = 300


def random_image(seed: int) -> Image.Image:
    """A new picture each time: a repeated one would come from the cache."""
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((512, 512), Image.Resampling.BICUBIC)


def messages(image: Image.Image | None, text: str) -> list[dict[str, Any]]:
    if image is None:
        return [{"role": "user", "content": text}]
    stream = io.BytesIO()
    image.save(stream, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]


def ask_server(base_url: str, image: Image.Image | None, text: str, tokens: int) -> None:
    body = {"model": SERVED_NAME, "messages": messages(image, text), "max_tokens": tokens, "ignore_eos": True}
    httpx.post(f"{base_url}/v1/chat/completions", json=body, timeout=120).raise_for_status()


class Reference:
    """transformers' `generate`, as the original serves MedVInT: one question at a time."""

    def __init__(self, folder: Path) -> None:
        self.model = MedVInTForConditionalGeneration.from_pretrained(folder).eval()
        self.model.generation_config.eos_token_id = None
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self.processor = MedVInTImageProcessor(self.model.config.vision.image_size)

    @torch.no_grad()
    def ask(self, image: Image.Image | None, text: str, tokens: int) -> None:
        ids: Any = self.tokenizer.apply_chat_template(
            messages(image, text), add_generation_prompt=True, return_dict=False
        )
        pixels = {}
        if image is not None:
            config = self.model.config
            ids = [config.image_token_id] * config.projector.num_image_tokens + ids
            pixels = {"pixel_values": self.processor.preprocess(image).pixel_values}
        input_ids = torch.tensor([ids])
        self.model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            max_new_tokens=tokens,
            do_sample=False,
            **pixels,
        )


def median_seconds(ask: Callable[[int], None], runs: int) -> float:
    """The first run warms up and does not count."""
    seconds = []
    for run in range(runs + 1):
        start = time.perf_counter()
        ask(run)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def start_server(folder: Path) -> tuple[subprocess.Popen, str]:
    """vLLM on a free port, ready to answer.

    Raises:
        RuntimeError: it ended, or was not ready in time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base_url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(vllm_command(folder, port=port), env=vllm_environment(folder))
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{base_url}/health", timeout=2).is_success:
                return process, base_url
        except httpx.TransportError:
            time.sleep(1)
    process.terminate()
    raise RuntimeError(f"The model server was not ready after {START_S} s.")


def served_answer(base_url: str, task: Task, run: int) -> None:
    ask_server(base_url, *task(run))


def reference_answer(reference: Reference, task: Task, run: int) -> None:
    reference.ask(*task(run))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    # Text prompts differ by a number, so that the prefix cache does not answer for the model.
    tasks: dict[str, Task] = {
        "first token of a text question": lambda run: (None, f"{run}. {TEXT}", 1),
        "short image answer": lambda run: (random_image(run), IMAGE_QUESTION, ANSWER_TOKENS),
    }
    process, base_url = start_server(arguments.model)
    try:
        served = {
            name: median_seconds(partial(served_answer, base_url, task), arguments.runs) for name, task in tasks.items()
        }
    finally:
        process.terminate()
        process.wait(30)
    reference = Reference(arguments.model)
    report = {}
    for name, task in tasks.items():
        alone = median_seconds(partial(reference_answer, reference, task), arguments.runs)
        report[name] = {
            "vllm_s": round(served[name], 3),
            "transformers_s": round(alone, 3),
            "ratio": round(served[name] / alone, 2),
        }
    json.dump({"threads": torch.get_num_threads(), "runs": arguments.runs, **report}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
