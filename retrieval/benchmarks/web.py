"""Memory of the web process over an index: a real `medvint web` that was asked for figures by image and words.

python -m retrieval.benchmarks.web --state data
"""

import io
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from PIL import Image

from retrieval.benchmarks.common import QUESTION, arguments, images_of
from serving.benchmarks.measuring import GB, BenchmarkError, Row, machine, save, tree_memory

START_S = 120
ANSWER_S = 60
SEARCHES = 20
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Web:
    """A running web process."""

    url: str
    process: subprocess.Popen[bytes]

    def search(self, text: str, image: bytes) -> int:
        """Number of hits. Raises httpx.HTTPStatusError: it refused."""
        answer = httpx.post(f"{self.url}/api/search", data={"text": text}, files={"image": image}, timeout=ANSWER_S)
        return len(answer.raise_for_status().json()["hits"])


@contextmanager
def running_web(data_dir: Path) -> Iterator[Web]:
    """`medvint web` on a free port over the state in `data_dir`, without a model, stopped at the end.

    Raises:
        BenchmarkError: it ended, or was not ready in time; the message ends with its last words.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"MEDVINT_DATA_DIR": str(data_dir.resolve()), "MEDVINT_PORT": str(port), "MEDVINT_CHROMA_URL": ""}
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "assistant", "web"]
        process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=log, stderr=log)
        try:
            if not _healthy(url, process):
                log.seek(0)
                raise BenchmarkError(f"The web did not become ready:\n{log.read()[-2000:].decode(errors='replace')}")
            yield Web(url, process)
        finally:
            process.terminate()
            process.wait(START_S)


def _healthy(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return httpx.get(f"{url}/healthz", timeout=5).is_success
        except httpx.TransportError:
            time.sleep(0.1)
    return False


def memory_row(data_dir: Path, images: list[Image.Image]) -> Row:
    """After searches by image and words; `detail` has what it was at the start, in GB."""
    with running_web(data_dir) as web:
        at_start = tree_memory(web.process.pid)
        hits = [web.search(f"{QUESTION} ({number})", _png(images[number % len(images)])) for number in range(SEARCHES)]
        after = tree_memory(web.process.pid)
        resident = psutil.Process(web.process.pid).memory_info().rss
    detail = {
        "at_start_gb": round(at_start / GB, 3),
        "resident_gb": round(resident / GB, 3),
        "searches": SEARCHES,
        "hits": sum(hits),
    }
    return Row("memory of the web process after searches", after / GB, "1 GiB", MOST_BYTES / GB, "GB", "<= 1", detail)


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--state", type=Path, default=Path("data"), help="state folder that holds the index (data)")
    options = parser.parse_args()
    row = memory_row(options.state, images_of(options.data, SEARCHES))
    save("web", [row], machine(), options.out)


if __name__ == "__main__":
    main()
