"""The model server: vLLM's OpenAI API on one model. Nothing else in this project knows vLLM's flags.

serve("data/models/demo", port=8000)
curl http://127.0.0.1:8000/v1/models
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

SERVED_NAME = "medvint"
LORA_NAME = "medvint-lora"

# Prompts of an image question are under 100 tokens: smaller blocks let a repeated prefix be found.
CPU_BLOCK_SIZE = 32
CPU_KV_CACHE = "384M"
CPU_MAX_NUM_SEQS = 16
MAX_MODEL_LEN = 4096
# Above this many cores one can be left to the server's own processes.
CORES_WITHOUT_RESERVE = 4


def has_gpu() -> bool:
    """Whether NVIDIA's driver is there; asked without importing torch, which takes seconds."""
    return shutil.which("nvidia-smi") is not None


def vllm_command(
    model: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    dtype: str = "auto",
    *,
    gpu: bool | None = None,
    lora: Path | None = None,
    max_model_len: int | None = None,
    extra: list[str] | None = None,
) -> list[str]:
    """The command that serves `model` (a folder, or a Hub id of any model that vLLM knows).

    `lora`: an unmerged adapter (`medvint convert --separate-lora`), served beside the base as `medvint-lora`.
    `extra`: more of vLLM's flags, passed on as they are; the last of a kind wins.
    """
    # `vllm serve` fails with the CPU package, whose distribution is not called "vllm".
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", SERVED_NAME, "--host", host, "--port", str(port), "--dtype", dtype]
    command += ["--limit-mm-per-prompt", json.dumps({"image": 1})]
    # Images come as data URIs; a server that fetched addresses would be a way into the network.
    command += ["--allowed-media-domains", "data-uris-only.invalid"]
    command += ["--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
    command += ["--mm-processor-cache-gb", "0.25"]
    folder = Path(model)
    length = max_model_len or _context_length(folder)
    if length:
        command += ["--max-model-len", str(length)]
    if is_medvint(folder):
        # MedVInT answers greedily; without this vLLM would sample at temperature 1.
        command += ["--override-generation-config", json.dumps({"temperature": 0.0})]
        command += ["--chat-template-content-format", "openai"]
    if not (has_gpu() if gpu is None else gpu):
        command += ["--enforce-eager", "--block-size", str(CPU_BLOCK_SIZE)]
        command += ["--kv-cache-memory-bytes", CPU_KV_CACHE, "--max-num-seqs", str(CPU_MAX_NUM_SEQS)]
    if lora is not None:
        command += ["--enable-lora", "--lora-modules", f"{LORA_NAME}={lora}"]
    return command + (extra or [])


def vllm_environment(
    model: str | Path, base: Mapping[str, str] | None = None, *, gpu: bool | None = None
) -> dict[str, str]:
    """The environment for `vllm_command`, on top of `base` (default: this process's)."""
    environment = dict(os.environ if base is None else base)
    environment |= {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_LOGGING_LEVEL": environment.get("VLLM_LOGGING_LEVEL", "WARNING"),
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if Path(model).is_dir():
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    cores = sorted(os.sched_getaffinity(0))
    if not (has_gpu() if gpu is None else gpu) and len(cores) <= CORES_WITHOUT_RESERVE:
        # vLLM keeps a core free by default: half of a small machine.
        environment.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, cores)))
    return environment


def serve(
    model: str | Path, host: str = "127.0.0.1", port: int = 8000, dtype: str = "auto", *, lora: Path | None = None
) -> None:
    """Become the model server: this process is replaced, so that signals reach vLLM itself.

    Raises:
        OSError: the interpreter cannot be started.
    """
    command = vllm_command(model, host, port, dtype, lora=lora)
    os.execve(command[0], command, vllm_environment(model))  # noqa: S606


def is_medvint(model: Path) -> bool:
    """Whether the folder holds a converted MedVInT."""
    return _config(model).get("model_type") == "medvint"


def _context_length(model: Path) -> int | None:
    """The model's own context, but no more than this product needs; None where it is unknown here."""
    config = _config(model)
    own = config.get("text_config", config).get("max_position_embeddings")
    return min(own, MAX_MODEL_LEN) if own else None


def _config(model: Path) -> dict:
    path = model / "config.json"
    return json.loads(path.read_text()) if path.is_file() else {}
