"""Whether a converted folder answers as its source does: `medvint convert --check`.

The source is run without anything of the conversion: its state dict goes under its own names into
the original's structure, with torch's own decoder layers as the projector and LoRA unmerged beside
the layers that it changes. Both runs get the same random images and questions.

    check(Path("checkpoint-1382"), "PMC_LLAMA_7B", Path("models/medvint")).largest_difference
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import AutoImageProcessor, AutoTokenizer, LlamaForCausalLM, PreTrainedConfig

from serving.checkpoints import LORA_FOLDER, SOURCES, ConversionError, Progress, open_source
from serving.decoders import open_decoder
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.medvint.projector import sine_position
from serving.medvint.vision import ClipTower, build_vision_tower
from serving.server import is_medvint_te
from serving.weight_files import StoredTensor, open_tensors

QUESTIONS = ("Which imaging modality is this?", "Is there a fracture?", "What does the arrow point at?")
NEW_TOKENS = 16
NEAR_TIE = 0.1
"""Tokens may part where the source itself prefers its own by less than this in log-probability."""
_LORA = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")
_DECODER = "llamacasual."
NOT_NEEDED = (".inv_freq", ".position_ids", ".num_batches_tracked")


class DifferentAnswersError(ConversionError):
    """The converted model does not answer as its source; the message says by how much."""


@dataclass(frozen=True)
class Comparison:
    """Most probable tokens of both, and the largest |difference| of the log-probabilities of the source's tokens."""

    prompts: int
    tokens: int
    equal_tokens: int
    largest_difference: float
    dtype: str


@dataclass(frozen=True)
class _Prompt:
    """`ids` of the text alone; `pixel_values` [1, 3, image_size, image_size]."""

    ids: list[int]
    pixel_values: torch.Tensor


def check(
    source: Path | str,
    llm: Path | str,
    converted: Path,
    *,
    subfolder: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare a converted folder with the checkpoint that it was made from.

    In float32 where memory allows it, else in the folder's own format: one model is in memory at a time.

    Raises:
        DifferentAnswersError: their most probable tokens part, and not at a near tie.
        ConversionError, DecoderError, HubError: a part cannot be read.
    """
    tell = progress or (lambda what, share: None)
    # Progress is told by the caller, once, not by every library below.
    transformers.utils.logging.disable_progress_bar()
    if is_medvint_te(converted):
        # It stands on what is here.
        from serving.medvint_te.conversion_check import check_te

        return check_te(source, llm, converted, subfolder=subfolder, tell=tell)
    config = MedVInTConfig.from_pretrained(converted)
    prompts = _prompts(converted, config)
    tell("Running the source", 0.0)
    source_model = _SourceModel(config, _read_source(source, subfolder, llm), read_alpha(converted))
    expected = [source_model.answer(prompt) for prompt in prompts]
    dtype = source_model.dtype
    del source_model
    tell("Running the converted model", 0.5)
    model = MedVInTForConditionalGeneration.from_pretrained(converted, dtype=dtype).eval()
    if (converted / LORA_FOLDER).is_dir():
        stored = load_file(converted / LORA_FOLDER / "adapter_model.safetensors")
        _, adapter = split_lora({name.removeprefix("base_model.model."): t for name, t in stored.items()})
        add_lora(model, adapter, read_alpha(converted))
    found = [_log_probabilities(model, prompt, tokens) for prompt, (tokens, _) in zip(prompts, expected, strict=True)]
    tell("Compared", 1.0)
    return compare(expected, found, str(dtype).removeprefix("torch."))


def _prompts(folder: Path, config: MedVInTConfig) -> list[_Prompt]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    made = []
    for question, picture in zip(QUESTIONS, random_pictures(), strict=True):
        pixel_values = processor.preprocess(picture).pixel_values
        turn: Any = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        ids: Any = tokenizer.apply_chat_template([turn], add_generation_prompt=True, return_dict=False)
        made.append(_Prompt(ids, pixel_values))
    return made


def random_pictures() -> list[Image.Image]:
    """One for every question, coarse enough to be seen."""
    random = np.random.default_rng(0)
    coarse = [Image.fromarray(random.integers(0, 255, (6, 8, 3), dtype=np.uint8)) for _ in QUESTIONS]
    return [each.resize((320, 240), Image.Resampling.BICUBIC) for each in coarse]


def read_alpha(folder: Path) -> float:
    """LoRA's, with which the folder was made."""
    return json.loads((folder / SOURCES).read_text()).get("lora_alpha", 0.0)


def _read_source(source: Path | str, subfolder: str | None, llm: Path | str) -> dict[str, StoredTensor]:
    """Tensors under the original's names, with the language model's where the checkpoint has none."""
    tensors = open_tensors(open_source(source, subfolder))
    named = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if not any(name.startswith(_DECODER) and "lora_" not in name for name in named):
        named |= {f"{_DECODER}{name}": tensor for name, tensor in open_decoder(llm).read_weights().items()}
    return {name: tensor for name, tensor in named.items() if not name.endswith(NOT_NEEDED)}


def split_lora(tensors: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Weights, and the two matrices of each module that LoRA changes."""
    weights: dict[str, Any] = {}
    adapter: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        lora = _LORA.fullmatch(name)
        if lora:
            adapter.setdefault(lora[1], {})[lora[2]] = tensor
        else:
            weights[name.replace(".base_layer.", ".")] = tensor
    return weights, adapter


def add_lora(model: nn.Module, adapter: Mapping[str, Mapping[str, torch.Tensor]], alpha: float) -> None:
    """PEFT's LoRA: out + B(A(x)) * alpha / rank."""

    def add(module: nn.Linear, lora_a: torch.Tensor, lora_b: torch.Tensor) -> None:
        lora_a, lora_b = lora_a.to(module.weight), lora_b.to(module.weight)

        def changed(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            return output + functional.linear(functional.linear(inputs[0], lora_a), lora_b) * (alpha / len(lora_a))

        module.register_forward_hook(changed)

    for name, pair in adapter.items():
        add(cast(nn.Linear, model.get_submodule(name)), pair["A"], pair["B"])


class _SourceModel(nn.Module):
    """The original's `QA_model`, by its attributes' names; `patch_norm` and the like are the demo's additions."""

    def __init__(self, config: MedVInTConfig, tensors: Mapping[str, StoredTensor], alpha: float) -> None:
        super().__init__()
        self.config = config
        stored, stored_adapter = split_lora(tensors)
        self.dtype = choose_dtype(config, stored)
        state = {name: tensor.read().to(self.dtype) for name, tensor in stored.items()}
        decoder = {
            re.sub(r"^llamacasual\.(base_model\.model\.)?", "", name): state.pop(name)
            for name in list(state)
            if name.startswith(_DECODER)
        }
        self._build_image_path()
        # CLIPVisionModel of transformers 4 had one level more.
        state = {name.replace("vision_model.vision_model.", "vision_model."): tensor for name, tensor in state.items()}
        missing, unexpected = self.to(self.dtype).load_state_dict(state, strict=False)
        missing = [name for name in missing if not name.endswith(NOT_NEEDED)]
        if missing or unexpected:
            raise ConversionError(f"The source does not load: missing {missing}, unexpected {unexpected}.")
        self.llamacasual: Any = LlamaForCausalLM.from_pretrained(
            None,
            config=config.text_config,
            state_dict=decoder,
            dtype=self.dtype,
        )
        self.llamacasual.generation_config.eos_token_id = None
        adapter = {
            re.sub(r"^llamacasual\.(base_model\.model\.)?", "", name): {side: t.read() for side, t in pair.items()}
            for name, pair in stored_adapter.items()
        }
        add_lora(self.llamacasual, adapter, alpha)
        self.eval()

    def _build_image_path(self) -> None:
        config, projector = self.config, self.config.projector
        channels, words = config.vision.out_channels, config.text_config.hidden_size
        tower = build_vision_tower(config.vision)
        if isinstance(tower, ClipTower):
            self.vision_model: Any = tower.vision_model
        else:
            stem = [tower.conv1, tower.bn1, nn.ReLU(), tower.conv2, tower.bn2, nn.ReLU(), tower.conv3, tower.bn3]
            stages = [tower.get_submodule(f"layer{stage + 1}") for stage in range(tower.stages)]
            self.vision_model = nn.Sequential(*stem, nn.ReLU(), nn.AvgPool2d(2), *stages)
        width = channels
        if projector.kind == "transformer":
            width = projector.hidden_size or channels
            self.query_embed = nn.Embedding(projector.num_queries, width)
            layer = nn.TransformerDecoderLayer(
                width, projector.num_heads, projector.intermediate_size, batch_first=True, norm_first=True
            )
            self.decoder = nn.TransformerDecoder(layer, projector.num_layers, nn.LayerNorm(width))
            if width != channels:
                self.input_proj = nn.Linear(channels, width)
            if projector.patch_norm:
                self.patch_norm = nn.LayerNorm(channels)
        self.fc_l1, self.fc_l2 = nn.Linear(width, width), nn.Linear(width, words)
        if projector.output_norm:
            self.output_norm = nn.LayerNorm(words)

    def _visual_embeddings(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """[1, 3, image_size, image_size] -> [1, num_image_tokens, hidden_size]."""
        projector = self.config.projector
        if self.config.vision.kind == "clip":
            hidden = self.vision_model(pixel_values=pixel_values).last_hidden_state
            pooled, patches = hidden[:, :1], hidden[:, 1:]
        else:
            patches = self.vision_model(pixel_values).flatten(2).transpose(1, 2)
            pooled = patches.mean(1, keepdim=True)
        seen = pooled
        if projector.kind == "transformer":
            patches = self.patch_norm(patches) if projector.patch_norm else patches
            values = self.input_proj(patches) if hasattr(self, "input_proj") else patches
            seen = self._look(values)
        embeds = self.fc_l2(functional.relu(self.fc_l1(seen)))
        return self.output_norm(embeds) if projector.output_norm else embeds

    def _look(self, values: torch.Tensor) -> torch.Tensor:
        queries = self.query_embed.weight[None]
        if self.config.projector.position == "none":
            return self.decoder(queries, values)
        side = round(values.shape[1] ** 0.5)
        keys = values + sine_position(side, side, values.shape[2]).to(values)
        for layer in cast(list[nn.TransformerDecoderLayer], self.decoder.layers):
            normed = layer.norm1(queries)
            queries = queries + layer.self_attn(normed, normed, normed)[0]
            queries = queries + layer.multihead_attn(layer.norm2(queries), keys, values)[0]
            queries = queries + layer.linear2(functional.relu(layer.linear1(layer.norm3(queries))))
        return cast(nn.LayerNorm, self.decoder.norm)(queries)

    @torch.no_grad()
    def answer(self, prompt: _Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """Greedy tokens [NEW_TOKENS] and log-probabilities [NEW_TOKENS, vocabulary]."""
        visual = self._visual_embeddings(prompt.pixel_values.to(self.dtype))
        words = self.llamacasual.get_input_embeddings()(torch.tensor([prompt.ids]))
        inputs_embeds = torch.cat([visual, words], 1)
        out = self.llamacasual.generate(
            inputs_embeds=inputs_embeds,
            attention_mask=torch.ones(inputs_embeds.shape[:2], dtype=torch.long),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        return out.sequences[0], torch.stack(out.logits, 1)[0].float().log_softmax(-1)


def choose_dtype(config: PreTrainedConfig, stored: Mapping[str, StoredTensor]) -> torch.dtype:
    """float32, where twice the weights (the state dict and the model) fit the free memory."""
    numbers = sum(torch.Size(tensor.shape).numel() for tensor in stored.values())
    fits = psutil.virtual_memory().available > 2 * numbers * torch.float32.itemsize
    return torch.float32 if fits else cast(torch.dtype, config.dtype)


@torch.no_grad()
def _log_probabilities(model: MedVInTForConditionalGeneration, prompt: _Prompt, tokens: torch.Tensor) -> torch.Tensor:
    """Of every next token after the prompt and the source's tokens so far: [NEW_TOKENS, vocabulary]."""
    config = model.config
    before = [config.image_token_id] * config.projector.num_image_tokens + prompt.ids
    input_ids = torch.tensor([before + tokens.tolist()[:-1]])
    logits = model(input_ids=input_ids, pixel_values=prompt.pixel_values).logits[0, len(before) - 1 :]
    return logits.float().log_softmax(-1)


def compare(expected: list[tuple[torch.Tensor, torch.Tensor]], found: list[torch.Tensor], dtype: str) -> Comparison:
    """The source's most probable tokens [n] and log-probabilities [n, vocabulary] of each prompt, with the result's.

    Raises:
        DifferentAnswersError: as `check`.
    """
    tokens = torch.cat([tokens for tokens, _ in expected])[:, None]
    source, converted = torch.cat([logprobs for _, logprobs in expected]), torch.cat(found)
    chosen = converted.argmax(-1, keepdim=True)
    difference = (source - converted).gather(1, tokens).abs().max().item()
    margin = (source.gather(1, tokens) - source.gather(1, chosen)).max().item()
    equal = int((chosen == tokens).sum())
    if margin > NEAR_TIE or not difference < float("inf"):
        raise DifferentAnswersError(
            f"The converted model does not answer as its source: {equal} of {len(tokens)} most probable tokens "
            f"are equal, the largest difference in log-probability is {difference:.3g} ({dtype}). Do not use it."
        )
    return Comparison(len(found), len(tokens), equal, difference, dtype)
