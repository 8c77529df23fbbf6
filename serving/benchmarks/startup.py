"""From the command to the first healthy answer beside `import vllm`, and the memory of the server.

python -m serving.benchmarks.startup
python -m serving.benchmarks.startup --profile      # where the time of a start goes
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from serving.benchmarks.client import questions, run_load
from serving.benchmarks.measuring import (
    GB,
    BenchmarkError,
    Row,
    Server,
    arguments,
    machine,
    running_server,
    save,
    tree_memory,
)
from serving.server import kv_cache_bytes, vllm_environment

IMPORTS = 3
SAMPLER = "serving.benchmarks.sampler"


def import_seconds(runs: int) -> float:
    """Fastest `import vllm` in a process of its own, with the environment of the server."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import vllm"], check=True, env=vllm_environment(""), capture_output=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def profile(model: Path) -> str:
    """A start's time by kind of work, as a table; the looking itself slows it by a few percent."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds.json"
        with running_server(model, through=(SAMPLER, str(out))) as server:
            start_s = server.start_s
            seconds: dict[str, float] = json.loads(out.read_text())
    lines = ["| what | s | share |", "|---|---|---|"]
    for what, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        lines.append(f"| {what} | {spent:.2f} | {spent / start_s:.1%} |")
    seen = sum(seconds.values())
    lines.append(f"| Python's own start, the last moment | {start_s - seen:.2f} | {1 - seen / start_s:.1%} |")
    return "\n".join([*lines, f"| start to ready | {start_s:.2f} | |"])


def start_row(server: Server, imported_s: float) -> Row:
    """`server` has to be the second start or later: the first fills the file cache and compiles bytecode."""
    return Row("start to ready, not the first start", server.start_s, "`import vllm`", imported_s, "s", "<= 4")


def memory_row(server: Server) -> Row:
    """After load; what is neither weights nor KV cache is told in `detail`, in GB.

    Raises:
        BenchmarkError: the model's shape is not in its folder.
    """
    cache = kv_cache_bytes(server.model)
    if cache is None:
        raise BenchmarkError("The size of the KV cache is not known for this model.")
    weights = sum(file.stat().st_size for file in server.model.glob("*.safetensors"))
    total = tree_memory(server.process.pid)
    detail = {
        "weights_gb": round(weights / GB, 3),
        "kv_cache_gb": round(cache / GB, 3),
        "rest_gb": round((total - weights - cache) / GB, 3),
        "peak_by_process_gb": _in_gb(server.peak_memory()),
        "python_and_libraries_gb": round(_imported_memory() / GB, 3),
    }
    return Row(
        "memory of all processes after load", total / GB, "weights + KV cache", (weights + cache) / GB, "GB", "", detail
    )


def _in_gb(sizes: Mapping[str, float]) -> dict[str, float]:
    return {name: round(size / GB, 3) for name, size in sizes.items()}


def _imported_memory() -> float:
    """Bytes that one process needs for the imports of the server alone."""
    code = "import vllm.entrypoints.openai.api_server, psutil; print(psutil.Process().memory_full_info().uss)"
    run = subprocess.run([sys.executable, "-c", code], check=True, env=vllm_environment(""), capture_output=True)
    return float(run.stdout.split()[-1])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--profile", action="store_true", help="print where a start's time goes instead")
    options = parser.parse_args()
    if options.profile:
        print(profile(options.model))
        return
    about = machine()
    if not options.quick:
        with running_server(options.model):
            pass
    imported = import_seconds(1 if options.quick else IMPORTS)
    with running_server(options.model) as server:
        run_load(server.base_url, questions(2 if options.quick else 32, images=True), 32, 8)
        found = [start_row(server, imported), memory_row(server)]
    save("startup", found, about, options.out)


if __name__ == "__main__":
    main()
