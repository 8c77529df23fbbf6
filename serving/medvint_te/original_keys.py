"""The names of the original MedVInT-TE's tensors, and what its weights say about its shape.

Original: github.com/xiaoman-zhang/PMC-VQA, `Binary_VQA_Model`. It keeps some modules under two names (the encoder
inside and outside PEFT, a layer that was only copied) and some that its forward pass never reads. Released code reads
questions with LLaMA only; a BERT's names are expected where LLaMA's would be.
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from serving.original_keys import OriginalKeys, count_in, read_vision_config, renamed, sort_keys, unwrapped

ENCODER = "text_encoder."
TWIN = "llama_model."
"""The encoder as it is known outside PEFT: the same tensors again."""
_MARKS = re.compile(r"(?:module\.)?(?:qformer_query|qformer_decoder\..+|mlm_projection|fusion_module\..+)")
_ENCODER_PREFIX = r"text_encoder\.(?:base_model\.(?:model\.)?)?"

# Original name -> ours, first match wins. An empty name: known, and not needed.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r".*\.rotary_emb\.inv_freq", ""),
    (r".*\.embeddings\.position_ids", ""),
    (r".*\.num_batches_tracked", ""),
    (r"positional_embedding|text_projection|logit_scale", ""),  # of CLIP's text side, from which the class was made
    (r"qformer_decoder_layer\..+", ""),  # the twelve layers are copies of it
    (r"qformer_decoder_norm\..+", ""),  # the same as `qformer_decoder.norm`
    (r"image_encoder\.visual\.attnpool\..+", ""),
    (rf"{_ENCODER_PREFIX}pooler\..+", ""),
    (r"image_encoder\.vision_model\.(.+)", r"vision_tower.vision_model.\1"),
    (r"image_encoder\.visual\.((?:conv|bn|layer)\d\..+)", r"vision_tower.\1"),
    (r"image_embed\.0\.(.+)", r"projector.input_proj.\1"),
    (r"qformer_query", "projector.query_embed.weight"),
    (r"qformer_decoder\.((?:layers|norm)\..+)", r"projector.\1"),
    (r"text_embed\.0\.(.+)", r"text_embed.\1"),
    (r"img_special_token", "image_token"),
    (r"mlm_projection", "mlm_projection"),
    (r"fusion_module\.resblocks\.(\d+)\.attn\.(.+)", r"fusion.\1.self_attn.\2"),
    (r"fusion_module\.resblocks\.(\d+)\.ln_([12])\.(.+)", r"fusion.\1.norm\2.\3"),
    (r"fusion_module\.resblocks\.(\d+)\.mlp\.c_fc\.(.+)", r"fusion.\1.linear1.\2"),
    (r"fusion_module\.resblocks\.(\d+)\.mlp\.c_proj\.(.+)", r"fusion.\1.linear2.\2"),
    (rf"{_ENCODER_PREFIX}((?:embed_tokens|layers|norm|embeddings|encoder)\..+)", r"text_encoder.\1"),
)


def is_te(keys: Iterable[str]) -> bool:
    """Whether a checkpoint is a MedVInT-TE's: of its three own parts one may be missing."""
    found = {re.split(r"[._]", key.removeprefix("module."))[0] for key in keys if _MARKS.fullmatch(key)}
    return len(found & {"qformer", "mlm", "fusion"}) > 1


def sort_te_keys(keys: list[str]) -> tuple[OriginalKeys, dict[str, str]]:
    """Every tensor's place, and of the encoder's twins: our name -> the checkpoint's name of the second copy."""
    wrapped = any(unwrapped(key).startswith(ENCODER) for key in keys)
    twins = [key for key in keys if wrapped and unwrapped(key).startswith(TWIN)]
    ours = partial(_our_name, twin_is_encoder=not wrapped)
    found = sort_keys([key for key in keys if key not in set(twins)], ours)
    known = sort_keys(twins, partial(_our_name, twin_is_encoder=True))
    found.unused += known.unused
    found.unknown += known.unknown
    second = known.weights | {
        f"{module}.lora_{side}": key
        for side, pairs in (("A", known.lora_a), ("B", known.lora_b))
        for module, key in pairs.items()
    }
    found.unused += second.values()
    return found, second


def _our_name(key: str, twin_is_encoder: bool) -> str | None:
    key = unwrapped(key)
    if twin_is_encoder and key.startswith(TWIN):
        key = ENCODER + key.removeprefix(TWIN)
    return renamed(key, _RENAMES)


def read_te_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """What our names and shapes say: `vision_config`, `projector_config`, `embed_dim`, `fusion_layers`.

    A tensor that is absent or misshapen gets the original's value here, and is named when the whole is checked.
    """
    query = shapes.get("projector.query_embed.weight", ())
    queries, width = query if len(query) == 2 else (32, 768)
    linear = shapes.get("projector.layers.0.linear1.weight", ())
    return {
        "vision_config": read_vision_config(shapes, stages=4),
        "projector_config": {
            "num_queries": queries,
            "num_layers": count_in(shapes, r"projector\.layers\.(\d+)\..+"),
            "intermediate_size": linear[0] if linear else width,
        },
        "embed_dim": width,
        "fusion_layers": count_in(shapes, r"fusion\.(\d+)\..+"),
    }
