"""open_clip's own vectors of the pictures and texts in `random_biomed_clip`, with its random weights.

Needs open_clip_torch and timm to be importable; torchvision, which they import for training, is not needed: pictures
are scaled and cut as open_clip has torchvision do it.

    python -m tests.retrieval.reference.run_biomed_clip
"""

import importlib
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from unittest import mock

import torch
import transformers
from torch.nn.functional import normalize

from tests.retrieval import random_biomed_clip as tiny
from tests.retrieval.reference.run_pmc_clip import transform

OUT = Path(__file__).parent / "biomed_clip.json"


def without_torchvision() -> None:
    """Empty stand-ins for what is imported and not used."""
    for name in ("", ".datasets", ".ops", ".ops.misc", ".transforms", ".transforms.functional"):
        module = mock.MagicMock()
        module.__spec__ = importlib.util.spec_from_loader(f"torchvision{name}", None)
        sys.modules[f"torchvision{name}"] = module
    package = ModuleType("open_clip")  # without its __init__, which imports the training
    package.__path__ = list(importlib.util.find_spec("open_clip").submodule_search_locations)
    sys.modules["open_clip"] = package


@torch.no_grad()
def main() -> None:
    # Loaded before torchvision seems to be there.
    for name in ("BertModel", "BertTokenizer", "AutoModel", "AutoTokenizer"):
        getattr(transformers, name)
    without_torchvision()
    timm = importlib.import_module("timm")
    from timm.models.vision_transformer import VisionTransformer

    def trunk(name: str, **given: object) -> torch.nn.Module:
        model = VisionTransformer(
            img_size=tiny.SIZE, patch_size=tiny.PATCH, embed_dim=tiny.WIDTH, depth=tiny.DEPTH,
            num_heads=tiny.WIDTH // 64, mlp_ratio=tiny.MLP / tiny.WIDTH,
        )  # fmt: skip
        model.default_cfg = {}
        return model

    with mock.patch.object(timm, "create_model", trunk):
        settings = tiny.SETTINGS["model_cfg"]["vision_cfg"]
        visual = importlib.import_module("open_clip.timm_model").TimmModel(
            "vit_tiny", tiny.DIM, tiny.SIZE, settings["timm_pool"], settings["timm_proj"]
        )
    with tempfile.TemporaryDirectory() as name:
        folder = tiny.folder(Path(name) / "model")
        transformers.BertConfig(**tiny.TEXT).save_pretrained(folder)
        text = importlib.import_module("open_clip.hf_model").HFTextEncoder(
            str(folder), tiny.DIM, pooler_type="cls_last_hidden_state_pooler", proj_type="mlp", pretrained=False
        )
        tokenizer = importlib.import_module("open_clip.tokenizer").HFTokenizer(str(folder), tiny.LENGTH)
        ids = tokenizer(list(tiny.TEXTS))
    state = tiny.state()
    for module, prefix in ((visual, "visual."), (text, "text.")):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        module.eval()
    prepared = tiny.SETTINGS["preprocess_cfg"]
    images = torch.stack([transform(image, tiny.SIZE, prepared["mean"], prepared["std"]) for image in tiny.pictures()])
    vectors = {"images": normalize(visual(images), dim=-1), "texts": normalize(text(ids), dim=-1)}
    versions = {each.__name__: each.__version__ for each in (torch, transformers, timm)}
    versions["open_clip"] = importlib.import_module("open_clip.version").__version__
    rounded = {kind: [[round(v, 6) for v in row] for row in rows.tolist()] for kind, rows in vectors.items()}
    lines = [f'"{kind}": [\n  ' + ",\n  ".join(map(json.dumps, rows)) + "\n]" for kind, rows in rounded.items()]
    OUT.write_text(f'{{"versions": {json.dumps(versions)},\n' + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
