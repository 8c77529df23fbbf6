"""The names of the original MedVInT-TD's tensors, and what its weights say about its shape.

Original: github.com/xiaoman-zhang/PMC-VQA, `QA_model` (children of the tower are numbered there, and
the decoder is called `llamacasual`). Ours: `serving.medvint.modeling`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TOWER_CHILDREN = {
    "0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3",
    "10": "layer1", "11": "layer2", "12": "layer3",
}  # fmt: skip

CLIP_PREFIX = "vision_tower.vision_model."

# Original name -> ours, first match wins. An empty name: known, and not needed.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r".*\.rotary_emb\.inv_freq", ""),  # transformers before 4.32 saved it; it follows from the config
    (r".*\.embeddings\.position_ids", ""),  # likewise for CLIP
    (r".*\.num_batches_tracked", ""),  # only training with momentum=None reads it
    (r"vision_model\.vision_model\.(.+)", r"vision_tower.vision_model.\1"),
    (r"vision_model\.(embeddings|pre_layrnorm|encoder|post_layernorm)\.(.+)", r"vision_tower.vision_model.\1.\2"),
    (r"decoder\.(layers|norm)\.(.+)", r"projector.\1.\2"),
    (r"(query_embed|fc_l1|fc_l2|patch_norm|input_proj|output_norm)\.(.+)", r"projector.\1.\2"),
    (r"llamacasual\.(?:base_model\.model\.)?(model|lm_head)\.(.+)", r"language_model.\1.\2"),
)
_TOWER = re.compile(r"vision_model\.(\d+)\.(.+)")
_LORA = re.compile(r"(?P<module>(?:language_model|text_encoder)\..+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")


@dataclass
class OriginalKeys:
    """Names of a checkpoint, sorted by what they are.

    `weights` and `lora_a`, `lora_b` lead from our names (for LoRA: of the module that it changes) to the
    checkpoint's; `unused` are known and not needed; `unknown` belong to no MedVInT-TD.
    """

    weights: dict[str, str] = field(default_factory=dict)
    lora_a: dict[str, str] = field(default_factory=dict)
    lora_b: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def our_name(key: str) -> str | None:
    """Our name of an original tensor; "" where it is not needed, None where it is unknown."""
    key = unwrapped(key)
    name = renamed(key, _RENAMES)
    if name is not None:
        return name
    tower = _TOWER.fullmatch(key)
    if tower and tower[1] in TOWER_CHILDREN:
        return f"vision_tower.{TOWER_CHILDREN[tower[1]]}.{tower[2]}"
    return None


def unwrapped(key: str) -> str:
    """Without what new PEFT (`q_proj.base_layer.weight`) and distributed training put around a name."""
    return key.replace(".base_layer.", ".").removeprefix("module.")


def renamed(key: str, renames: Sequence[tuple[str, str]]) -> str | None:
    """Our name by the first pattern that is the whole key; None where there is none."""
    return next((match.expand(ours) for pattern, ours in renames if (match := re.fullmatch(pattern, key))), None)


def sort_keys(keys: list[str], our_name: Callable[[str], str | None] = our_name) -> OriginalKeys:
    """Give every tensor of a checkpoint its place."""
    found = OriginalKeys()
    for key in keys:
        name = our_name(key)
        if name is None:
            found.unknown.append(key)
        elif not name:
            found.unused.append(key)
        elif lora := _LORA.fullmatch(name):
            (found.lora_a if lora["side"] == "A" else found.lora_b)[lora["module"]] = key
        elif name in found.weights:
            found.unknown.append(key)  # two originals for one tensor: only one can be right
        else:
            found.weights[name] = key
    return found


def read_vision_config(shapes: Mapping[str, tuple[int, ...]], stages: int = 3) -> dict[str, Any]:
    """`vision_config` of a checkpoint, from our names and shapes; `stages` of PMC-CLIP are in it.

    PMC-CLIP's image size is not in the weights: the original's 512. The heads of a vision
    transformer are not either: CLIP's, 64 wide.
    """
    prefix = CLIP_PREFIX
    position = shapes.get(f"{prefix}embeddings.position_embedding.weight")
    if position is None:
        layers = [count_in(shapes, rf"vision_tower\.layer{stage}\.(\d+)\..+") for stage in range(1, stages + 1)]
        stem = shapes.get("vision_tower.conv3.weight", (64,))
        return {"kind": "pmc_clip", "image_size": 512, "layers": layers, "width": stem[0]}
    # A tensor that is absent gets CLIP's value here, and is named when the whole is checked.
    patch_size = shapes.get(f"{prefix}embeddings.patch_embedding.weight", (32,))[-1]
    return {
        "kind": "clip",
        "image_size": patch_size * round((position[0] - 1) ** 0.5),
        "patch_size": patch_size,
        "hidden_size": position[1],
        "intermediate_size": shapes.get(f"{prefix}encoder.layers.0.mlp.fc1.weight", (3072,))[0],
        "num_hidden_layers": count_in(shapes, rf"{re.escape(prefix)}encoder\.layers\.(\d+)\..+"),
        "num_attention_heads": position[1] // 64,
    }


def read_projector_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """`projector_config` of a checkpoint.

    Its heads are not in the weights: the original has 8 on PMC-CLIP (test.py), 12 on CLIP (train.py).
    """
    queries = shapes.get("projector.query_embed.weight")
    if queries is None:
        return {"kind": "mlp"}
    return {
        "kind": "transformer",
        "num_queries": queries[0],
        "num_layers": count_in(shapes, r"projector\.layers\.(\d+)\..+"),
        "num_heads": 12 if any(name.startswith(CLIP_PREFIX) for name in shapes) else 8,
        "intermediate_size": shapes.get("projector.layers.0.linear1.weight", (queries[1],))[0],
    }


def count_in(names: Mapping[str, Any], pattern: str) -> int:
    """How many different first groups of `pattern` there are among the names."""
    return len({match[1] for name in names if (match := re.fullmatch(pattern, name))})
