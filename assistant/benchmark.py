"""A chat turn without search beside the same request straight to vLLM; with `--all`, the whole table.

python -m assistant.benchmark
python -m assistant.benchmark --all
"""

import asyncio
import io
import statistics
import tempfile
import time
from base64 import b64encode
from contextlib import aclosing
from pathlib import Path

import httpx
from pydantic import AnyHttpUrl

from assistant.chat import Assistant
from assistant.figure_search import FigureSearch
from assistant.model import ModelClient
from assistant.settings import Settings
from assistant.uploads import CleanImage, UploadLimits, clean_upload
from serving.benchmarks.all import run
from serving.benchmarks.client import IMAGE_QUESTION, TIMEOUT_S, random_image
from serving.benchmarks.measuring import Row, Server, arguments, machine, running_server, save

RUNS = 15
SEEN = 30_000


def chat_turn(server: Server, quick: bool) -> list[Row]:
    """Both in turn, each question asked once before, so that both find the same caches."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(model_url=AnyHttpUrl(server.base_url), data_dir=Path(folder), max_answer_tokens=32)
        return [asyncio.run(_measure(settings, 2 if quick else RUNS))]


async def _measure(settings: Settings, runs: int) -> Row:
    stream = io.BytesIO()
    random_image(SEEN).save(stream, "PNG")
    limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)
    image = clean_upload(stream.getvalue(), "image.png", limits)
    model = ModelClient(settings)
    # There is no index in the folder: the turn says so and goes on.
    assistant = Assistant(model, FigureSearch(settings), settings)
    turns, straight = [], []
    async with httpx.AsyncClient(base_url=settings.model_root_url, timeout=TIMEOUT_S) as client:
        for number in range(runs + 1):
            question = f"{number}. {IMAGE_QUESTION}"
            await _ask_straight(client, settings, question, image)
            if number % 2:
                turns.append(await _ask(assistant, question, image))
                straight.append(await _ask_straight(client, settings, question, image))
            else:
                straight.append(await _ask_straight(client, settings, question, image))
                turns.append(await _ask(assistant, question, image))
    await model.close()
    return Row(
        "chat turn without search",
        1000 * statistics.median(turns[1:]),
        "the same request straight to vLLM",
        1000 * statistics.median(straight[1:]),
        "ms",
        "<= 1.1",
        {"runs": runs},
    )


async def _ask(assistant: Assistant, question: str, image: CleanImage) -> float:
    start = time.perf_counter()
    async with aclosing(assistant.ask(question, image)) as turns:
        async for _ in turns:
            pass
    return time.perf_counter() - start


async def _ask_straight(client: httpx.AsyncClient, settings: Settings, question: str, image: CleanImage) -> float:
    content = [
        # The very bytes of the turn: the server's caches know an image by them.
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + b64encode(image.data).decode()}},
        {"type": "text", "text": question},
    ]
    body = {
        "model": settings.served_model_name,
        "messages": [{"role": "user", "content": content}],
        "max_completion_tokens": settings.max_answer_tokens,
        "temperature": 0,
        "logprobs": True,
        "stream": True,
    }
    start = time.perf_counter()
    async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        reply.raise_for_status()
        async for _ in reply.aiter_lines():
            pass
    return time.perf_counter() - start


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--all", action="store_true", help="the table of serving.benchmarks.all and this row")
    options = parser.parse_args()
    if options.all:
        run(options, chat_turn)
        return
    about = machine()
    with running_server(options.model) as server:
        found = chat_turn(server, options.quick)
    save("chat_turn", found, about, options.out)


if __name__ == "__main__":
    main()
