"""Run by the fixture of that name: the engines of FOLDER/request.json one after the other, in one process.

A process of its own for each would import vLLM again, which takes longer than all that is asked here.
"""

import gc
import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from vllm import LLM, SamplingParams
from vllm.distributed import cleanup_dist_env_and_memory
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind

AT_ONCE = 16


class Engine:
    def __init__(self, request: dict) -> None:
        self.llm = LLM(
            request["model"],
            enforce_eager=True,
            block_size=32,
            kv_cache_memory_bytes=64 << 20,
            max_model_len=256,
            max_num_seqs=AT_ONCE,
            limit_mm_per_prompt={"image": 1},
            enable_lora=request["lora"] is not None,
            max_lora_rank=8,
            **request["options"],
        )
        self.lora = request["lora"] and LoRARequest("medvint-lora", 1, request["lora"])
        self.prompts = [
            {
                "prompt_token_ids": prompt["ids"],
                **({"multi_modal_data": {"image": Image.open(prompt["image"])}} if prompt["image"] else {}),
            }
            for prompt in request["prompts"]
        ]
        self.tokens = request["tokens"]
        self.delta = self.sampling(output_kind=RequestOutputKind.DELTA)

    def sampling(self, **more: Any) -> SamplingParams:
        return SamplingParams(temperature=0, max_tokens=self.tokens, ignore_eos=True, logprobs=1, **more)

    def alone(self) -> list[dict]:
        return [self.generate([prompt])[0] for prompt in self.prompts]

    def together(self) -> list[dict]:
        self.llm.reset_prefix_cache()
        return self.generate([self.prompts[i % len(self.prompts)] for i in range(AT_ONCE)])

    def generate(self, prompts: list[dict]) -> list[dict]:
        outputs = self.llm.generate(prompts, self.sampling(), lora_request=self.lora, use_tqdm=False)
        return [answer([output.outputs[0]]) | {"cached": output.num_cached_tokens} for output in outputs]

    def streamed(self) -> list[dict]:
        """Token by token, all prompts in flight."""
        engine = self.llm.llm_engine
        names = [
            engine.add_request(str(i), prompt, self.delta, lora_request=self.lora)
            for i, prompt in enumerate(self.prompts)
        ]
        parts: dict[str, list] = {str(i): [] for i in range(len(names))}
        while engine.has_unfinished_requests():
            for output in engine.step():
                parts[output.request_id].append(output.outputs[0])
        return [answer(pieces) | {"parts": len(pieces)} for pieces in parts.values()]


def answer(parts: list) -> dict:
    """Tokens and log-probabilities of the parts of one output."""
    tokens = [token for part in parts for token in part.token_ids]
    steps = [step for part in parts for step in part.logprobs]
    return {
        "tokens": tokens,
        "logprobs": [step[token].logprob for step, token in zip(steps, tokens, strict=True)],
    }


def main(folder: Path) -> None:
    answers = {}
    for name, request in json.loads((folder / "request.json").read_text()).items():
        engine = Engine(request)
        answers[name] = {
            "cold": engine.alone(),
            "warm": engine.alone(),
            "together": engine.together(),
            "streamed": engine.streamed(),
        }
        del engine
        gc.collect()
        cleanup_dist_env_and_memory()
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
