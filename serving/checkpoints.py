"""From the files that a person has to one folder that vLLM and transformers load.

A MedVInT-TD state dict (the original's names) and the language model that it was trained on go in;
`config.json`, safetensors, tokenizer with chat template, generation and image settings, and the
sources' hashes come out. Nothing is guessed from a file name: shapes are read from the weights, or
from a `config.json` beside them. Every tensor is used or named.

    convert("VQA_lora_PMC_LLaMA_PMCCLIP/blank/checkpoint-1382", "PMC_LLAMA_7B", Path("models/medvint"))
    convert("xmcmic/MedVInT-TD", "chaoyi-wu/PMC_LLAMA_7B", Path("models/medvint"), subfolder="...")
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from transformers import GenerationConfig, LlamaConfig

from serving import hub
from serving.checkpoint_fit import MissingKeysError, ShapeError, UnknownKeysError, check_fit, check_lora, listed
from serving.converted_folder import (
    OutputExistsError,
    PrecisionError,
    WriteError,
    new_folder,
    output_sizes,
    write_weights,
)
from serving.decoders import Decoder, open_decoder
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.processing import MedVInTImageProcessor
from serving.medvint_te.original_keys import is_te
from serving.original_keys import OriginalKeys, read_projector_config, read_vision_config, sort_keys
from serving.weight_files import (
    CheckpointNotFoundError,
    ConversionError,
    SeveralCheckpointsError,
    StoredTensor,
    UnsafeCheckpointError,
    find_weights,
    open_tensors,
)

__all__ = [
    "LORA_FOLDER",
    "SOURCES",
    "CheckpointNotFoundError",
    "ConversionError",
    "MissingKeysError",
    "OutputExistsError",
    "PrecisionError",
    "Progress",
    "SeveralCheckpointsError",
    "ShapeError",
    "UnknownKeysError",
    "UnsafeCheckpointError",
    "WriteError",
    "convert",
]

Progress = Callable[[str, float], None]
Adapter = dict[str, tuple[StoredTensor, StoredTensor]]
"""From the module that LoRA changes to A [rank, in_features] and B [out_features, rank]."""

SOURCES = "sources.json"
LORA_FOLDER = "lora"
LORA_ALPHA = 32.0
MODEL_TYPES = ("medvint", "medvint_te")
_EMBEDDING = "language_model.model.embed_tokens.weight"
_LM_HEAD = "language_model.lm_head.weight"
_HASH_CHUNK = 1 << 24
_MERGED_ROWS = 64


@dataclass(frozen=True)
class Unsaid:
    """What the weights do not say, as the caller gave it; None: as `config.json` beside them says, or the original."""

    num_heads: int | None
    vision_heads: int | None
    image_size: int | None
    lora_alpha: float | None


def convert(
    source: Path | str,
    llm: Path | str,
    out: Path,
    *,
    subfolder: str | None = None,
    tokenizer: Path | str | None = None,
    num_heads: int | None = None,
    vision_heads: int | None = None,
    image_size: int | None = None,
    lora_alpha: float | None = None,
    merge_lora: bool = True,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Path:
    """Convert a MedVInT-TD checkpoint, or a MedVInT-TE's, which is known by its keys, and give the folder.

    Args:
        source: `.bin`, `.safetensors`, an index of shards, a folder of them, or a model of the Hub.
        llm: folder, GGUF file or Hub id of the language model (of TE: a folder of its LLaMA or BERT); its weights are
            used where `source` has none.
        out: the folder to make.
        subfolder: of `source`, where it holds several checkpoints.
        tokenizer: folder, GGUF file or Hub id. Default: `llm`.
        num_heads: of the projector. Default: that of the `config.json` beside the weights, else the
            original's: 8 on PMC-CLIP, 12 on CLIP.
        vision_heads: of a CLIP tower. Default: as `num_heads`, else one for every 64 of its width.
        image_size: side of the image in pixels that a PMC-CLIP tower is given. Default: likewise, else 512.
        lora_alpha: default: that of `config.json` or `adapter_config.json` beside the weights, else 32.
        merge_lora: False leaves the adapter apart, in `out/lora`, for vLLM's `--enable-lora`.
        dtype: of every weight. Default: as the word embeddings are.
        progress: called with what is being done and the share that is done, 0 to 1.

    Raises:
        ConversionError: see its kinds.
        DecoderError: `llm` or `tokenizer` is unusable.
        HubError: the Hub does not give one of them.
    """
    tell = progress or (lambda what, share: None)
    out = Path(out)
    if out.exists():
        raise OutputExistsError(f"{out} exists already.")
    tell("Reading the checkpoint", 0.0)
    files = open_source(source, subfolder)
    tensors = open_tensors(files)
    unsaid = Unsaid(num_heads, vision_heads, image_size, lora_alpha)
    if is_te(tensors):
        # It stands on what is here.
        from serving.medvint_te.conversion import convert_te

        if not merge_lora:
            raise ConversionError("MedVInT-TE is served with LoRA merged: leave the adapter in.")
        return convert_te(files, tensors, llm, out, tokenizer=tokenizer, unsaid=unsaid, dtype=dtype, tell=tell)
    decoder = open_decoder(llm, tokenizer)
    keys = sort_keys(list(tensors))
    weights = {name: tensors[key] for name, key in keys.weights.items()}
    if not any(name.startswith("language_model.") for name in weights):
        tell("Reading the language model", 0.1)
        weights |= {f"language_model.{name}": tensor for name, tensor in decoder.read_weights().items()}
    beside = settings_beside(files[0].parent)
    config, assumed = _configuration(beside, decoder, weights, unsaid)
    check_fit(config, keys, weights)
    dtype = dtype or weights[_EMBEDDING].dtype
    adapter = read_adapter(keys, tensors)
    alpha = float(lora_alpha or beside.get("lora_alpha") or LORA_ALPHA)
    if adapter and not (lora_alpha or beside.get("lora_alpha")):
        assumed["lora_alpha"] = alpha
    merged = merge_adapter(adapter, weights, config.text_config, alpha)
    weights |= merged if merge_lora else {}

    hashing = Hashes([*files, *decoder.files])
    with hashing, _one_thread(), new_folder(out, sum(output_sizes(weights, dtype).values())) as folder:
        tell("Writing weights", 0.15)
        write_weights(weights, dtype, folder, lambda share: tell("Writing weights", 0.15 + 0.7 * share))
        if adapter and not merge_lora:
            _write_adapter(adapter, alpha, folder / LORA_FOLDER)
        tell("Writing tokenizer and settings", 0.85)
        _write_settings(config, decoder, dtype, folder)
        tell("Hashing the sources", 0.9)
        sources: dict[str, Any] = {
            "checkpoint": {file.name: hashing.of(file) for file in files},
            "language_model": {file.name: hashing.of(file) for file in decoder.files},
            "tensors": len(tensors),
            "not_needed": sorted(keys.unused),
            "assumed": assumed,
        }
        if adapter:
            sources |= {"lora_alpha": alpha, "lora_merged": merge_lora}
        (folder / SOURCES).write_text(json.dumps(sources, indent=2) + "\n")
    tell("Converted", 1.0)
    return out


def open_source(source: Path | str, subfolder: str | None = None) -> list[Path]:
    """The files of the checkpoint, fetched from the Hub where they are not here.

    Raises:
        ConversionError: there is none, several, or it is broken.
        HubError: the Hub does not give it.
    """
    if hub.is_hub_id(source):
        return find_weights(hub.checkpoint_folder(str(source), subfolder))
    return find_weights(Path(source), subfolder)


def settings_beside(folder: Path) -> dict[str, Any]:
    """What `config.json` (of a MedVInT) and `adapter_config.json` (of PEFT) say."""
    found: dict[str, Any] = {}
    for name in ("adapter_config.json", "config.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            said = json.loads(file.read_text())
        except ValueError as error:
            raise ConversionError(f"{name} beside the weights is not JSON: {error}.") from error
        if name == "adapter_config.json":
            found["lora_alpha"] = said.get("lora_alpha")
        elif said.get("model_type") in MODEL_TYPES:
            found |= said
    return found


def _configuration(
    beside: dict[str, Any], decoder: Decoder, weights: dict[str, StoredTensor], unsaid: Unsaid
) -> tuple[MedVInTConfig, dict[str, Any]]:
    """The configuration, and what of it was taken by default. Takes the head out of `weights` where it is tied."""
    assumed: dict[str, Any] = {}
    if beside:
        vision, projector = beside.get("vision_config", {}), beside.get("projector_config", {})
    shapes = {name: tensor.shape for name, tensor in weights.items() if not name.startswith("language_model.")}
    if "vision_config" not in beside:
        vision = read_vision_config(shapes)
        unsaid_vision = "num_attention_heads" if vision["kind"] == "clip" else "image_size"
        assumed[f"vision_config.{unsaid_vision}"] = vision[unsaid_vision]
    if "projector_config" not in beside:
        projector = read_projector_config(shapes)
        if projector["kind"] == "transformer":
            assumed["projector_config.num_heads"] = projector["num_heads"]
    given = {
        "projector_config.num_heads": unsaid.num_heads,
        "vision_config.num_attention_heads": unsaid.vision_heads,
        "vision_config.image_size": unsaid.image_size,
    }
    for name, value in given.items():
        if value is not None:
            part = vision if name.startswith("vision") else projector
            part[name.split(".")[1]] = value
            assumed.pop(name, None)
    # Without where it was read from: a path of the machine that converted is nobody's business.
    text = {key: value for key, value in decoder.config.to_dict().items() if "name_or_path" not in key}
    config = MedVInTConfig(
        vision_config=vision,
        projector_config=projector,
        text_config=text | {"tie_word_embeddings": _is_tied(decoder, weights)},
        stop_token_id=beside.get("stop_token_id", 1),
        architectures=["MedVInTForConditionalGeneration"],
    )
    if config.tie_word_embeddings:
        weights.pop(_LM_HEAD, None)
    return config, assumed


def _is_tied(decoder: Decoder, weights: dict[str, StoredTensor]) -> bool:
    """Whether the head is the word embeddings: a head of its own in the weights outweighs the configuration."""
    if not decoder.config.tie_word_embeddings or _LM_HEAD not in weights or _EMBEDDING not in weights:
        return decoder.config.tie_word_embeddings
    head, embedding = weights[_LM_HEAD].read(), weights[_EMBEDDING].read()
    return head.shape == embedding.shape and torch.equal(head, embedding.to(head.dtype))


def read_adapter(keys: OriginalKeys, tensors: dict[str, StoredTensor]) -> Adapter:
    """LoRA's pairs.

    Raises:
        MissingKeysError: one of a pair is not there.
    """
    lone = keys.lora_a.keys() ^ keys.lora_b.keys()
    if lone:
        raise MissingKeysError(f"LoRA has only one of its two matrices for {listed(sorted(lone))}.")
    return {module: (tensors[keys.lora_a[module]], tensors[keys.lora_b[module]]) for module in keys.lora_a}


def merge_adapter(
    adapter: Adapter, weights: dict[str, StoredTensor], text_config: Any, alpha: float
) -> dict[str, StoredTensor]:
    """The weights that LoRA changes, with its change.

    Raises:
        UnknownKeysError, ShapeError: it does not fit them.
    """
    for module, (lora_a, lora_b) in adapter.items():
        check_lora(module, lora_a, lora_b, weights, text_config)
    return {
        f"{module}.weight": _merged(weights[f"{module}.weight"], lora_a, lora_b, alpha)
        for module, (lora_a, lora_b) in adapter.items()
    }


def _merged(weight: StoredTensor, lora_a: StoredTensor, lora_b: StoredTensor, alpha: float) -> StoredTensor:
    def merged() -> torch.Tensor:
        base, up, down = weight.read(), lora_b.read().float(), lora_a.read().float()
        result = torch.empty(weight.shape, dtype=weight.dtype)
        # By rows: a whole update in float32 is fresh memory each time, which costs more than the arithmetic.
        for rows in torch.arange(len(base)).split(_MERGED_ROWS):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            result[part] = torch.addmm(base[part].float(), up[part], down, alpha=alpha / len(down))
        return result

    return StoredTensor(weight.shape, weight.dtype, merged)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Moving bytes fills one core; torch's other threads would wait for each other, and the hashes for them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write_adapter(adapter: Adapter, alpha: float, folder: Path) -> None:
    """In PEFT's form, for vLLM and for `PeftModel.from_pretrained`."""
    ranks = {module: lora_a.shape[0] for module, (lora_a, _) in adapter.items()}
    if len(set(ranks.values())) > 1:
        raise ShapeError("LoRA has another rank in each module; vLLM serves one rank only. Merge it instead.")
    folder.mkdir()
    tensors: dict[str, torch.Tensor] = {}
    for module, (lora_a, lora_b) in adapter.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = lora_a.read().clone().contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = lora_b.read().clone().contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    kinds = "|".join(sorted({module.rsplit(".", 1)[1] for module in adapter}))
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "r": next(iter(ranks.values())),
        "lora_alpha": alpha,
        "target_modules": rf"language_model\..*\.({kinds})",  # not those of a CLIP tower, named alike
        "bias": "none",
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _write_settings(config: MedVInTConfig, decoder: Decoder, dtype: torch.dtype, folder: Path) -> None:
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


class Hashes:
    """SHA-256 of files, made beside other work; leaving the context ends it."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._pool = ThreadPoolExecutor(1, "hashes")
        self._stop = threading.Event()
        self._made = {file: self._pool.submit(self._sha256, file) for file in files}

    def __enter__(self) -> "Hashes":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def of(self, file: Path) -> str:
        """Waits until it is known."""
        return self._made[file].result()

    def _sha256(self, file: Path) -> str:
        digest = hashlib.sha256()
        with file.open("rb") as opened:
            while not self._stop.is_set() and (chunk := opened.read(_HASH_CHUNK)):
                digest.update(chunk)
        return digest.hexdigest()
