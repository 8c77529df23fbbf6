"""A tiny random PMC-CLIP in the original's key names, the pictures and texts that it is asked about.

The weights are the same bytes everywhere, so that the original's own vectors can be kept as numbers
(`reference/pmc_clip.json`). To make them anew, where a checkout of github.com/WeixiongLin/PMC-CLIP is:

    python -m tests.retrieval.reference.run_pmc_clip REPOSITORY
"""

import string
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import BertConfig

from retrieval.pmc_clip import PmcClip
from retrieval.pmc_clip_config import PmcClipConfig
from tests.serving.random_checkpoints import random_tensor

WORDS = (
    "chest",
    "radiograph",
    "showing",
    "a",
    "left",
    "pneumothorax",
    "mri",
    "of",
    "the",
    "brain",
    "##s",
    "##oma",
    ".",
)
VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *WORDS,
    *(letter for letter in string.ascii_lowercase if letter not in WORDS),
    *("##" + letter for letter in string.ascii_lowercase if "##" + letter not in WORDS),
)
BERT = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
}
# As many dimensions as BERT is wide, or the original's fusion would not run; four heads, as it counts them.
CONFIG = PmcClipConfig(layers=(1, 2, 1, 1), width=8, image_size=96, heads=4, dim=32, text=BERT)

TEXTS = (
    "Chest radiograph showing a left pneumothorax.",
    "MRI of the brain",
    "  MRIs  OF the\nBrain ",
    "glioma " * 60,
    "[MASK] ² 肺",
    "",
)


def pictures() -> list[Image.Image]:
    """As large as the model sees them, wider, higher, smaller, with a side that does not scale evenly."""
    rng = np.random.Generator(np.random.PCG64(7))
    sizes = ((96, 96), (211, 130), (97, 301), (40, 31))
    noise = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in sizes]
    shade = [np.linspace(0.2, 1, width)[None, :, None] for width, _ in sizes]
    tint = ((1, 0.4, 0.2), (0.3, 1, 0.5), (0.2, 0.3, 1), (1, 1, 1))
    return [
        Image.fromarray((n * s * np.asarray(t)).astype(np.uint8)) for n, s, t in zip(noise, shade, tint, strict=True)
    ]


def text_model(folder: Path, vocabulary: tuple[str, ...] = VOCABULARY, **changes: object) -> Path:
    """PubMedBERT's folder as the Hub has it, in small: config.json and vocab.txt."""
    folder.mkdir(parents=True)
    BertConfig(**{**BERT, **changes}).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    return folder


def weights(config: PmcClipConfig = CONFIG, seed: int = 0) -> dict[str, torch.Tensor]:
    """What both encoders are made of, in the original's names without "module."."""
    found = {}
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in PmcClip(config).state_dict().items()}
    for name, shape in shapes.items():
        original = f"visual.{name}" if name.startswith("attnpool.") else name
        # Names by which `random_tensor` knows how wide values may spread.
        known = original.replace("visual.", "vision_tower.").replace("LayerNorm", "norm")
        counts = name.endswith("num_batches_tracked")
        found[original] = torch.tensor(9) if counts else random_tensor(known, shape, seed)
    return found


def training_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """The whole state dict of the original's training, with what was only there for masked words."""
    width, dim, words = BERT["hidden_size"], CONFIG.dim, BERT["vocab_size"]
    shapes = {
        "positional_embedding": (77, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "mlm_projection": (width, words),
        "logit_scale": (),
        "text_encoder.pooler.dense.weight": (width, width),
        "text_encoder.pooler.dense.bias": (width,),
        "img_special_token": (1, 1, dim),
        "fusion_module.resblocks.0.ln_1.weight": (width,),
    }
    state = weights(seed=seed) | {name: random_tensor(name, shape, seed) for name, shape in shapes.items()}
    state["text_encoder.embeddings.position_ids"] = torch.arange(BERT["max_position_embeddings"])[None]
    return {f"module.{name}": tensor for name, tensor in state.items()}


def checkpoint(folder: Path, seed: int = 0) -> Path:
    """`checkpoint.pt` as the training saved it, with its own state."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = {
        "epoch": 3,
        "name": "PMC",
        "state_dict": training_state(seed),
        "optimizer": {"state": {}, "param_groups": []},
    }
    torch.save(saved, folder / "checkpoint.pt")
    return folder / "checkpoint.pt"


def split_files(folder: Path, seed: int = 0) -> Path:
    """The three files of the same weights."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name.removeprefix("module."): tensor for name, tensor in training_state(seed).items()}

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}

    torch.save(part("visual."), folder / "image_encoder(resnet50).pth")
    torch.save(part("text_encoder."), folder / "text_encoder.pth")
    torch.save(torch.nn.Parameter(state["text_projection"]), folder / "text_projection_layer.pth")
    return folder
