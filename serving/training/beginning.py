"""What a run begins with: backbones put together, a converted MedVInT, or what an earlier run made of either.

begun = begin(recipe, data, out)
begun.medvint, begun.tokenizer
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    CLIPVisionModel,
    GgufConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from serving import hub
from serving.decoders import Decoder, open_decoder
from serving.demo import decoder_file
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.medvint.projector import build_projector
from serving.medvint.vision import ClipTower, PmcClipTower, build_vision_tower
from serving.medvint_te.configuration import MedVInTTEConfig
from serving.server import is_medvint
from serving.training.average import set_weights
from serving.training.recipe import PACKAGED_LLM, LanguageRecipe, RecipeError, load_recipe, resolve
from serving.training.recipe_sections import Lora, Model
from serving.training.trained import TrainedMedVInT, add_lora, choose_trained, trained_parameters
from serving.weight_files import open_tensors

RECIPE_FILE, TRAINED_FILE = "recipe.yaml", "trained.safetensors"
QUERY_STD = 0.5
"""Of the demo's fresh queries: N(0, 1), torch's own, drowns what they see."""
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
# PMC-CLIP's file has the text side too, and of the image tower more than MedVInT-TD takes, which ends with layer3.
_TOWER_PREFIX = re.compile(r"^(?:module\.)?visual\.|^tower\.|^vision_tower\.")
_NOT_TAKEN = re.compile(r"attnpool\..*|.*\.num_batches_tracked|num_batches_tracked")
_STAGE = re.compile(r"layer(\d)\.")


class BackboneError(RecipeError):
    """A file that a recipe begins with is not what it is called."""


@dataclass
class Begun:
    """The model in memory, with LoRA where the recipe has it, and what its language model and tokenizer came from.

    `llm`, `llm_tokenizer`: paths or Hub ids; None where a converted folder (`folder`) brought all parts.
    """

    medvint: MedVInTForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    llm: str | None = None
    llm_tokenizer: str | None = None
    folder: Path | None = None


def begin(recipe: LanguageRecipe, data: Path, out: Path) -> Begun:
    """Read everything that the recipe begins with.

    Raises:
        RecipeError: a part is missing or does not fit (BackboneError), or an earlier run had other LoRA.
        DecoderError, HubError: the language model cannot be read.
    """
    spec, dtype = recipe.model, _DTYPES[recipe.precision]
    if spec.start is None:
        return _from_parts(spec, recipe.lora, dtype, data, out)
    start = Path(resolve(spec.start, data, out))
    if (start / RECIPE_FILE).is_file():
        return _from_run(start, recipe, data, out)
    if not is_medvint(start):
        raise BackboneError(f"{start} is neither a finished run nor a converted MedVInT folder.")
    if (start / "lora").is_dir():
        raise BackboneError(f"{start} keeps its LoRA apart; convert it again with LoRA merged, and begin with that.")
    medvint = MedVInTForConditionalGeneration.from_pretrained(start, dtype=dtype)
    medvint.vision_tower.float()
    medvint.projector.float()
    _prepare(medvint.language_model, recipe.lora)
    return Begun(medvint, AutoTokenizer.from_pretrained(start), folder=start)


def _from_run(start: Path, recipe: LanguageRecipe, data: Path, out: Path) -> Begun:
    """What the earlier run began with, and on it what it learnt; its LoRA is trained further."""
    earlier = load_recipe(start / RECIPE_FILE)
    weights = start / TRAINED_FILE
    if not isinstance(earlier, LanguageRecipe) or not weights.is_file():
        raise BackboneError(f"The run {start} is not finished, or it is none that went through a language model.")
    if earlier.lora != recipe.lora:
        raise RecipeError(
            f"{start} was trained with other LoRA than this recipe has. Begin with its folder model/, where LoRA is "
            "merged, or say the same."
        )
    begun = begin(earlier.model_copy(update={"precision": recipe.precision}), data, out)
    trained = TrainedMedVInT(begun.medvint)
    choose_trained(trained, earlier)
    set_weights(trained_parameters(trained), load_file(weights))
    return begun


def _from_parts(spec: Model, lora: Lora | None, dtype: torch.dtype, data: Path, out: Path) -> Begun:
    llm = str(decoder_file()) if spec.llm == PACKAGED_LLM else resolve(spec.llm or "", data, out)
    llm_tokenizer = resolve(spec.tokenizer, data, out) if spec.tokenizer else None
    decoder = open_decoder(llm, llm_tokenizer)
    language_model = load_language_model(decoder, dtype)
    config = MedVInTConfig(
        vision_config=spec.vision_config,
        projector_config=spec.projector_config,
        text_config=decoder.config.to_dict(),
        stop_token_id=spec.stop_token_id,
    )
    width = config.text_config.hidden_size
    tower = load_tower(resolve(spec.tower, data, out), config) if spec.tower else build_vision_tower(config.vision)
    projector: Any = build_projector(config.projector, config.vision.out_channels, width)
    word_scale = language_model.get_input_embeddings().weight.float().std().item()
    if spec.projector:
        _load_projector(projector, Path(resolve(spec.projector, data, out)), word_scale)
    elif config.projector.output_norm:
        nn.init.constant_(projector.output_norm.weight, word_scale)
        if config.projector.kind == "transformer":
            nn.init.normal_(projector.query_embed.weight, std=QUERY_STD)
    # The parts are made above; without numbers, a second language model of 7B costs nothing here.
    with torch.device("meta"):
        medvint = MedVInTForConditionalGeneration(config)
    medvint.vision_tower, medvint.projector, medvint.language_model = tower, projector, language_model
    _prepare(language_model, lora)
    return Begun(medvint, decoder.tokenizer(spec.stop_token_id), llm, llm_tokenizer)


def _prepare(llm: Any, lora: Lora | None) -> None:
    llm.config.use_cache = False
    if lora is not None:
        add_lora(llm, lora)


def load_language_model(decoder: Decoder, dtype: torch.dtype) -> Any:
    """LlamaForCausalLM of a folder, the Hub, or a GGUF file."""
    folder = hub.language_model_folder(decoder.hub_id, weights=True) if decoder.hub_id else decoder.folder
    packed: dict[str, Any] = {}
    if decoder.gguf_file:
        packed = {"gguf_file": decoder.gguf_file, "quantization_config": GgufConfig(dequantize=True)}
    try:
        return LlamaForCausalLM.from_pretrained(folder, dtype=dtype, **packed)
    except OSError as error:
        raise BackboneError(f"{folder} holds no weights of a language model: {str(error).splitlines()[0]}") from error


def load_tower(source: str, config: MedVInTConfig | MedVInTTEConfig) -> PmcClipTower | ClipTower:
    """The image tower from PMC-CLIP's own file, a stage of the demo, or a folder of CLIP, at the recipe's image size.

    Raises:
        BackboneError: it is missing, or of another shape than `config` says.
    """
    path = Path(source)
    if not path.exists():
        raise BackboneError(f"There is no image tower at {source}.")
    tower = build_vision_tower(config.vision)
    if isinstance(tower, ClipTower):
        _load(tower.vision_model, _clip_weights(path, tower.vision_model), source)
        return tower
    tensors = {name: stored.read() for name, stored in open_tensors([path]).items()}
    inside = {name: tensor for name, tensor in tensors.items() if _TOWER_PREFIX.match(name)}
    named = {_TOWER_PREFIX.sub("", name): tensor for name, tensor in (inside or tensors).items()}
    _load(tower, {name: tensor for name, tensor in named.items() if _is_taken(name, tower.stages)}, source)
    return tower


def _is_taken(name: str, stages: int) -> bool:
    stage = _STAGE.match(name)
    return not _NOT_TAKEN.fullmatch(name) and (stage is None or int(stage[1]) <= stages)


def _clip_weights(folder: Path, wanted: nn.Module) -> dict[str, torch.Tensor]:
    """CLIP's tower; position embeddings of another image size are interpolated."""
    weights = CLIPVisionModel.from_pretrained(folder, dtype=torch.float32).state_dict()
    name = "embeddings.position_embedding.weight"
    positions, size = weights[name], wanted.state_dict()[name].shape[0]
    if len(positions) != size:
        had, need = (round((count - 1) ** 0.5) for count in (len(positions), size))
        grid = positions[1:].T.reshape(1, -1, had, had)
        grid = functional.interpolate(grid, (need, need), mode="bicubic", align_corners=False)
        weights[name] = torch.cat([positions[:1], grid.flatten(2)[0].T])
    return weights


def _load_projector(projector: Any, path: Path, word_scale: float) -> None:
    """What the demo's second stage left: its reader wants embeddings of scale one, the words are smaller."""
    if not path.is_file():
        raise BackboneError(f"There is no projector at {path}: it is what the stage before makes.")
    prefix = "projector."
    state = {name.removeprefix(prefix): t for name, t in load_file(path).items() if name.startswith(prefix)}
    _load(projector, state, str(path))
    with torch.no_grad():
        projector.output_norm.weight.mul_(word_scale)
        projector.output_norm.bias.mul_(word_scale)


def _load(module: nn.Module, weights: Mapping[str, torch.Tensor], source: str) -> None:
    state = {name: tensor.float() for name, tensor in weights.items()}
    counters = {name: t for name, t in module.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        module.load_state_dict(counters | state)
    except RuntimeError as error:
        raise BackboneError(f"{source} does not fit the recipe's configuration: {error}") from error
