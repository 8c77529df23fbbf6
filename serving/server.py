"""The model server: vLLM's OpenAI API on one model, or the same for a MedVInT-TE. Nothing else here knows vLLM's flags.

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
TE_OWNER = "medvint-te"
"""By this owner in `/v1/models` a server says that its model is a MedVInT-TE."""

# Prompts of an image question are under 100 tokens: smaller blocks let a repeated prefix be found.
CPU_BLOCK_SIZE = 32
# Without a size vLLM takes nearly all memory; this is room for so many conversations of full length.
CPU_KV_CONTEXTS = 4
CPU_KV_CACHE_UNKNOWN = "4G"
CPU_MAX_NUM_SEQS = 32
CACHE_ELEMENT_BYTES = 2
MAX_MODEL_LEN = 4096
# MedVInT was trained on one image; others compare several. Nobody here sends films or sound.
OTHER_MODELS_IMAGES = 4
# Above this many cores one can be left to the server's own processes.
SMALL_MACHINE_CORES = 4
# The model in the engine's own process: one process and its imports less, and no queue between scheduler and model.
# vLLM overrules the short name "uni" on a CPU, since it binds threads only in a worker that it starts; on a machine
# that gives all its cores to the model there is nothing to bind.
SMALL_MACHINE_EXECUTOR = "vllm.v1.executor.uniproc_executor.UniProcExecutor"


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
    # Images come as data URIs; a server that fetched addresses would be a way into the network.
    command += ["--allowed-media-domains", "data-uris-only.invalid"]
    command += ["--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
    command += ["--mm-processor-cache-gb", "0.25"]
    folder = Path(model)
    limits = {"image": 1} if is_medvint(folder) else {"image": OTHER_MODELS_IMAGES, "video": 0, "audio": 0}
    command += ["--limit-mm-per-prompt", json.dumps(limits)]
    length = max_model_len or _context_length(folder)
    if length:
        command += ["--max-model-len", str(length)]
    if is_medvint(folder):
        # MedVInT answers greedily; without this vLLM would sample at temperature 1.
        command += ["--override-generation-config", json.dumps({"temperature": 0.0})]
        command += ["--chat-template-content-format", "openai"]
    if not (has_gpu() if gpu is None else gpu):
        command += ["--enforce-eager", "--block-size", str(CPU_BLOCK_SIZE)]
        cache = kv_cache_bytes(folder, max_model_len)
        command += ["--kv-cache-memory-bytes", str(cache) if cache else CPU_KV_CACHE_UNKNOWN]
        command += ["--max-num-seqs", str(CPU_MAX_NUM_SEQS)]
        if len(_cores()) <= SMALL_MACHINE_CORES:
            command += ["--distributed-executor-backend", SMALL_MACHINE_EXECUTOR]
    if lora is not None:
        command += ["--enable-lora", "--lora-modules", f"{LORA_NAME}={lora}"]
    return command + (extra or [])


def model_command(
    model: str | Path, host: str = "127.0.0.1", port: int = 8000, dtype: str = "auto", *, lora: Path | None = None
) -> list[str]:
    """The command that serves `model`: vLLM, or for a MedVInT-TE, which is no decoder, a server of its own."""
    if not is_medvint_te(Path(model)):
        return vllm_command(model, host, port, dtype, lora=lora)
    command = [sys.executable, "-m", "serving.medvint_te.server", "--model", str(model)]
    return [*command, "--host", host, "--port", str(port), "--dtype", dtype]


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
    cores = _cores()
    if not (has_gpu() if gpu is None else gpu) and len(cores) <= SMALL_MACHINE_CORES:
        # vLLM keeps a core free by default, half of a small machine.
        environment.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, cores)))
        environment.setdefault("OMP_NUM_THREADS", str(len(cores)))
    return environment


def serve(
    model: str | Path, host: str = "127.0.0.1", port: int = 8000, dtype: str = "auto", *, lora: Path | None = None
) -> None:
    """Become the model server: this process is replaced, so that signals reach vLLM itself.

    Raises:
        OSError: the interpreter cannot be started.
    """
    command = model_command(model, host, port, dtype, lora=lora)
    os.execve(command[0], command, vllm_environment(model))  # noqa: S606


def kv_cache_bytes(model: Path, max_model_len: int | None = None) -> int | None:
    """Size of the KV cache on a CPU; None where the folder does not tell the decoder's shape.

    Keys and values of `CPU_KV_CONTEXTS` conversations of the greatest length, in 16 bits a number.
    """
    length, config = max_model_len or _context_length(model), _decoder_config(model)
    heads = config.get("num_key_value_heads") or config.get("num_attention_heads")
    layers, width = config.get("num_hidden_layers"), config.get("head_dim")
    if not width and config.get("num_attention_heads"):
        width = config.get("hidden_size", 0) // config["num_attention_heads"]
    if not (length and heads and layers and width):
        return None
    return CPU_KV_CONTEXTS * length * layers * heads * width * 2 * CACHE_ELEMENT_BYTES


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def is_medvint(model: Path) -> bool:
    """Whether the folder holds a converted MedVInT."""
    return _config(model).get("model_type") == "medvint"


def is_medvint_te(model: Path) -> bool:
    """Whether the folder holds a converted MedVInT-TE."""
    return _config(model).get("model_type") == "medvint_te"


def _context_length(model: Path) -> int | None:
    """The model's own context, but no more than this product needs; None where it is unknown here."""
    own = _decoder_config(model).get("max_position_embeddings")
    return min(own, MAX_MODEL_LEN) if own else None


def _decoder_config(model: Path) -> dict:
    config = _config(model)
    return config.get("text_config", config)


def _config(model: Path) -> dict:
    path = model / "config.json"
    return json.loads(path.read_text()) if path.is_file() else {}
