"""`medvint convert --check` of a MedVInT-TE: whether the converted folder answers as its source does.

As TD's check, the source is run without anything of the conversion: under its own names in the original's structure,
with torch's own layers and LoRA unmerged. Compared is what stands at the masked positions of an answer.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer, BertModel, LlamaModel

from serving.checkpoints import ConversionError, Progress, open_source
from serving.conversion_check import (
    NOT_NEEDED,
    QUESTIONS,
    Comparison,
    add_lora,
    choose_dtype,
    compare,
    random_pictures,
    read_alpha,
    split_lora,
)
from serving.decoders import open_decoder
from serving.medvint.vision import ClipTower, build_vision_tower
from serving.medvint_te.configuration import TEXT_CONFIGS, MedVInTTEConfig
from serving.medvint_te.modeling import MedVInTTEForMaskedLM
from serving.medvint_te.text import QuestionText
from serving.weight_files import StoredTensor, open_tensors

LENGTHS = (1, 4, 8)
"""Tokens of the answers that are asked for, one length a question."""
_ENCODER = re.compile(r"text_encoder\.(?:base_model\.(?:model\.)?)?")
_TWIN = re.compile(r"llama_model\.(?:base_model\.model\.)?")
# What the original's module has and its forward pass never reads.
_UNREAD = re.compile(
    r"llama_model\..*|positional_embedding|text_projection|logit_scale|qformer_decoder_layer\..*|"
    r"qformer_decoder_norm\..*|.*\.attnpool\..*|(?:.*\.)?pooler\..*"
)


@dataclass(frozen=True)
class _Asked:
    """`input_ids`, `attention_mask`, `positions` [1, length]; `pixel_values` [1, 3, image_size, image_size]."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    positions: torch.Tensor
    pixel_values: torch.Tensor


def check_te(
    source: Path | str, llm: Path | str, converted: Path, *, subfolder: str | None, tell: Progress
) -> Comparison:
    """Arguments and errors as of `serving.conversion_check.check`."""
    config = MedVInTTEConfig.from_pretrained(converted)
    asked = _questions(converted, config)
    tell("Running the source", 0.0)
    original = _SourceModel(config, _read_source(source, subfolder, llm), read_alpha(converted))
    expected = [original.log_probabilities(each) for each in asked]
    dtype = original.dtype
    del original
    tell("Running the converted model", 0.5)
    model = MedVInTTEForMaskedLM.from_pretrained(converted, dtype=dtype).eval()
    with torch.no_grad():
        logits = [
            model(each.input_ids, each.attention_mask, each.pixel_values, positions=each.positions).logits
            for each in asked
        ]
    tell("Compared", 1.0)
    return compare(
        [(each.argmax(-1), each) for each in expected],
        [each.float().log_softmax(-1) for each in logits],
        str(dtype).removeprefix("torch."),
    )


def _questions(folder: Path, config: MedVInTTEConfig) -> list[_Asked]:
    text = QuestionText(AutoTokenizer.from_pretrained(folder), config)
    processor = AutoImageProcessor.from_pretrained(folder)
    made = []
    for question, picture, length in zip(QUESTIONS, random_pictures(), LENGTHS, strict=True):
        prompt, places = text.blank(question), config.answer_slots or length
        ids, mask = text.batch([text.masked(prompt, places)])
        positions = torch.zeros_like(ids, dtype=torch.bool)
        # The end behind the masks is learnt as they are.
        positions[0, len(prompt) + 1 : len(prompt) + 2 + places] = True
        made.append(_Asked(ids, mask, positions, processor.preprocess(picture).pixel_values))
    return made


def _read_source(source: Path | str, subfolder: str | None, llm: Path | str) -> dict[str, StoredTensor]:
    """Tensors under the original's names, those of the text encoder as `text_encoder.` and its own names."""
    tensors = open_tensors(open_source(source, subfolder))
    named = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    encoder = {_ENCODER.sub("", name, 1): t for name, t in named.items() if _ENCODER.match(name)}
    encoder = encoder or {_TWIN.sub("", name, 1): t for name, t in named.items() if _TWIN.match(name)}
    if not encoder:
        stored = open_decoder(llm, kinds=tuple(TEXT_CONFIGS)).read_weights()
        encoder = {re.sub(r"^(?:model|bert)\.", "", name): tensor for name, tensor in stored.items()}
        encoder = {name: tensor for name, tensor in encoder.items() if not name.startswith(("lm_head.", "cls."))}
    rest = {name: tensor for name, tensor in named.items() if not _ENCODER.match(name)}
    found = rest | {f"text_encoder.{name}": tensor for name, tensor in encoder.items()}
    return {
        name: tensor for name, tensor in found.items() if not (name.endswith(NOT_NEEDED) or _UNREAD.fullmatch(name))
    }


class _Block(nn.Module):
    """CLIP's residual attention block, by its attributes' names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        layers = (("c_fc", nn.Linear(width, 4 * width)), ("gelu", nn.GELU()), ("c_proj", nn.Linear(4 * width, width)))
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        normed = self.ln_1(hidden)
        hidden = hidden + self.attn(normed, normed, normed, need_weights=False)[0]
        return hidden + self.mlp(self.ln_2(hidden))


class _SourceModel(nn.Module):
    """The original's `Binary_VQA_Model`, by its attributes' names."""

    def __init__(self, config: MedVInTTEConfig, tensors: Mapping[str, StoredTensor], alpha: float) -> None:
        super().__init__()
        stored, stored_adapter = split_lora(tensors)
        self.dtype = choose_dtype(config, stored)
        state = {name: tensor.read().to(self.dtype) for name, tensor in stored.items()}
        prefix = "text_encoder."
        encoder = {name.removeprefix(prefix): state.pop(name) for name in list(state) if name.startswith(prefix)}
        self._build(config)
        missing, unexpected = self.to(self.dtype).load_state_dict(state, strict=False)
        missing = [name for name in missing if not name.endswith(NOT_NEEDED)]
        if missing or unexpected:
            raise ConversionError(f"The source does not load: missing {missing}, unexpected {unexpected}.")
        loaded: dict[str, Any] = {"config": config.text_config, "state_dict": encoder, "dtype": self.dtype}
        self.text_encoder: Any = (
            BertModel.from_pretrained(None, add_pooling_layer=False, **loaded)
            if config.text_config.model_type == "bert"
            else LlamaModel.from_pretrained(None, **loaded)
        )
        adapter = {
            name.removeprefix(prefix): {side: tensor.read() for side, tensor in pair.items()}
            for name, pair in stored_adapter.items()
        }
        add_lora(self.text_encoder, adapter, alpha)
        self.eval()

    def _build(self, config: MedVInTTEConfig) -> None:
        width, projector = config.embed_dim, config.projector
        tower = build_vision_tower(config.vision)
        self.is_clip = isinstance(tower, ClipTower)
        self.image_encoder: Any = tower if self.is_clip else nn.ModuleDict({"visual": tower})
        if not self.is_clip:
            self.image_embed = nn.Sequential(nn.Linear(config.vision.out_channels, width))
        self.qformer_query = nn.Parameter(torch.empty(projector.num_queries, width))
        layer = nn.TransformerDecoderLayer(
            width, projector.num_heads, projector.intermediate_size, batch_first=True, norm_first=True
        )
        self.qformer_decoder = nn.TransformerDecoder(layer, projector.num_layers, nn.LayerNorm(width))
        self.text_embed = nn.Sequential(nn.Linear(config.text_config.hidden_size, width))
        self.img_special_token = nn.Parameter(torch.empty(1, 1, width))
        blocks = nn.ModuleList(_Block(width, config.fusion_heads) for _ in range(config.fusion_layers))
        self.fusion_module: Any = nn.ModuleDict({"resblocks": blocks})
        self.mlm_projection = nn.Parameter(torch.empty(width, config.text_config.vocab_size))

    @torch.no_grad()
    def log_probabilities(self, asked: _Asked) -> torch.Tensor:
        """[answer's positions, vocabulary]."""
        pixels = asked.pixel_values.to(self.dtype)
        if self.is_clip:
            patches = self.image_encoder.vision_model(pixel_values=pixels).last_hidden_state[:, 1:]
        else:
            patches = self.image_embed(self.image_encoder["visual"](pixels).flatten(2).transpose(1, 2))
        images = self.qformer_decoder(self.qformer_query[None], patches)
        read = self.text_encoder(input_ids=asked.input_ids, attention_mask=asked.attention_mask)[0]
        hidden = torch.cat([self.text_embed(read), self.img_special_token, images], 1)
        for block in self.fusion_module["resblocks"]:
            hidden = block(hidden)
        answers = hidden[:, : asked.input_ids.shape[1]][asked.positions]
        return (answers @ self.mlm_projection).float().log_softmax(-1)
