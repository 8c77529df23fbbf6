"""MedVInT-TE for tests: the original's layout in converted folders, and a tiny one of this project's own kind."""

from pathlib import Path

import torch
from transformers import AutoTokenizer

from serving.checkpoints import convert
from serving.medvint.processing import MedVInTImageProcessor
from serving.medvint_te.answering import Answerer
from serving.medvint_te.beginning import minilm_folder
from serving.medvint_te.configuration import MedVInTTEConfig
from serving.medvint_te.modeling import MedVInTTEForMaskedLM
from tests.serving.te_variants import VARIANTS, te_tensor, write_text_encoder

SLOTS = 3


def converted(name: str, folder: Path) -> Path:
    """The folder that `convert` makes of a variant."""
    variant = VARIANTS[name]
    torch.save(variant.state(), folder / "pytorch_model.bin")
    encoder = write_text_encoder(folder / "encoder", variant.text)
    heads = 3 if variant.image_encoder == "CLIP" else None
    out = convert(folder / "pytorch_model.bin", encoder, folder / "out", vision_heads=heads)
    (folder / "pytorch_model.bin").unlink()
    return out


def tiny(**changes: object) -> Answerer:
    """Random weights, MiniLM's tokenizer, an answer's places as the small model has them."""
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    settings = {
        "vision_config": {"image_size": 64, "layers": (1, 1, 1), "width": 16},
        "projector_config": {"num_queries": 4, "num_layers": 1, "patch_norm": True, "position": "sine2d"},
        "text_config": {
            "model_type": "bert", "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_dropout_prob": 0.0,
        },
        "embed_dim": 64,
        "text_length": None,
        "answer_slots": SLOTS,
        "mask_token_id": tokenizer.mask_token_id,
        "end_token_id": tokenizer.sep_token_id,
        "choice_by": "text",
    }  # fmt: skip
    model = MedVInTTEForMaskedLM(MedVInTTEConfig(**settings | changes)).float().eval()
    model.load_state_dict({name: te_tensor(name, tensor.shape) for name, tensor in model.state_dict().items()})
    return Answerer(model, tokenizer, MedVInTImageProcessor(model.config.vision.image_size))


def save(answerer: Answerer, folder: Path) -> Path:
    """A folder as `convert` and the training leave one."""
    answerer.model.save_pretrained(folder)
    answerer.text.tokenizer.save_pretrained(folder)
    answerer.processor.save_pretrained(folder)
    return folder
