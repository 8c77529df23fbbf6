"""Run by the fixture of that name: the prompts of FOLDER/request.json through vLLM, greedily."""

import json
import sys
from pathlib import Path

from PIL import Image
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest


def main(folder: Path) -> None:
    request = json.loads((folder / "request.json").read_text())
    llm = LLM(
        request["model"],
        dtype="float32",
        enforce_eager=True,
        block_size=32,
        kv_cache_memory_bytes=64 << 20,
        max_model_len=256,
        limit_mm_per_prompt={"image": 1},
        enable_lora=request["lora"] is not None,
        max_lora_rank=8,
    )
    inputs = [
        {
            "prompt_token_ids": prompt["ids"],
            **({"multi_modal_data": {"image": Image.open(prompt["image"])}} if prompt["image"] else {}),
        }
        for prompt in request["prompts"]
    ]
    outputs = llm.generate(
        inputs,
        SamplingParams(temperature=0, max_tokens=16, ignore_eos=True, logprobs=1),
        lora_request=request["lora"] and LoRARequest("medvint-lora", 1, request["lora"]),
    )
    answers = [
        {
            "tokens": list(output.outputs[0].token_ids),
            "logprobs": [
                step[token].logprob
                for step, token in zip(output.outputs[0].logprobs, output.outputs[0].token_ids, strict=True)
            ],
        }
        for output in outputs
    ]
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
