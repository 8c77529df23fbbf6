"""MedVInT-TE under transformers' Trainer: what its training begins with, and its loss.

model, tokenizer = begin_te(recipe, data, out)
TrainedTE(model)(**collator(items))["loss"]
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoTokenizer, BertModel, PreTrainedTokenizerBase

from serving import hub
from serving.decoders import Decoder, open_decoder
from serving.medvint_te.beginning import small_model
from serving.medvint_te.configuration import TEXT_CONFIGS, MedVInTTEConfig
from serving.medvint_te.conversion import te_tokenizer, text_settings
from serving.medvint_te.modeling import MedVInTTEForMaskedLM
from serving.server import is_medvint_te
from serving.training.beginning import QUERY_STD, RECIPE_FILE, BackboneError, load_language_model, load_tower
from serving.training.packing import IGNORE
from serving.training.recipe import SMALL_TE, MaskedRecipe, resolve
from serving.training.recipe_sections import MaskedModel
from serving.training.trained import ABSENT, Trained, add_lora

_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class TrainedTE(Trained):
    """MedVInT-TE, many questions to one pass of the tower.

    The tower is always in evaluation mode, as MedVInT-TD's, and so is all that rests: its dropout would be noise.
    """

    parts: ClassVar = {
        "tower": "te.vision_tower.", "projector": "te.projector.", "encoder": "te.text_encoder.", "fresh": "te."
    }  # fmt: skip

    def __init__(self, te: MedVInTTEForMaskedLM) -> None:
        super().__init__()
        self.te = te
        # Convolutions on a CPU are faster so.
        te.vision_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(self, mode: bool = True) -> "TrainedTE":
        super().train(mode)
        self.te.vision_tower.eval()
        for part in (self.te.projector, self.te.text_encoder):
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        return self

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        images: torch.Tensor,
        places: torch.Tensor,
        closed: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> dict[str, torch.Tensor]:
        """Cross-entropy at the answers' positions.

        Args:
            pixel_values: [n, 3, side, side].
            input_ids, attention_mask, labels: [questions, length]; answers are masked.
            images, places: [questions], each question's image, and its number among that image's questions.
            closed: [n, most questions of an image].
            num_items_in_batch: learnt tokens of the whole step; the loss is a mean over them.

        Returns:
            `loss`; in evaluation also `hits` [n, most questions of an image]: 1 where every token of the answer and
            its end are the most probable ones, plus 2 for closed questions.
        """
        seen = self.te.get_image_features(pixel_values.to(memory_format=torch.channels_last))
        learnt = labels != IGNORE
        logits = self.te(input_ids, attention_mask, image_features=seen[images], positions=learnt).logits.float()
        loss = functional.cross_entropy(logits, labels[learnt], reduction="sum")
        loss = loss / (learnt.sum() if num_items_in_batch is None else num_items_in_batch)
        if self.training:
            return {"loss": loss}
        wrong = torch.zeros_like(learnt)
        wrong[learnt] = logits.argmax(-1) != labels[learnt]
        # The first token is learnt where the original does so; it is no part of the answer.
        right = ~wrong[:, 1:].any(1)
        hits = torch.full(closed.shape, ABSENT, device=labels.device)
        hits[images, places] = right.long() + 2 * closed[images, places].long()
        return {"loss": loss, "hits": hits}


def begin_te(recipe: MaskedRecipe, data: Path, out: Path) -> tuple[MedVInTTEForMaskedLM, PreTrainedTokenizerBase]:
    """The model, with LoRA where the recipe has it, and its tokenizer.

    All is in float32 but a LLaMA, which is in the recipe's precision as far as it rests.

    Raises:
        RecipeError: a part is missing or does not fit (BackboneError).
        ConversionError, DecoderError, HubError: the small model's parts, or the text encoder, cannot be read.
    """
    spec, dtype = recipe.model, _DTYPES[recipe.precision]
    if spec.start == SMALL_TE:
        model, tokenizer = small_model()
    elif spec.start is not None:
        model, tokenizer = _from_folder(Path(resolve(spec.start, data, out)))
    else:
        model, tokenizer = _from_parts(spec, dtype, data, out)
    model.vision_tower.float()
    llama = model.config.text_config.model_type == "llama"
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(dtype if llama and name.startswith("text_encoder.") else torch.float32)
    encoder: Any = model.text_encoder
    if llama:
        encoder.config.use_cache = False
    if recipe.lora is not None:
        add_lora(encoder, recipe.lora)
    if recipe.gradient_checkpointing:
        encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model, tokenizer


def _from_folder(start: Path) -> tuple[MedVInTTEForMaskedLM, PreTrainedTokenizerBase]:
    """A converted folder, or what an earlier run left, with its LoRA merged."""
    folder = start / "model" if (start / RECIPE_FILE).is_file() else start
    if not is_medvint_te(folder):
        raise BackboneError(f"{start} is neither a finished run of a MedVInT-TE nor the converted folder of one.")
    return MedVInTTEForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def _from_parts(
    spec: MaskedModel, dtype: torch.dtype, data: Path, out: Path
) -> tuple[MedVInTTEForMaskedLM, PreTrainedTokenizerBase]:
    source = resolve(spec.encoder or "", data, out)
    read = open_decoder(source, resolve(spec.tokenizer, data, out) if spec.tokenizer else None, tuple(TEXT_CONFIGS))
    tokenizer = te_tokenizer(read)
    text = text_settings(read, tokenizer)
    settings: dict[str, Any] = {
        "vision_config": spec.vision_config,
        "projector_config": spec.projector_config,
        "embed_dim": spec.embed_dim,
        "fusion_layers": spec.fusion_layers,
    }
    # One layer stands for the encoder, which is read below: a second LLaMA would take 27 GB.
    model = MedVInTTEForMaskedLM(
        MedVInTTEConfig(**settings, **text | {"text_config": text["text_config"] | {"num_hidden_layers": 1}})
    )
    config = MedVInTTEConfig(**settings, **text)
    model.config, model.text_encoder = config, _load_encoder(read, dtype)
    if spec.tower:
        model.vision_tower = load_tower(resolve(spec.tower, data, out), config)
    nn.init.normal_(model.projector.query_embed.weight, std=QUERY_STD)
    return model, tokenizer


def _load_encoder(read: Decoder, dtype: torch.dtype) -> Any:
    if read.config.model_type == "llama":
        return load_language_model(read, dtype).model
    folder = hub.language_model_folder(read.hub_id, weights=True) if read.hub_id else read.folder
    try:
        return BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
    except OSError as error:
        raise BackboneError(f"{folder} holds no weights of a BERT: {str(error).splitlines()[0]}") from error
