"""Questions, pictures and answers of the benchmarks, and vLLM's own benchmark client.

load = run_load(server.base_url, questions(64, images=True), concurrency=32, tokens=50)
load["output_throughput"], load["ttfts"]
"""

import asyncio
import base64
import contextlib
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from PIL import Image

from serving.benchmarks.measuring import BenchmarkError
from serving.server import SERVED_NAME

IMAGE_QUESTION = "Which imaging modality is this, and what does it show?"
# What the original's evaluation lets the model write (`max_new_tokens`).
ANSWER_TOKENS = 50
TIMEOUT_S = 600


@dataclass(frozen=True)
class Question:
    """`image`: None for a text question."""

    text: str
    image: Image.Image | None = None

    def messages(self) -> list[dict[str, Any]]:
        """The conversation as the chat API takes it; the image is a PNG in a data URI."""
        if self.image is None:
            return [{"role": "user", "content": self.text}]
        content = [
            {"type": "image_url", "image_url": {"url": data_uri(self.image)}},
            {"type": "text", "text": self.text},
        ]
        return [{"role": "user", "content": content}]


@dataclass(frozen=True)
class Answer:
    """`first_s`: from the request to the first token; `rest_s`: from there to the last one. Tokens as counted there."""

    text: str
    prompt_tokens: int
    tokens: int
    first_s: float
    rest_s: float


def data_uri(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def random_image(seed: int, size: int = 512) -> Image.Image:
    """A new smooth picture for each seed: a repeated one would come from the cache."""
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)


def questions(number: int, *, images: bool, first: int = 0) -> list[Question]:
    """Questions that differ from their first word and picture on, so that no cache answers for the model."""
    return [
        Question(f"{seed}. {IMAGE_QUESTION}", random_image(seed) if images else None)
        for seed in range(first, first + number)
    ]


def ask(client: httpx.Client, question: Question, tokens: int, *, ignore_eos: bool = True) -> Answer:
    """One streamed answer from the server that `client` has as its base address.

    Raises:
        httpx.HTTPError: no answer.
    """
    body = {
        "model": SERVED_NAME,
        "messages": question.messages(),
        "max_completion_tokens": tokens,
        "ignore_eos": ignore_eos,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    text, first, last = "", 0.0, 0.0
    usage: dict[str, int] = {}
    encoded = json.dumps(body).encode()
    start = time.perf_counter()
    with client.stream(
        "POST", "/v1/chat/completions", content=encoded, headers={"Content-Type": "application/json"}
    ) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            now = time.perf_counter()
            chunk = json.loads(line.removeprefix("data: "))
            usage = chunk.get("usage") or usage
            if chunk["choices"]:
                first, last = first or now, now
                text += chunk["choices"][0]["delta"].get("content") or ""
    return Answer(text, usage["prompt_tokens"], usage["completion_tokens"], first - start, last - first)


def text_of_length(client: httpx.Client, tokens: int) -> str:
    """A text whose prompt has `tokens` tokens with the template's own; two-digit numbers may be put before it.

    Raises:
        BenchmarkError: the template alone is longer, or no text has exactly this length.
    """

    def length(words: int) -> int:
        return ask(client, Question("10. Why" + " the" * words), 1).prompt_tokens

    words = tokens - length(0)
    if words < 0 or length(words) != tokens:
        raise BenchmarkError(f"No text prompt of {tokens} tokens was found.")
    return ". Why" + " the" * words


def run_load(base_url: str, asked: Sequence[Question], concurrency: int, tokens: int) -> dict[str, Any]:
    """What `vllm bench serve` reports of `asked`, at most `concurrency` at once, each answered with `tokens` tokens.

    Source: `vllm.benchmarks.serve.benchmark`; the command line in front of it does not start with the CPU package.

    Raises:
        BenchmarkError: a request failed.
    """
    from vllm.benchmarks.datasets import SampleRequest
    from vllm.benchmarks.serve import TaskType, benchmark

    requests = [
        SampleRequest(prompt=question.text, prompt_len=0, expected_output_len=tokens, chat_messages=question.messages())
        for question in asked
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        result = asyncio.run(
            benchmark(
                task_type=TaskType.GENERATION,
                endpoint_type="openai-chat",
                api_url=f"{base_url}/v1/chat/completions",
                base_url=base_url,
                model_id=SERVED_NAME,
                model_name=SERVED_NAME,
                tokenizer=None,
                input_requests=requests,
                logprobs=None,
                request_rate=float("inf"),
                burstiness=1.0,
                disable_tqdm=True,
                num_warmups=0,
                profile=False,
                selected_percentile_metrics=["ttft", "tpot"],
                selected_percentiles=[95.0],
                ignore_eos=True,
                goodput_config_dict={},
                max_concurrency=concurrency,
                lora_modules=None,
                extra_headers=None,
                extra_body={"temperature": 0},
                ready_check_timeout_sec=0,
            )
        )
    if result["failed"]:
        raise BenchmarkError(f"{result['failed']} of {len(asked)} requests failed.")
    return result
