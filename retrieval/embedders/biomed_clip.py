"""BiomedCLIP, and what else is a ViT of timm beside a BERT, from open_clip's form.

    hf download microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224 --local-dir BiomedCLIP
    ClipEmbedder("BiomedCLIP")

open_clip and timm themselves need torchvision. Source: open_clip 3.3 (`timm_model.py`, `hf_model.py`,
`transform.py`) and timm 1.0 (`vision_transformer.py`). Here padding is masked, unlike in PMC-CLIP; the text's vector
is likewise the raw last hidden state at [CLS].
"""

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertModel, BertTokenizer

from retrieval.errors import WeightsMissingError
from retrieval.pmc_clip import CLIP_MEAN, CLIP_STD, pixels
from serving.weight_files import ConversionError, open_tensors

HEAD_WIDTH = 64
"""Of all of timm's ViTs from tiny to large, and of BERT base and large."""
POOLER = "cls_last_hidden_state_pooler"

# open_clip's name -> ours, first match wins. An empty name: known, and not needed.
_BLOCK = r"visual\.trunk\.blocks\.(\d+)"
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"logit_scale|text\.transformer\.(?:pooler\..+|embeddings\.position_ids)", ""),
    (rf"{_BLOCK}\.(norm[12]\..+)", r"vision.blocks.layers.\1.\2"),
    (rf"{_BLOCK}\.attn\.qkv\.(weight|bias)", r"vision.blocks.layers.\1.self_attn.in_proj_\2"),
    (rf"{_BLOCK}\.attn\.proj\.(.+)", r"vision.blocks.layers.\1.self_attn.out_proj.\2"),
    (rf"{_BLOCK}\.mlp\.fc([12])\.(.+)", r"vision.blocks.layers.\1.linear\2.\3"),
    (r"visual\.trunk\.norm\.(.+)", r"vision.blocks.norm.\1"),
    (r"visual\.trunk\.patch_embed\.proj\.(.+)", r"vision.patches.\1"),
    (r"visual\.trunk\.(cls_token|pos_embed)", r"vision.\1"),
    (r"visual\.head\.proj\.weight", "vision.projection.weight"),
    (r"text\.transformer\.(.+)", r"text.\1"),
    (r"text\.proj\.(.+)", r"text_projection.\1"),
)

Shapes = Mapping[str, tuple[int, ...]]


class VisionTransformer(nn.Module):
    """timm's, with the class token's vector projected: [n, 3, size, size] -> [n, dim]."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        _, positions, width = shapes["vision.pos_embed"]
        patch = shapes["vision.patches.weight"][-1]
        self.size = round((positions - 1) ** 0.5) * patch
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, positions, width))
        self.patches = nn.Conv2d(3, width, patch, patch)
        block = nn.TransformerEncoderLayer(
            width,
            width // HEAD_WIDTH,
            shapes["vision.blocks.layers.0.linear1.weight"][0],
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=1e-6,
            batch_first=True,
            norm_first=True,
        )
        blocks = _count(shapes, r"vision\.blocks\.layers\.(\d+)\..+")
        self.blocks = nn.TransformerEncoder(block, blocks, nn.LayerNorm(width, 1e-6), enable_nested_tensor=False)
        self.projection = nn.Linear(width, shapes["vision.projection.weight"][0], bias=False)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        patches = self.patches(pixel_values).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1) + self.pos_embed
        return self.projection(self.blocks(tokens)[:, 0])


class BiomedClip(nn.Module):
    """Both encoders, in the shape of the weights that they are to have."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.vision = VisionTransformer(shapes)
        words, width = shapes["text.embeddings.word_embeddings.weight"]
        config = BertConfig(
            vocab_size=words,
            hidden_size=width,
            num_hidden_layers=_count(shapes, r"text\.encoder\.layer\.(\d+)\..+"),
            num_attention_heads=width // HEAD_WIDTH,
            intermediate_size=shapes["text.encoder.layer.0.intermediate.dense.weight"][0],
            max_position_embeddings=shapes["text.embeddings.position_embeddings.weight"][0],
            type_vocab_size=shapes["text.embeddings.token_type_embeddings.weight"][0],
        )
        self.text = BertModel(config, add_pooling_layer=False)
        if "text_projection.0.weight" in shapes:
            between, dim = shapes["text_projection.0.weight"][0], shapes["text_projection.2.weight"][0]
            self.text_projection: nn.Module = nn.Sequential(
                nn.Linear(width, between, bias=False), nn.GELU(), nn.Linear(between, dim, bias=False)
            )
        else:
            self.text_projection = nn.Linear(width, shapes["text_projection.weight"][0], bias=False)

    def text_vectors(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """[n, tokens] twice -> [n, dim]."""
        hidden = self.text(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.text_projection(hidden[:, 0])


class BiomedClipEncoders:
    """From pictures and words to vectors, float32 [n, dim]."""

    def __init__(self, model: BiomedClip, tokenizer: BertTokenizer, settings: dict[str, Any], device: str) -> None:
        self.model = model.eval().requires_grad_(False).to(device)
        self.tokenizer, self.device = tokenizer, device
        self.length = min(
            settings["model_cfg"]["text_cfg"].get("context_length", 77), model.text.config.max_position_embeddings
        )
        prepared = settings.get("preprocess_cfg", {})
        self.mean, self.std = prepared.get("mean", CLIP_MEAN), prepared.get("std", CLIP_STD)

    @torch.inference_mode()
    def images(self, images: list[Image.Image]) -> NDArray[np.float32]:
        values = pixels(images, self.model.vision.size, self.mean, self.std).to(self.device)
        return functional.normalize(self.model.vision(values), dim=-1).cpu().numpy()

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> NDArray[np.float32]:
        # As open_clip cleans texts, but for its repair of wrongly decoded characters.
        texts = [html.unescape(html.unescape(text)) for text in texts]
        found = self.tokenizer(texts, padding=True, truncation=True, max_length=self.length, return_tensors="pt")
        vectors = self.model.text_vectors(found["input_ids"].to(self.device), found["attention_mask"].to(self.device))
        return functional.normalize(vectors, dim=-1).cpu().numpy()


def load_biomed_clip(folder: Path, weights: Path, config: Path, device: str = "cpu") -> BiomedClipEncoders:
    """
    Args:
        folder: of the tokenizer (tokenizer.json or vocab.txt).
        weights: open_clip's state dict.
        config: `open_clip_config.json`.

    Raises:
        WeightsMissingError: a file is missing or damaged, tensors are missing or unknown, or it is another model.
    """
    settings = _settings(config)
    try:
        stored = open_tensors([weights])
        names = {name: _our_name(name) for name in stored}
        kept = {ours: stored[name] for name, ours in names.items() if ours}
        model = BiomedClip({ours: tensor.shape for ours, tensor in kept.items()})
        missing, without_place = model.load_state_dict(
            {ours: tensor.read().float() for ours, tensor in kept.items()}, strict=False
        )
        tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
    except KeyError as error:
        raise WeightsMissingError(f"{weights} lacks {error}: it is not a ViT beside a BERT, or not whole.") from error
    except (ConversionError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsMissingError(f"{folder} holds no whole model in open_clip's form: {reason}") from error
    unknown = [name for name, ours in names.items() if ours is None] + without_place
    if missing or unknown:
        raise WeightsMissingError(
            f"{weights} is not a ViT of timm beside a BERT, or not whole. Missing: "
            f"{', '.join(missing[:5]) or 'nothing'}; without a place: {', '.join(unknown[:5]) or 'nothing'}."
        )
    if len(tokenizer) != model.text.config.vocab_size:
        raise WeightsMissingError(
            f"{folder} has a tokenizer of {len(tokenizer)} tokens, the text encoder {model.text.config.vocab_size}: "
            "tokenizer.json and vocab.txt are missing, or another model's."
        )
    return BiomedClipEncoders(model, tokenizer, settings, device)


def _settings(config: Path) -> dict[str, Any]:
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
        vision, text = settings["model_cfg"]["vision_cfg"], settings["model_cfg"]["text_cfg"]
        tower, pool = vision.get("timm_model_name", "none of timm's"), vision.get("timm_pool", "avg")
        # The names before and after open_clip 2.20.
        pooler = text.get("hf_pooler_type") or text.get("pooler_type")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise WeightsMissingError(f"{config} is not open_clip's description of a model.") from error
    if not tower.startswith("vit_") or pool not in ("", "token") or pooler != POOLER:
        raise WeightsMissingError(
            f"{config} describes an image tower {tower} (pooling {pool!r}) and a text pooling {pooler!r}; only timm's "
            f"ViT with its class token, and {POOLER!r}, are read here, which BiomedCLIP has."
        )
    return settings


def _our_name(name: str) -> str | None:
    """ "" where it is not needed, None where it is unknown."""
    for pattern, ours in _RENAMES:
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    return None


def _count(shapes: Shapes, pattern: str) -> int:
    return len({match[1] for name in shapes if (match := re.fullmatch(pattern, name))})
