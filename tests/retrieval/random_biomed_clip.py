"""A tiny random model in BiomedCLIP's form, that of open_clip: a ViT of timm beside a BERT.

The weights are the same bytes everywhere; `reference/biomed_clip.json` holds open_clip's own vectors:

    python -m tests.retrieval.reference.run_biomed_clip
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from tests.retrieval.random_pmc_clip import VOCABULARY
from tests.serving.random_checkpoints import random_tensor

WIDTH, MLP, DEPTH, PATCH, SIZE, DIM = 128, 96, 2, 16, 48, 24
TEXT = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}
LENGTH = 24
TEXTS = (
    "Chest radiograph showing a left pneumothorax.",
    "MRI of the brain",
    "  a &lt; b\n&amp;lt; c ",
    "glioma " * 60,
    "",
)
SETTINGS = {
    "model_cfg": {
        "embed_dim": DIM,
        "vision_cfg": {"timm_model_name": "vit_base_patch16_224", "timm_pool": "", "timm_proj": "linear"},
        "text_cfg": {
            "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": LENGTH,
        },
    },
    "preprocess_cfg": {"mean": [0.48, 0.45, 0.4], "std": [0.26, 0.25, 0.28]},
}


def pictures() -> list[Image.Image]:
    rng = np.random.Generator(np.random.PCG64(11))
    sizes = ((SIZE, SIZE), (101, 64), (50, 143))
    return [Image.fromarray(rng.integers(0, 256, (high, wide, 3), dtype=np.uint8)) for wide, high in sizes]


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "visual.trunk.cls_token": (1, 1, WIDTH),
        "visual.trunk.pos_embed": (1, (SIZE // PATCH) ** 2 + 1, WIDTH),
        "visual.trunk.patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "visual.trunk.patch_embed.proj.bias": (WIDTH,),
        "visual.trunk.norm.weight": (WIDTH,),
        "visual.trunk.norm.bias": (WIDTH,),
        "visual.head.proj.weight": (DIM, WIDTH),
        "text.proj.0.weight": ((TEXT["hidden_size"] + DIM) // 2, TEXT["hidden_size"]),
        "text.proj.2.weight": (DIM, (TEXT["hidden_size"] + DIM) // 2),
    }
    for block in range(DEPTH):
        for name, outs, ins in (
            ("attn.qkv", 3 * WIDTH, WIDTH), ("attn.proj", WIDTH, WIDTH), ("mlp.fc1", MLP, WIDTH), ("mlp.fc2", WIDTH, MLP)
        ):  # fmt: skip
            shapes[f"visual.trunk.blocks.{block}.{name}.weight"] = (outs, ins)
            shapes[f"visual.trunk.blocks.{block}.{name}.bias"] = (outs,)
        for norm in ("norm1", "norm2"):
            for end in ("weight", "bias"):
                shapes[f"visual.trunk.blocks.{block}.{norm}.{end}"] = (WIDTH,)
    with torch.device("meta"):
        bert = BertModel(BertConfig(**TEXT), add_pooling_layer=False)
    shapes |= {f"text.transformer.{name}": tuple(tensor.shape) for name, tensor in bert.state_dict().items()}
    return {name: random_tensor(name.replace("LayerNorm", "norm"), shape, seed) for name, shape in shapes.items()}


def folder(path: Path, *, seed: int = 0, pickled: bool = True) -> Path:
    """What `hf download` gives of such a repository."""
    path.mkdir(parents=True)
    (path / "open_clip_config.json").write_text(json.dumps(SETTINGS))
    (path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    if pickled:
        torch.save(state(seed), path / "open_clip_pytorch_model.bin")
    else:
        save_file(state(seed), path / "open_clip_model.safetensors")
    return path
