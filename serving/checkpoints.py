"""From the files that a person has to one folder that vLLM and transformers load.

A MedVInT-TD state dict (the original's names) and the language model that it was trained on go in;
`config.json`, safetensors, tokenizer with chat template, generation and image settings, and the
sources' hashes come out. Nothing is guessed from a file name: shapes are read from the weights, or
from a `config.json` beside them. Every tensor is used or named in an error.

    convert("VQA_lora_PMC_LLaMA_PMCCLIP/blank/checkpoint-1382", "PMC_LLAMA_7B", Path("models/medvint"))
"""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import GenerationConfig, LlamaConfig

from serving.decoders import Decoder, Loader, open_decoder
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.medvint.processing import MedVInTImageProcessor
from serving.original_keys import OriginalKeys, read_projector_config, read_vision_config, sort_keys

Progress = Callable[[str, float], None]

SHARD_BYTES = 1 << 30
SOURCES = "sources.json"
LORA_FOLDER = "lora"


class ConversionError(Exception):
    """The files do not make a MedVInT-TD; the message says which part and what it probably means."""


class CheckpointNotFoundError(ConversionError):
    """There is no checkpoint at the path."""


class UnsafeCheckpointError(ConversionError):
    """The file is a pickle that would run code, or is no checkpoint at all; nothing of it was run."""


class MissingKeysError(ConversionError):
    """Tensors that the model needs are not in the checkpoint."""


class UnknownKeysError(ConversionError):
    """The checkpoint holds tensors that the model has no place for."""


class ShapeError(ConversionError):
    """Tensors have another shape than the model's."""


class OutputExistsError(ConversionError):
    """Something is at the place where the converted folder should go."""


def convert(
    source: Path | str,
    llm: Path | str,
    out: Path,
    *,
    num_heads: int | None = None,
    lora_alpha: float = 32,
    merge_lora: bool = True,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Path:
    """Convert a MedVInT-TD checkpoint and give the folder.

    Args:
        source: `.bin`, `.safetensors`, an index of shards, or a folder of them.
        llm: folder or GGUF file of the language model; its weights are used where `source` has none.
        out: the folder to make.
        num_heads: of the projector. Default: that of the `config.json` beside the weights, else 8.
        lora_alpha: the original's 32.
        merge_lora: False leaves the adapter apart, in `out/lora`, for vLLM's `--enable-lora`.
        dtype: of every weight. Default: as the language model's weights are.
        progress: called with what is being done and the share that is done, 0 to 1.

    Raises:
        ConversionError: see its kinds.
        DecoderError: `llm` is unusable.
    """
    tell = progress or (lambda what, share: None)
    out = Path(out)
    if out.exists():
        raise OutputExistsError(f"{out} exists already.")
    tell("Reading the checkpoint", 0.0)
    files = _weight_files(Path(source))
    tensors = _open_tensors(files)
    decoder = open_decoder(Path(llm))
    keys = sort_keys(list(tensors))
    weights: dict[str, Loader] = {name: tensors[key] for name, key in keys.weights.items()}
    if not any(name.startswith("language_model.") for name in weights):
        tell("Reading the language model", 0.1)
        weights |= {f"language_model.{name}": load for name, load in decoder.weights().items()}
    config = _configuration(files[0].parent, decoder, weights, num_heads)
    if config.tie_word_embeddings:
        weights.pop("language_model.lm_head.weight", None)
    dtype = dtype or weights["language_model.model.embed_tokens.weight"]().dtype if _has_embedding(weights) else dtype
    _check(config, keys, weights)
    adapter = _adapter(keys, tensors)
    for module, (lora_a, lora_b) in adapter.items():
        _check_adapter(module, lora_a, lora_b, weights)
        if merge_lora:
            weights[f"{module}.weight"] = _merged(weights[f"{module}.weight"], lora_a, lora_b, lora_alpha)

    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    unfinished.mkdir(parents=True)
    try:
        tell("Writing weights", 0.2)
        _save_weights(weights, dtype, unfinished, lambda share: tell("Writing weights", 0.2 + 0.6 * share))
        if adapter and not merge_lora:
            _save_adapter(adapter, lora_alpha, unfinished / LORA_FOLDER)
        tell("Writing tokenizer and settings", 0.85)
        _save_settings(config, decoder, dtype, unfinished)
        tell("Hashing the sources", 0.9)
        sources = {
            "checkpoint": {file.name: _sha256(file) for file in files},
            "language_model": {file.name: _sha256(file) for file in decoder.files},
            "lora_alpha": lora_alpha,
            "lora_merged": merge_lora,
        }
        (unfinished / SOURCES).write_text(json.dumps(sources, indent=2) + "\n")
        unfinished.rename(out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    tell("Converted", 1.0)
    return out


def _weight_files(source: Path) -> list[Path]:
    """The files that hold the tensors, whatever the checkpoint's layout."""
    if source.is_dir():
        for name in (
            "model.safetensors.index.json",
            "pytorch_model.bin.index.json",
            "model.safetensors",
            "pytorch_model.bin",
        ):
            if (source / name).is_file():
                return _weight_files(source / name)
        inner = sorted({path.parent.name for path in source.glob("*/pytorch_model*.bin*")})
        hint = f" Its folders {', '.join(inner)} hold one: name one of them." if inner else ""
        raise CheckpointNotFoundError(
            f"{source} holds no model.safetensors, pytorch_model.bin or index of shards.{hint}"
        )
    if not source.is_file():
        raise CheckpointNotFoundError(f"There is no checkpoint at {source}.")
    if source.name.endswith(".index.json"):
        shards = sorted({source.parent / name for name in json.loads(source.read_text())["weight_map"].values()})
        absent = [shard.name for shard in shards if not shard.is_file()]
        if absent:
            raise CheckpointNotFoundError(f"{source.name} names shards that are not there: {', '.join(absent)}.")
        return shards
    return [source]


def _open_tensors(files: list[Path]) -> dict[str, Loader]:
    """Every tensor by its name, read only when it is called for."""
    found: dict[str, Loader] = {}
    for file in files:
        for name, load in _safetensors(file) if file.suffix == ".safetensors" else _pickled(file):
            if name in found:
                raise UnknownKeysError(f"Two shards hold the tensor {name}.")
            found[name] = load
    return found


def _safetensors(file: Path) -> Iterator[tuple[str, Loader]]:
    def reader(name: str) -> Loader:
        def load() -> torch.Tensor:
            with safe_open(file, "pt") as opened:
                return opened.get_tensor(name)

        return load

    with safe_open(file, "pt") as opened:
        for name in opened.keys():  # noqa: SIM118
            yield name, reader(name)


def _pickled(file: Path) -> Iterator[tuple[str, Loader]]:
    try:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # torch before 1.6 wrote files that cannot be mapped
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise UnsafeCheckpointError(
            f"{file.name} is not a plain checkpoint of tensors: it is damaged, or a pickle that carries code. "
            "Nothing of it was run."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UnsafeCheckpointError(f"{file.name} is not a state dict: names and tensors, nothing else.")
    for name, tensor in state.items():
        yield name, partial(torch.Tensor.detach, tensor)


def _has_embedding(weights: dict[str, Loader]) -> bool:
    return "language_model.model.embed_tokens.weight" in weights


def _configuration(folder: Path, decoder: Decoder, weights: dict[str, Loader], num_heads: int | None) -> MedVInTConfig:
    beside = folder / "config.json"
    given = json.loads(beside.read_text()) if beside.is_file() else {}
    if given.get("model_type") == "medvint":
        vision, projector = given["vision_config"], given["projector_config"]
        if num_heads is not None:
            projector = projector | {"num_heads": num_heads}
    else:
        shapes = {name: tuple(load().shape) for name, load in weights.items() if "language_model" not in name}
        vision = read_vision_config(shapes)
        projector = read_projector_config(shapes, 8 if num_heads is None else num_heads)
    return MedVInTConfig(
        vision_config=vision,
        projector_config=projector,
        # Without where it was read from: a path of the machine that converted is nobody's business.
        text_config={key: value for key, value in decoder.config.to_dict().items() if "name_or_path" not in key},
        stop_token_id=given.get("stop_token_id", 1),
        architectures=["MedVInTForConditionalGeneration"],
    )


def _check(config: MedVInTConfig, keys: OriginalKeys, weights: dict[str, Loader]) -> None:
    """Every tensor of the model is there, with its shape, and none is left over."""
    width, heads = config.projector.hidden_size or config.vision.out_channels, config.projector.num_heads
    if config.projector.kind == "transformer" and width % heads:
        raise ShapeError(f"A projector of width {width} cannot have {heads} heads; try another number of heads.")
    with torch.device("meta"):
        model = MedVInTForConditionalGeneration(config)
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    if config.tie_word_embeddings:
        del expected["language_model.lm_head.weight"]
    extra = [keys.weights.get(name, name) for name in weights if name not in expected] + keys.unknown
    missing = [name for name in expected if name not in weights]
    if missing:
        raise MissingKeysError(f"{_listed(missing)} missing from the checkpoint. {_cause(missing, extra)}")
    if extra:
        raise UnknownKeysError(f"No place in MedVInT-TD for {_listed(extra)}. {_cause(missing, extra)}")
    wrong = {name: tuple(weights[name]().shape) for name in expected}
    misshapen = [
        f"{name} is {list(wrong[name])}, not {list(shape)}" for name, shape in expected.items() if wrong[name] != shape
    ]
    if misshapen:
        raise ShapeError(f"{_listed(misshapen)}. {_cause(misshapen, [])}")


def _listed(names: list[str], most: int = 20) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _cause(names: list[str], extra: list[str]) -> str:
    """What a list of wrong tensors usually means."""
    if any(name.startswith("vision_model.13") for name in extra):
        return "The tower has a fourth stage: this is PMC-CLIP itself or MedVInT-TE, not MedVInT-TD."
    if any(name.startswith("vision_tower") for name in names):
        return "Probably another image tower than the configuration says (CLIP in place of PMC-CLIP?)."
    if any(name.startswith("language_model") for name in names):
        return "Probably another language model than the one that it was trained on, or an incomplete download."
    if any(name.startswith("projector") for name in names):
        return "Probably another projector than the configuration says, or an incomplete download."
    return "Probably not a MedVInT-TD checkpoint, or one of another project."


def _adapter(keys: OriginalKeys, tensors: dict[str, Loader]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """LoRA of each module: A [rank, in_features] and B [out_features, rank]."""
    lone = keys.lora_a.keys() ^ keys.lora_b.keys()
    if lone:
        raise MissingKeysError(f"LoRA has only one of its two matrices for {_listed(sorted(lone))}.")
    return {module: (tensors[keys.lora_a[module]](), tensors[keys.lora_b[module]]()) for module in keys.lora_a}


def _check_adapter(module: str, lora_a: torch.Tensor, lora_b: torch.Tensor, weights: dict[str, Loader]) -> None:
    if f"{module}.weight" not in weights:
        raise UnknownKeysError(f"LoRA changes {module}, which the language model has not.")
    shape = tuple(weights[f"{module}.weight"]().shape)
    if (lora_b.shape[0], lora_a.shape[1]) != shape or lora_a.shape[0] != lora_b.shape[1]:
        raise ShapeError(
            f"LoRA of {module} is {list(lora_b.shape)} x {list(lora_a.shape)}, the weight {list(shape)}. "
            "Probably another language model than the one that it was trained on."
        )


def _merged(load: Loader, lora_a: torch.Tensor, lora_b: torch.Tensor, alpha: float) -> Loader:
    def merged() -> torch.Tensor:
        weight = load()
        update = lora_b.float() @ lora_a.float() * (alpha / lora_a.shape[0])
        return (weight.float() + update).to(weight.dtype)

    return merged


def _save_weights(
    weights: dict[str, Loader], dtype: torch.dtype | None, folder: Path, tell: Callable[[float], None]
) -> None:
    """Shards of about 1 GiB, so that memory stays near that whatever the model's size."""
    shards: list[tuple[list[str], int]] = []
    batch: dict[str, torch.Tensor] = {}
    size = 0

    def flush() -> None:
        nonlocal batch, size
        save_file(batch, folder / f"shard-{len(shards)}", metadata={"format": "pt"})
        shards.append((list(batch), size))
        batch, size = {}, 0

    for done, name in enumerate(sorted(weights)):
        # A copy: tensors of a mapped file or tied weights share storage, which safetensors refuses.
        tensor = weights[name]().to(dtype).clone().contiguous()
        batch[name] = tensor
        size += tensor.nbytes
        if size >= SHARD_BYTES:
            flush()
        tell(done / len(weights))
    if batch:
        flush()
    if len(shards) == 1:
        (folder / "shard-0").rename(folder / "model.safetensors")
        return
    weight_map: dict[str, str] = {}
    for number, (names, _) in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        (folder / f"shard-{number}").rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": sum(bytes_ for _, bytes_ in shards)}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _save_adapter(adapter: dict[str, tuple[torch.Tensor, torch.Tensor]], alpha: float, folder: Path) -> None:
    """In PEFT's form, for vLLM and for `PeftModel.from_pretrained`."""
    folder.mkdir()
    tensors: dict[str, torch.Tensor] = {}
    for module, (lora_a, lora_b) in adapter.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = lora_a.clone().contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = lora_b.clone().contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    kinds = "|".join(sorted({module.rsplit(".", 1)[1] for module in adapter}))
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "r": next(iter(adapter.values()))[0].shape[0],
        "lora_alpha": alpha,
        "target_modules": rf"language_model\..*\.({kinds})",  # not those of a CLIP tower, named alike
        "bias": "none",
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _save_settings(config: MedVInTConfig, decoder: Decoder, dtype: torch.dtype | None, folder: Path) -> None:
    tokenizer = decoder.tokenizer(config.stop_token_id)
    for each in (config, cast(LlamaConfig, config.text_config)):
        each.dtype = dtype
        each.bos_token_id, each.pad_token_id = tokenizer.bos_token_id, tokenizer.pad_token_id
        each.eos_token_id = config.stop_token_id
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    MedVInTImageProcessor(config.vision.image_size).save_pretrained(folder)
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=decoder.stop_token_ids(config.stop_token_id),
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(folder)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
