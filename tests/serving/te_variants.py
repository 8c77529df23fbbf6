"""Every variant of MedVInT-TE as a small random checkpoint, and what the original answered on it.

`reference/te-*.json` are the original's log-probabilities at the answer's positions. To make them anew:

    python -m tests.serving.te_variants FOLDER                            # checkpoints, pictures, questions
    python tests/serving/reference/run_original_te.py REPOSITORY FOLDER   # where the original runs

PMC-LLaMA is LLaMA with other weights: `llama` stands for both. The released code has no PubMedBERT: there the original
is run with a BERT in the place of its LLaMA.
"""

import csv
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from serving.medvint_te.configuration import MedVInTTEConfig
from serving.medvint_te.modeling import MedVInTTEForMaskedLM
from tests.serving import variants
from tests.serving.random_checkpoints import TINY_LLAMA, fingerprint, random_tensor

RANK = 8
LAYER4 = {"image_size": 512, "layers": (1, 1, 1, 1), "width": 16}
VIT = {
    "kind": "clip", "image_size": 512, "patch_size": 32, "hidden_size": 96, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 3,
}  # fmt: skip
TEXT = {
    "llama": TINY_LLAMA | {"hidden_size": 64, "num_hidden_layers": 2, "model_type": "llama", "rms_norm_eps": 1e-6},
    "bert": {
        "model_type": "bert", "vocab_size": 32000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 512,
    },
}  # fmt: skip
LORA_MODULES = {"llama": ("q_proj", "v_proj"), "bert": ("query", "value")}
QUESTIONS = (
    ("Which plane is this?", " Axial ", "A"),
    ("What does the arrow point at?", " The liver, right lobe ", "B"),
)


@dataclass(frozen=True)
class Variant:
    """`image_encoder` and `clip_pretrained` as the original's arguments name them."""

    text: str
    image_encoder: str
    fusion_layers: int
    clip_pretrained: str = ""

    @property
    def vision(self) -> dict:
        return LAYER4 if self.image_encoder == "PMC_CLIP" else VIT

    @property
    def embed_dim(self) -> int:
        return 64 if self.image_encoder == "PMC_CLIP" else VIT["hidden_size"]

    @property
    def config(self) -> MedVInTTEConfig:
        return MedVInTTEConfig(
            vision_config=self.vision,
            projector_config={"num_layers": 2, "intermediate_size": self.embed_dim},
            text_config=TEXT[self.text],
            embed_dim=self.embed_dim,
            fusion_layers=self.fusion_layers,
        )

    def state(self) -> dict[str, torch.Tensor]:
        """The weights, in the original's names, as its trainer saved them: what is twice in the module is twice here."""
        shapes = MedVInTTEForMaskedLM(self.config).state_dict()
        state = {}
        for name, tensor in shapes.items():
            values = te_tensor(name, tensor.shape)
            state[original_name(name, self.text)] = values
        for layer in range(TEXT[self.text]["num_hidden_layers"]):
            for module in LORA_MODULES[self.text]:
                state |= _lora(self.text, layer, module)
        for name in [name for name in state if name.startswith("text_encoder.")]:
            state[name.replace("text_encoder.base_model.model.", "llama_model.")] = state[name]
        for part in ("weight", "bias"):
            state[f"qformer_decoder_norm.{part}"] = state[f"qformer_decoder.norm.{part}"]
        return state | self._unused()

    def _unused(self) -> dict[str, torch.Tensor]:
        """What the original's module has and its forward pass never reads."""
        width = self.embed_dim
        shapes = {"positional_embedding": (256, width), "text_projection": (width, width)}
        layer = torch.nn.TransformerDecoderLayer(width, 4, width)
        shapes |= {f"qformer_decoder_layer.{name}": tuple(t.shape) for name, t in layer.state_dict().items()}
        if self.image_encoder == "PMC_CLIP":
            channels = LAYER4["width"] * 32
            pool = "image_encoder.visual.attnpool"
            shapes[f"{pool}.positional_embedding"] = (257, channels)
            for name, out in (("k_proj", channels), ("q_proj", channels), ("v_proj", channels), ("c_proj", width)):
                shapes |= {f"{pool}.{name}.weight": (out, channels), f"{pool}.{name}.bias": (out,)}
        if self.text == "bert":
            for prefix in ("llama_model.", "text_encoder.base_model.model."):
                shapes |= {f"{prefix}pooler.dense.weight": (64, 64), f"{prefix}pooler.dense.bias": (64,)}
        return {name: torch.zeros(shape) for name, shape in shapes.items()} | {"logit_scale": torch.tensor(2.6592)}


VARIANTS = {
    "te-llama-pmc-clip-1": Variant("llama", "PMC_CLIP", 1),
    "te-llama-clip-4": Variant("llama", "CLIP", 4, "openai/clip-vit-base-patch32"),
    "te-llama-scratch-1": Variant("llama", "CLIP", 1, "scratch"),
    "te-bert-pmc-clip-2": Variant("bert", "PMC_CLIP", 2),
}

# Our name -> that of a kind of tensor whose scale `random_checkpoints` knows; loud where the image comes in.
_ALIKE = (
    (r"fusion\.(\d+)\.self_attn\.in_proj_weight", r"fusion.\1.multihead_attn.in_proj_weight"),
    (r"text_encoder\.(.+)\.LayerNorm\.(.+)", r"text_encoder.\1.norm.\2"),
    (r"text_encoder\..*word_embeddings\.weight", "text_encoder.embed_tokens.weight"),
    (r"image_token", "query_embed.weight"),
)
_ORIGINAL = (
    (r"vision_tower\.vision_model\.(.+)", r"image_encoder.vision_model.\1"),
    (r"vision_tower\.(.+)", r"image_encoder.visual.\1"),
    (r"projector\.query_embed\.weight", "qformer_query"),
    (r"projector\.input_proj\.(.+)", r"image_embed.0.\1"),
    (r"projector\.(.+)", r"qformer_decoder.\1"),
    (r"text_encoder\.(.+)", r"text_encoder.base_model.model.\1"),
    (r"text_embed\.(.+)", r"text_embed.0.\1"),
    (r"image_token", "img_special_token"),
    (r"fusion\.(\d+)\.self_attn\.(.+)", r"fusion_module.resblocks.\1.attn.\2"),
    (r"fusion\.(\d+)\.norm(\d)\.(.+)", r"fusion_module.resblocks.\1.ln_\2.\3"),
    (r"fusion\.(\d+)\.linear1\.(.+)", r"fusion_module.resblocks.\1.mlp.c_fc.\2"),
    (r"fusion\.(\d+)\.linear2\.(.+)", r"fusion_module.resblocks.\1.mlp.c_proj.\2"),
)


def original_name(name: str, text: str) -> str:
    """The original's name of one of ours."""
    for pattern, original in _ORIGINAL:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(original)
    return name


def te_tensor(name: str, shape: torch.Size) -> torch.Tensor:
    """The tensor of one of our names, of a scale at which an answer depends on the image."""
    if "num_batches" in name:
        return torch.zeros(shape, dtype=torch.long)
    if name == "mlm_projection":
        return random_tensor(name, (shape[1], shape[0])).T.contiguous()
    alike = next((m.expand(kind) for pattern, kind in _ALIKE if (m := re.fullmatch(pattern, name))), name)
    return random_tensor(alike, shape)


def _lora(text: str, layer: int, module: str) -> dict[str, torch.Tensor]:
    place = f"layers.{layer}.self_attn" if text == "llama" else f"encoder.layer.{layer}.attention.self"
    name = f"text_encoder.base_model.model.{place}.{module}"
    width = TEXT[text]["hidden_size"]
    shapes = {"A": (RANK, width), "B": (width, RANK)}
    return {
        f"{name}.lora_{side}.default.weight": random_tensor(f"{name}.lora_{side}", shape)
        for side, shape in shapes.items()
    }


def reference(name: str) -> dict:
    """What the original answered on a variant: `cases`, and `weights`, the fingerprint of the checkpoint."""
    return json.loads((variants.REFERENCE / f"{name}.json").read_text())


def write_text_encoder(folder: Path, text: str) -> Path:
    """Its folder: configuration and LLaMA's tokenizer, no weights. The BERT reads the same vocabulary."""
    folder.mkdir(parents=True)
    shutil.copy(variants.tokenizer_file(), folder / "tokenizer.model")
    (folder / "config.json").write_text(json.dumps(TEXT[text]))
    return folder


def write(folder: Path) -> None:
    """Everything that the original needs to answer, as files."""
    images = folder / "images"
    images.mkdir(parents=True)
    for number, picture in enumerate(variants.pictures()):
        picture.save(images / f"{number}.png")
    for text in TEXT:
        write_text_encoder(folder / text, text)
    with (folder / "questions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        choices = [f"Choice {letter}" for letter in "ABCD"]
        rows.writerow(["Figure_path", "Question", "Answer", *choices, "Answer_label"])
        for question, picture in ((0, 0), (0, 1), (1, 0)):
            text, answer, letter = QUESTIONS[question]
            rows.writerow([f"{picture}.png", text, answer, *variants.QUESTIONS[question][1:], letter])
    for name, variant in VARIANTS.items():
        (folder / name).mkdir()
        state = variant.state()
        torch.save(state, folder / name / "pytorch_model.bin")
        described = {
            "text": TEXT[variant.text],
            "image_encoder": variant.image_encoder,
            "clip_pretrained": variant.clip_pretrained,
            "vision": variant.vision,
            "embed_dim": variant.embed_dim,
            "fusion_layers": variant.fusion_layers,
            "weights": fingerprint(state),
        }
        (folder / name / "variant.json").write_text(json.dumps(described))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
