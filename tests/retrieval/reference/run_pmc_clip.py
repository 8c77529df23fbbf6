"""The original PMC-CLIP's vectors of the pictures and texts in `random_pmc_clip`, with its random weights.

`REPOSITORY` is a checkout of github.com/WeixiongLin/PMC-CLIP; its model is built by its own class, loaded strictly
and asked by its own `forward`. torchvision, which it needs for other things, is not needed: pictures are scaled and
cut as its `transform.py` has torchvision do it.

    python -m tests.retrieval.reference.run_pmc_clip REPOSITORY
"""

import importlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

import numpy as np
import torch
import transformers
from PIL import Image

from tests.retrieval import random_pmc_clip as tiny

OUT = Path(__file__).parent / "pmc_clip.json"
BERT_NAME = "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext"


def build(repository: Path, text_model: Path) -> torch.nn.Module:
    """The original's module in the tiny size, with its checkpoint."""
    source = repository / "src" / "pmc_clip"
    # Without the packages' own __init__, which import the training.
    for name, folder in (("pmc_clip", source), ("pmc_clip.model", source / "model")):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(folder)]
    misc = ModuleType("torchvision.ops.misc")
    misc.FrozenBatchNorm2d = torch.nn.Module
    for name, module in {"torchvision": None, "torchvision.ops": None, "torchvision.ops.misc": misc}.items():
        sys.modules[name] = module or ModuleType(name)
    original = importlib.import_module("pmc_clip.model.pmc_clip")
    config, bert = tiny.CONFIG, tiny.BERT
    with (
        mock.patch.object(
            original.AutoTokenizer,
            "from_pretrained",
            lambda name: transformers.BertTokenizer.from_pretrained(text_model),
        ),
        mock.patch.object(
            original.AutoModel, "from_pretrained", lambda name: transformers.BertModel(transformers.BertConfig(**bert))
        ),
    ):
        model = original.PMC_CLIP(
            args=SimpleNamespace(device="cpu", mlm=True),
            embed_dim=config.dim,
            vision_cfg={"image_size": config.image_size, "layers": config.layers, "width": config.width, "patch_size": None},
            text_cfg={
                "context_length": 77, "vocab_size": bert["vocab_size"], "width": bert["hidden_size"], "heads": 4,
                "layers": 2, "fusion_layers": 1, "bert_model_name": BERT_NAME,
            },
        )  # fmt: skip
    state = {name.removeprefix("module."): tensor for name, tensor in tiny.training_state().items()}
    fusion = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("fusion_module.")}
    state.pop("text_encoder.embeddings.position_ids")  # which newer transformers do not save
    model.load_state_dict(state | fusion)
    return model.eval()


CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def transform(image: Image.Image, size: int, mean: Sequence[float] = CLIP_MEAN, std: Sequence[float] = CLIP_STD):
    """`image_transform(is_train=False)`: Resize(size, BICUBIC), CenterCrop(size), RGB, ToTensor, Normalize."""
    width, height = image.size
    shorter = min(width, height)
    image = image.resize((int(size * width / shorter), int(size * height / shorter)), Image.Resampling.BICUBIC)
    left, top = round((image.width - size) / 2.0), round((image.height - size) / 2.0)
    image = image.crop((left, top, left + size, top + size)).convert("RGB")
    values = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float().div(255)
    return (values - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@torch.no_grad()
def main(repository: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = build(repository, tiny.text_model(Path(folder) / "bert"))
        images = torch.stack([transform(image, tiny.CONFIG.image_size) for image in tiny.pictures()])
        texts = list(tiny.TEXTS)
        images = torch.cat([images, images[:1].expand(len(texts) - len(images), -1, -1, -1)])
        found = model({"images": images, "bert_input": texts, "bert_label": texts})
    vectors = {
        "images": found["image_features"][: len(tiny.pictures())],
        "texts": found["text_features"],
    }
    rounded = {kind: [[round(v, 6) for v in row] for row in rows.tolist()] for kind, rows in vectors.items()}
    versions = {each.__name__: each.__version__ for each in (torch, transformers)}
    lines = [f'"{kind}": [\n  ' + ",\n  ".join(map(json.dumps, rows)) + "\n]" for kind, rows in rounded.items()]
    OUT.write_text(f'{{"versions": {json.dumps(versions)},\n' + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
