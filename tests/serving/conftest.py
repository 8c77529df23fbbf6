"""A tiny MedVInT-TD in the original's key names, on a LLaMA with a real 32,000-piece tokenizer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mistral_common
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlamaConfig

from serving.checkpoints import convert
from serving.medvint.configuration import MedVInTConfig
from tests.serving.random_checkpoints import TINY, TINY_LLAMA, original_state


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model's folder as the first conversions of LLaMA were: no weights, empty special tokens."""
    folder = tmp_path_factory.mktemp("llama")
    LlamaConfig(**TINY_LLAMA).save_pretrained(folder)
    # Same make and size as LLaMA's tokenizer, which is not to be had without a licence.
    shutil.copy(Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1", folder / "tokenizer.model")
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
def pictures() -> list[Image.Image]:
    """Two pictures that differ, not square."""
    random = np.random.default_rng(0)
    coarse = [random.integers(0, 255, (5, 7, 3), dtype=np.uint8) for _ in range(2)]
    return [Image.fromarray(pixels).resize((200, 150), Image.Resampling.BICUBIC) for pixels in coarse]


@pytest.fixture(scope="session")
def vllm_tokens(tmp_path_factory: pytest.TempPathFactory):
    """Greedy tokens and their log-probabilities from vLLM, in a process of its own."""

    def run(model: Path, prompts: list[dict], lora: Path | None = None) -> list[dict]:
        folder = tmp_path_factory.mktemp("vllm")
        for number, prompt in enumerate(prompts):
            if prompt["image"] is not None:
                path = folder / f"{number}.png"
                prompt["image"].save(path)
                prompts[number] = prompt | {"image": str(path)}
        request = {"model": str(model), "lora": lora and str(lora), "prompts": prompts}
        (folder / "request.json").write_text(json.dumps(request))
        command = [sys.executable, "-m", "tests.serving.vllm_tokens", str(folder)]
        environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        environment["VLLM_NO_USAGE_STATS"] = "1"
        subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[2])
        return json.loads((folder / "answers.json").read_text())

    return run
