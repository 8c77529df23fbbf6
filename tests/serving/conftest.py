"""A tiny MedVInT-TD in the original's key names, on a LLaMA with a real 32,000-piece tokenizer."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import LlamaConfig

from serving.checkpoints import LORA_FOLDER, convert
from serving.medvint.configuration import MedVInTConfig
from tests.serving import variants
from tests.serving.random_checkpoints import TINY, TINY_LLAMA, original_state


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model's folder as the first conversions of LLaMA were: no weights, empty special tokens."""
    folder = tmp_path_factory.mktemp("llama")
    LlamaConfig(**TINY_LLAMA).save_pretrained(folder)
    shutil.copy(variants.tokenizer_file(), folder / "tokenizer.model")
    settings = {"tokenizer_class": "LLaMATokenizer", "bos_token": "", "eos_token": "", "unk_token": ""}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def tiny_state() -> dict[str, torch.Tensor]:
    return original_state(MedVInTConfig(**TINY))


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory, tiny_state: dict[str, torch.Tensor]) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint-4000")
    torch.save(tiny_state, folder / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="session")
def tiny_models(tiny_source: Path, tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("converted")
    return {
        name: convert(tiny_source, tiny_llm, folder / name, num_heads=4, merge_lora=name == "merged")
        for name in ("merged", "unmerged")
    }


@pytest.fixture(scope="session")
def variant_model(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The converted folder of one of `variants.VARIANTS`."""

    @cache
    def converted(name: str, *, new_peft: bool = False, merge_lora: bool = True) -> Path:
        variant = variants.VARIANTS[name]
        folder = tmp_path_factory.mktemp(name)
        torch.save(variant.state(new_peft=new_peft) | variants.original_buffers(variant.config), folder / "all.bin")
        heads = variant.projector.get("num_heads")
        out = convert(folder / "all.bin", tiny_llm, folder / "out", num_heads=heads, merge_lora=merge_lora)
        (folder / "all.bin").unlink()
        return out

    return converted


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    return variants.pictures()


# Engine name -> variant, its LoRA, vLLM's options. A whole prompt, or pieces of 16 tokens, in the middle of which the
# image may end; each with one or the other, so that no combination costs an engine of its own.
WHOLE = {"enable_chunked_prefill": False, "max_num_batched_tokens": 512}
PIECES = {"enable_chunked_prefill": True, "max_num_batched_tokens": 16}
ENGINES = {
    "merged": ("transformer-pmc-clip-8", True, {"dtype": "float32"} | PIECES),
    "unmerged": ("transformer-pmc-clip-8", False, {"dtype": "float32"} | WHOLE),
    "clip": ("transformer-clip-12", True, {"dtype": "float32"} | WHOLE),
    "mlp": ("mlp-clip", True, {"dtype": "float32"} | PIECES),
    "bfloat16": ("transformer-pmc-clip-8", True, {"dtype": "bfloat16"} | WHOLE),
}
ENGINE_TOKENS = 8


def engine_cases(name: str) -> list[dict]:
    """Of an engine's reference: an open question about two pictures, and one with choices."""
    cases = variants.reference(ENGINES[name][0])["cases"]
    lists = ("tokens", "logprobs", "margins")
    return [case | {key: case[key][:ENGINE_TOKENS] for key in lists} for case in (cases[0], cases[1], cases[3])]


@pytest.fixture(scope="session")
def vllm_tokens(
    variant_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, list[dict]]]:
    """Of every engine and way of asking: greedy tokens and log-probabilities for the reference's cases."""
    folder = tmp_path_factory.mktemp("vllm")
    for number, picture in enumerate(variants.pictures()):
        picture.save(folder / f"{number}.png")
    request = {}
    for name, (variant, merge_lora, options) in ENGINES.items():
        model = variant_model(variant, merge_lora=merge_lora)
        request[name] = {
            "model": str(model),
            "lora": None if merge_lora else str(model / LORA_FOLDER),
            "options": options,
            "tokens": ENGINE_TOKENS,
            "prompts": [
                {"ids": case["prompt_ids"], "image": str(folder / f"{case['picture']}.png")}
                for case in engine_cases(name)
            ],
        }
    (folder / "request.json").write_text(json.dumps(request))
    command = [sys.executable, "-m", "tests.serving.vllm_tokens", str(folder)]
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    environment |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[2])
    return json.loads((folder / "answers.json").read_text())
