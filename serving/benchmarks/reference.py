"""transformers' `generate`, as the original answers: one question at a time, on all cores or on the card.

reference = Reference(Path("data/models/demo"))
reference.ask(Question("What is this?", image), tokens=50)
"""

import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from serving.benchmarks.client import Question
from serving.benchmarks.measuring import synchronize
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.medvint.processing import MedVInTImageProcessor


class Reference:
    """The converted model in transformers, in the number format of its weights."""

    def __init__(self, folder: Path, device: str = "cpu", dtype: torch.dtype | str = "auto") -> None:
        model: Any = MedVInTForConditionalGeneration.from_pretrained(folder, dtype=dtype)
        self.model = model.eval().to(device)
        self.model.generation_config.eos_token_id = None
        self.device = device
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self.processor = MedVInTImageProcessor(self.model.config.vision.image_size)

    def inputs(self, question: Question) -> dict[str, torch.Tensor]:
        """`input_ids` [1, tokens], its mask and, with an image, `pixel_values` [1, 3, size, size]."""
        ids: Any = self.tokenizer.apply_chat_template(
            question.messages(), add_generation_prompt=True, return_dict=False
        )
        pixels = {}
        if question.image is not None:
            config = self.model.config
            ids = [config.image_token_id] * config.projector.num_image_tokens + ids
            pixels = {"pixel_values": self.processor.preprocess(question.image).pixel_values}
        input_ids = torch.tensor([ids])
        inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), **pixels}
        return {name: tensor.to(self.device) for name, tensor in inputs.items()}

    @torch.no_grad()
    def ask(self, question: Question, tokens: int) -> str:
        """The greedy answer of exactly `tokens` tokens."""
        inputs = self.inputs(question)
        ids: Any = self.model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        return str(self.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))

    @torch.no_grad()
    def encode(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Tower and projector alone: [1, 3, size, size] -> [1, tokens, width]."""
        return self.model.get_image_features(pixel_values)

    def tokens_per_second(self, asked: list[Question], tokens: int) -> float:
        """One after the other; the first warms up and does not count, so at least two are needed."""
        self.ask(asked[0], tokens)
        start = time.perf_counter()
        for question in asked[1:]:
            self.ask(question, tokens)
        synchronize(self.device)
        return (len(asked) - 1) * tokens / (time.perf_counter() - start)
