"""Every variant of MedVInT-TD as a small random checkpoint, and what the original answered on it.

`reference/*.json` are the original's own greedy tokens and log-probabilities. To make them anew:

    python -m tests.serving.variants FOLDER                         # checkpoints, pictures, questions
    python tests/serving/reference/run_original.py REPOSITORY FOLDER    # where the original runs
"""

import csv
import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import mistral_common
import numpy as np
import torch
from PIL import Image

from serving.medvint.configuration import MedVInTConfig
from tests.serving.random_checkpoints import TINY, TINY_LLAMA, fingerprint, original_state

REFERENCE = Path(__file__).parent / "reference"

# Divisible by 8 and by 12, which are the head counts of the original's test and training scripts.
CLIP = {
    "kind": "clip", "image_size": 512, "patch_size": 32, "hidden_size": 192, "intermediate_size": 256,
    "num_hidden_layers": 2, "num_attention_heads": 3,
}  # fmt: skip
QUERIES = {"num_queries": 8, "num_layers": 2, "num_heads": 8, "intermediate_size": 256}

QUESTIONS = (
    ("Which plane is this?", " A:Axial ", " B:Coronal ", " C:Sagittal ", " D:Oblique "),
    ("What does the arrow point at?", " A:A rib ", " B:The liver, right lobe ", " C:The aorta ", " D:A lymph node "),
)


@dataclass(frozen=True)
class Variant:
    """`vision_module`: the original's name of the tower."""

    vision_module: str
    vision: dict = field(default_factory=lambda: CLIP)
    projector: dict = field(default_factory=lambda: QUERIES)

    @property
    def config(self) -> MedVInTConfig:
        return MedVInTConfig(vision_config=self.vision, projector_config=self.projector, text_config=TINY_LLAMA)

    def state(self, *, new_peft: bool = False) -> dict[str, torch.Tensor]:
        """The weights, in the original's names."""
        return original_state(self.config, new_peft=new_peft)


VARIANTS = {
    "transformer-pmc-clip-8": Variant("PMC-CLIP", TINY["vision_config"]),
    "transformer-clip-8": Variant("CLIP"),
    "transformer-clip-12": Variant("CLIP", projector=QUERIES | {"num_heads": 12}),
    "transformer-scratch-8": Variant("Scratch", CLIP | {"num_hidden_layers": 3}),
    "mlp-pmc-clip": Variant("PMC-CLIP", TINY["vision_config"], {"kind": "mlp"}),
    "mlp-clip": Variant("CLIP", projector={"kind": "mlp"}),
}


def reference(name: str) -> dict:
    """What the original answered on a variant: `cases`, and `weights`, the fingerprint of the checkpoint."""
    return json.loads((REFERENCE / f"{name}.json").read_text())


def original_buffers(config: MedVInTConfig) -> dict[str, torch.Tensor]:
    """What the transformers of the original's time saved beside the weights."""
    buffers: dict[str, torch.Tensor] = {}
    width = config.text_config.hidden_size // config.text_config.num_attention_heads
    for layer in range(config.text_config.num_hidden_layers):
        name = f"llamacasual.base_model.model.model.layers.{layer}.self_attn.rotary_emb.inv_freq"
        buffers[name] = 1.0 / 10000 ** (torch.arange(0, width, 2).float() / width)
    if config.vision.kind == "clip":
        positions = (config.vision.image_size // config.vision.patch_size) ** 2 + 1
        buffers["vision_model.vision_model.embeddings.position_ids"] = torch.arange(positions)[None]
    return buffers


def pictures() -> list[Image.Image]:
    """Two pictures that differ, not square."""
    random = np.random.Generator(np.random.PCG64(0))
    coarse = [random.integers(0, 255, (5, 7, 3), dtype=np.uint8) for _ in range(2)]
    return [Image.fromarray(pixels).resize((200, 150), Image.Resampling.BICUBIC) for pixels in coarse]


def tokenizer_file() -> Path:
    """Same make and size as LLaMA's tokenizer, which is not to be had without a licence."""
    return Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1"


def write(folder: Path) -> None:
    """Everything that the original needs to answer, as files."""
    llm, images = folder / "llm", folder / "images"
    for each in (llm, images):
        each.mkdir(parents=True)
    shutil.copy(tokenizer_file(), llm / "tokenizer.model")
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    (llm / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"} | tokens))
    llama = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "rms_norm_eps": 1e-6}
    (llm / "config.json").write_text(json.dumps(TINY_LLAMA | llama))
    for number, picture in enumerate(pictures()):
        picture.save(images / f"{number}.png")
    with (folder / "questions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Figure_path", "Caption", "Question", "Choice A", "Choice B", "Choice C", "Choice D", "Anwser"])
        for question, picture in ((0, 0), (0, 1), (1, 0)):
            rows.writerow([f"{picture}.png", "", *QUESTIONS[question], QUESTIONS[question][1]])
    for name, variant in VARIANTS.items():
        (folder / name).mkdir()
        state = variant.state()
        torch.save(state | original_buffers(variant.config), folder / name / "pytorch_model.bin")
        described = {
            "vision_module": variant.vision_module,
            "vision": variant.vision,
            "projector": variant.projector,
            "weights": fingerprint(state),
        }
        (folder / name / "variant.json").write_text(json.dumps(described))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
