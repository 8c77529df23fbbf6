"""MedVInT as it is trained: many questions behind one visual prefix, logits only where something is learnt.

trained = TrainedMedVInT(medvint)
trained(**collator(items))["loss"]
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from peft import LoraConfig
from torch import nn
from torch.nn import functional

from serving.medvint.modeling import MedVInTForConditionalGeneration, encode_images
from serving.training.packing import IGNORE
from serving.training.recipe import RunRecipe
from serving.training.recipe_sections import Lora

ABSENT = -100
"""In `hits`: a row of the batch has fewer questions than this column."""
# CLIP's last norm is only on the class token, after what MedVInT takes: it would never get a gradient.
_WITHOUT_GRADIENT = "vision_tower.vision_model.post_layernorm."


class Trained(nn.Module):
    """What transformers' Trainer trains: its forward pass gives `loss`, and in evaluation `hits` too."""

    accepts_loss_kwargs = True
    parts: ClassVar[Mapping[str, str]]
    """Of each part that has a rate, how the names of its weights begin."""

    def part_of(self, name: str) -> str:
        """The part that one of the weights belongs to."""
        return next(part for part, prefix in self.parts.items() if name.startswith(prefix))


class TrainedMedVInT(Trained):
    """MedVInT-TD.

    The tower is always in evaluation mode, also where its weights move: BatchNorm's statistics of a few images are
    worse than those it came with.
    """

    parts: ClassVar = {
        "tower": "medvint.vision_tower.", "projector": "medvint.projector.", "llm": "medvint.language_model."
    }  # fmt: skip

    def __init__(self, medvint: MedVInTForConditionalGeneration, text_weight: float = 0.0) -> None:
        super().__init__()
        self.medvint, self.text_weight = medvint, text_weight
        # Convolutions on a CPU are faster so.
        self.medvint.vision_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(self, mode: bool = True) -> "TrainedMedVInT":
        super().train(mode)
        self.medvint.vision_tower.eval()
        return self

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        segments: torch.Tensor,
        closed: torch.Tensor,
        pixel_values: torch.Tensor,
        text_ids: torch.Tensor | None = None,
        text_mask: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> dict[str, torch.Tensor]:
        """Cross-entropy, and in training the tie to the language model as it was where texts are given.

        Args:
            input_ids ... segments: as in `PackedBatch`.
            closed: [n, questions].
            num_items_in_batch: learnt tokens of the whole step; the loss is a mean over them.

        Returns:
            `loss`; in evaluation also `hits` [n, questions]: 1 where every token of the answer, the stop token
            included, is the greedy choice, plus 2 for closed questions.
        """
        tie = self._text_tie(text_ids, text_mask) if self.training and text_ids is not None else None
        medvint = self.medvint
        pixel_values = pixel_values.to(memory_format=torch.channels_last)
        image_embeds = encode_images(medvint.vision_tower, medvint.projector, pixel_values)
        hidden = medvint.language_model.model(
            inputs_embeds=medvint.embed(input_ids, image_embeds),
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
        ).last_hidden_state
        learnt = labels != IGNORE
        # The vocabulary is a large part of the work: only where something is learnt.
        logits = medvint.language_model.lm_head(hidden[learnt]).float()
        loss = functional.cross_entropy(logits, labels[learnt], reduction="sum")
        loss = loss / (learnt.sum() if num_items_in_batch is None else num_items_in_batch)
        if tie is not None:
            loss = loss + self.text_weight * tie
        if self.training:
            return {"loss": loss}
        return {"loss": loss, "hits": _hits(logits.argmax(-1), labels, segments, closed)}

    def _text_tie(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Kullback-Leibler divergence from the language model without LoRA, over all positions of plain text."""
        at = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        llm: Any = self.medvint.language_model
        with torch.no_grad(), without_lora(llm):
            target = llm(input_ids=ids, attention_mask=mask, use_cache=False).logits[at]
        guess = llm(input_ids=ids, attention_mask=mask, use_cache=False).logits[at]
        return functional.kl_div(
            guess.float().log_softmax(-1), target.float().log_softmax(-1), log_target=True, reduction="batchmean"
        )


def _hits(guess: torch.Tensor, labels: torch.Tensor, segments: torch.Tensor, closed: torch.Tensor) -> torch.Tensor:
    learnt = labels != IGNORE
    wrong = torch.zeros_like(labels)
    wrong[learnt] = (guess != labels[learnt]).long()
    place = segments.clamp(min=0)
    errors = torch.zeros(closed.shape, dtype=torch.long, device=labels.device).scatter_add(1, place, wrong)
    asked = torch.zeros_like(errors).scatter_add(1, place, learnt.long()) > 0
    return torch.where(asked, (errors == 0).long() + 2 * closed.long(), ABSENT)


def add_lora(llm: Any, lora: Lora) -> None:
    """Fresh LoRA, float32, on the named modules of the language model."""
    llm.add_adapter(
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]
            lora_dropout=lora.dropout,
            target_modules=list(lora.modules),
        )
    )


@contextmanager
def without_lora(llm: Any) -> Iterator[None]:
    """The language model as it was, for as long as the context lasts."""
    llm.disable_adapters()
    try:
        yield
    finally:
        llm.enable_adapters()


def choose_trained(trained: Trained, recipe: RunRecipe) -> None:
    """Parameters of parts that have a rate are trained, in float32; of what reads the text only LoRA where there is."""
    for name, parameter in trained.named_parameters():
        part = trained.part_of(name)
        wanted = getattr(recipe.rates, part) is not None and _WITHOUT_GRADIENT not in name
        if part == recipe.reader and recipe.lora is not None:
            wanted = wanted and ".lora_" in name
        parameter.requires_grad_(wanted)
        if wanted:
            parameter.data = parameter.data.float()


def trained_parameters(trained: nn.Module) -> dict[str, nn.Parameter]:
    """By name, those that move."""
    return {name: parameter for name, parameter in trained.named_parameters() if parameter.requires_grad}
