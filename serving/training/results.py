"""What a run leaves: its weights by the original MedVInT's names, and as the folder that vLLM and transformers load.

write_results(trained, begun, recipe, Path("data/training/medvint-7b-blank"))

In the run's folder: `trained.safetensors` (float32, what moved), `original/` (for `medvint convert`) and `model/`
(ready to serve, LoRA merged). The language model is in `original/` only where it is not the one that was named.
MedVInT-TE has no `original/`.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from serving.checkpoints import convert
from serving.converted_folder import new_folder, output_sizes, write_weights
from serving.demo import CALIBRATION
from serving.medvint.processing import MedVInTImageProcessor
from serving.original_keys import TOWER_CHILDREN
from serving.training.beginning import TRAINED_FILE, Begun
from serving.training.checkpoint import save_whole
from serving.training.recipe import LanguageRecipe, MaskedRecipe, RunRecipe
from serving.training.te import TrainedTE
from serving.training.trained import Trained, TrainedMedVInT, trained_parameters
from serving.weight_files import StoredTensor

ORIGINAL, MODEL = "original", "model"
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_TOWER_NUMBERS = {ours: number for number, ours in TOWER_CHILDREN.items()}
_LORA = re.compile(r".*\.lora_[AB]\..*")
_WEIGHTS = {".safetensors", ".bin"}
_OF_OTHER_WEIGHTS = {"README.md", CALIBRATION}


def original_name(name: str) -> str:
    """The original's name of one of our tensors; `serving.original_keys.our_name` is the way back."""
    part, _, rest = name.partition(".")
    if part == "vision_tower":
        child, _, tail = rest.partition(".")
        return f"vision_model.{_TOWER_NUMBERS.get(child, child)}.{tail}"
    if part == "projector":
        return f"decoder.{rest}" if rest.startswith(("layers.", "norm.")) else rest
    return f"llamacasual.base_model.model.{rest.replace('.default', '')}"


def write_results(trained: TrainedMedVInT, begun: Begun, recipe: LanguageRecipe, folder: Path) -> None:
    """Write all three, in place of what an interrupted end left.

    Raises:
        ConversionError: a folder cannot be written (the disk is full).
    """
    _keep_moved(trained, folder)
    dtype = _DTYPES[recipe.precision]
    state = {name: tensor for name, tensor in trained.medvint.state_dict().items() if "num_batches" not in name}
    if begun.medvint.config.tie_word_embeddings:
        state.pop("language_model.lm_head.weight", None)
    _write_original(state, begun, recipe, dtype, folder / ORIGINAL)
    if begun.llm is not None:
        convert(folder / ORIGINAL, begun.llm, folder / MODEL, tokenizer=begun.llm_tokenizer, dtype=dtype)
    else:
        _write_model(state, begun, recipe, dtype, folder / MODEL)


def write_te_results(
    trained: TrainedTE, tokenizer: PreTrainedTokenizerBase, recipe: MaskedRecipe, folder: Path
) -> None:
    """Write `trained.safetensors` and `model/`: the original's code loads no MedVInT-TE of another shape than its own.

    Raises:
        ConversionError: the folder cannot be written (the disk is full).
    """
    _keep_moved(trained, folder)
    config, dtype = trained.te.config, _DTYPES[recipe.precision]
    state = {name: tensor for name, tensor in trained.te.state_dict().items() if "num_batches" not in name}
    weights = {name: StoredTensor.held(tensor) for name, tensor in _merged(state, recipe).items()}
    with new_folder(folder / MODEL, sum(output_sizes(weights, dtype).values())) as model:
        write_weights(weights, dtype, model, _say_nothing)
        config.dtype = dtype
        config.save_pretrained(model)
        tokenizer.save_pretrained(model)
        MedVInTImageProcessor(config.vision.image_size).save_pretrained(model)


def _keep_moved(trained: Trained, folder: Path) -> None:
    """`trained.safetensors`; the folders that an interrupted end left are removed."""
    moved = {name: p.detach().cpu().contiguous() for name, p in trained_parameters(trained).items()}
    save_whole(folder / TRAINED_FILE, lambda path: save_file(moved, path))
    for name in (ORIGINAL, MODEL):
        shutil.rmtree(folder / name, ignore_errors=True)


def _write_original(
    state: dict[str, torch.Tensor], begun: Begun, recipe: LanguageRecipe, dtype: torch.dtype, out: Path
) -> None:
    llm_is_named = begun.llm is not None and (recipe.lora is not None or recipe.rates.llm is None)
    weights = {
        original_name(name): StoredTensor.held(tensor.cpu())
        for name, tensor in sorted(state.items())
        if not (llm_is_named and name.startswith("language_model.") and not _LORA.fullmatch(name))
    }
    with new_folder(out, sum(output_sizes(weights, dtype).values())) as folder:
        write_weights(weights, dtype, folder, _say_nothing)
        config = begun.medvint.config
        said: dict[str, Any] = {
            "model_type": config.model_type,
            "vision_config": config.vision_config,
            "projector_config": config.projector_config,
            "stop_token_id": config.stop_token_id,
        }
        if recipe.lora:
            said |= {"lora_rank": recipe.lora.rank, "lora_alpha": recipe.lora.alpha}
        (folder / "config.json").write_text(json.dumps(said, indent=1) + "\n")


def _write_model(
    state: dict[str, torch.Tensor], begun: Begun, recipe: LanguageRecipe, dtype: torch.dtype, out: Path
) -> None:
    """The converted folder that the run began with, with other weights."""
    weights = {name: StoredTensor.held(tensor) for name, tensor in _merged(state, recipe).items()}
    start: Path = begun.folder  # type: ignore[assignment]
    with new_folder(out, sum(output_sizes(weights, dtype).values())) as folder:
        for file in start.iterdir():
            if file.is_file() and not ({*file.suffixes} & _WEIGHTS or file.name in _OF_OTHER_WEIGHTS):
                shutil.copyfile(file, folder / file.name)
        config = json.loads((folder / "config.json").read_text())
        config["dtype"] = config["text_config"]["dtype"] = str(dtype).removeprefix("torch.")
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        write_weights(weights, dtype, folder, _say_nothing)


def _merged(state: dict[str, torch.Tensor], recipe: RunRecipe) -> dict[str, torch.Tensor]:
    """The state with LoRA added to the weights that it changes, on the CPU."""
    merged = {}
    for name, tensor in state.items():
        if _LORA.fullmatch(name):
            continue
        plain = name.replace(".base_layer.", ".")
        lora_a = state.get(name.replace(".base_layer.weight", ".lora_A.default.weight"))
        if plain != name and lora_a is not None and recipe.lora is not None:
            lora_b = state[name.replace(".base_layer.weight", ".lora_B.default.weight")]
            update = lora_b.float() @ lora_a.float() * (recipe.lora.alpha / recipe.lora.rank)
            tensor = (tensor.float() + update).to(tensor.dtype)
        merged[plain] = tensor.cpu()
    return merged


def _say_nothing(share: float) -> None:
    """Writing takes seconds: no progress."""
