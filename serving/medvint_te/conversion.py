"""A MedVInT-TE checkpoint to a folder that transformers loads: the TE half of `serving.checkpoints.convert`.

convert("LLaMA_PMCCLIP/checkpoint-13500", "llama-7b", Path("data/models/te"))     # known by its keys
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from serving.checkpoint_fit import ShapeError, other_language_model, refuse_misfits
from serving.checkpoints import (
    LORA_ALPHA,
    SOURCES,
    Hashes,
    Progress,
    Unsaid,
    merge_adapter,
    read_adapter,
    settings_beside,
)
from serving.converted_folder import new_folder, output_sizes, write_weights
from serving.decoders import Decoder, DecoderError, open_decoder
from serving.medvint.processing import MedVInTImageProcessor
from serving.medvint_te.configuration import ORIGINAL_PROJECTOR, TEXT_CONFIGS, MedVInTTEConfig
from serving.medvint_te.modeling import MedVInTTEForMaskedLM
from serving.medvint_te.original_keys import ENCODER, read_te_config, sort_te_keys
from serving.original_keys import OriginalKeys
from serving.weight_files import ConversionError, StoredTensor

_EMBEDDINGS = ("text_encoder.embed_tokens.weight", "text_encoder.embeddings.word_embeddings.weight")
_BESIDE = ("text_length", "answer_slots", "choice_by", "fusion_heads")
_NO_PART_OF_IT = ("lm_head.", "cls.", "pooler.")


def convert_te(
    files: list[Path],
    tensors: Mapping[str, StoredTensor],
    llm: Path | str,
    out: Path,
    *,
    tokenizer: Path | str | None,
    unsaid: Unsaid,
    dtype: torch.dtype | None,
    tell: Progress,
) -> Path:
    """Convert the tensors of an opened checkpoint and give the folder; arguments as of `serving.checkpoints.convert`.

    Raises:
        ConversionError: see its kinds.
        DecoderError: `llm` or `tokenizer` is unusable.
    """
    encoder = open_decoder(llm, tokenizer, tuple(TEXT_CONFIGS))
    keys, twins = sort_te_keys(list(tensors))
    weights = {name: tensors[key] for name, key in keys.weights.items()}
    adapter = read_adapter(keys, dict(tensors))
    _check_twins(
        weights, {f"{m}.lora_{s}": p[i] for m, p in adapter.items() for i, s in enumerate("AB")}, twins, tensors
    )
    if not any(name.startswith(ENCODER) for name in weights):
        tell("Reading the text encoder", 0.1)
        weights |= _encoder_weights(encoder)
    beside = settings_beside(files[0].parent)
    own_tokenizer = te_tokenizer(encoder)
    config, assumed = _configuration(beside, encoder, own_tokenizer, weights, unsaid)
    _check_fit(config, keys, weights)
    alpha = float(unsaid.lora_alpha or beside.get("lora_alpha") or LORA_ALPHA)
    if adapter and not (unsaid.lora_alpha or beside.get("lora_alpha")):
        assumed["lora_alpha"] = alpha
    dtype = dtype or next(weights[name].dtype for name in _EMBEDDINGS if name in weights)
    weights |= merge_adapter(adapter, weights, config.text_config, alpha)

    hashing = Hashes([*files, *encoder.files])
    with hashing, new_folder(out, sum(output_sizes(weights, dtype).values())) as folder:
        tell("Writing weights", 0.15)
        write_weights(weights, dtype, folder, lambda share: tell("Writing weights", 0.15 + 0.7 * share))
        tell("Writing tokenizer and settings", 0.85)
        config.dtype = dtype
        config.save_pretrained(folder)
        own_tokenizer.save_pretrained(folder)
        MedVInTImageProcessor(config.vision.image_size).save_pretrained(folder)
        tell("Hashing the sources", 0.9)
        sources: dict[str, Any] = {
            "checkpoint": {file.name: hashing.of(file) for file in files},
            "language_model": {file.name: hashing.of(file) for file in encoder.files},
            "tensors": len(tensors),
            "not_needed": sorted(keys.unused),
            "assumed": assumed,
        }
        if adapter:
            sources |= {"lora_alpha": alpha, "lora_merged": True}
        (folder / SOURCES).write_text(json.dumps(sources, indent=2) + "\n")
    tell("Converted", 1.0)
    return out


def _check_twins(
    weights: Mapping[str, StoredTensor],
    lora: Mapping[str, StoredTensor],
    twins: Mapping[str, str],
    tensors: Mapping[str, StoredTensor],
) -> None:
    """The encoder stands in a checkpoint twice; where the two differ nobody can say which one is right."""
    ours = {**weights, **lora}
    for name, key in twins.items():
        if name not in ours:
            continue
        first, second = ours[name].read(), tensors[key].read()
        shared = first.data_ptr() == second.data_ptr() and first.shape == second.shape
        if not shared and not (first.shape == second.shape and torch.equal(first, second)):
            raise ConversionError(
                f"{key} is not what the text encoder has in its place: only one of the two can be right."
            )


def _encoder_weights(encoder: Decoder) -> dict[str, StoredTensor]:
    """Of a language model's own folder: `model.layers...` of LLaMA, `bert.encoder...` or `encoder...` of a BERT."""
    named = {name.removeprefix("model.").removeprefix("bert."): t for name, t in encoder.read_weights().items()}
    return {f"{ENCODER}{name}": tensor for name, tensor in named.items() if not name.startswith(_NO_PART_OF_IT)}


def te_tokenizer(encoder: Decoder) -> PreTrainedTokenizerBase:
    """LLaMA's with the original's ids, or a BERT's with its own.

    Raises:
        DecoderError: it is neither, or does not belong to its model.
    """
    tokenizer = encoder.own_tokenizer()
    ids = tokenizer.get_vocab()
    if len(ids) > encoder.config.vocab_size:
        raise DecoderError(
            f"The tokenizer has {len(ids)} tokens, the model {encoder.config.vocab_size}: they do not belong together."
        )
    if "<s>" in ids:
        if (ids["<s>"], ids.get("</s>")) != (1, 2):
            raise DecoderError("LLaMA's tokenizer has <s> at 1 and </s> at 2; this one does not.")
        tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
        tokenizer.unk_token, tokenizer.pad_token = "<unk>", "<unk>"
    elif None in (tokenizer.cls_token_id, tokenizer.mask_token_id, tokenizer.sep_token_id):
        raise DecoderError("The tokenizer is neither LLaMA's nor a BERT's: it has no token for what an answer masks.")
    return tokenizer


def _configuration(
    beside: dict[str, Any],
    encoder: Decoder,
    tokenizer: PreTrainedTokenizerBase,
    weights: Mapping[str, StoredTensor],
    unsaid: Unsaid,
) -> tuple[MedVInTTEConfig, dict[str, Any]]:
    """The configuration, and what of it was taken by default."""
    shapes = {name: tensor.shape for name, tensor in weights.items() if not name.startswith(ENCODER)}
    read = read_te_config(shapes)
    vision, projector = read["vision_config"], read["projector_config"]
    assumed: dict[str, Any] = {}
    given = {
        "projector_config.num_heads": unsaid.num_heads,
        "vision_config.num_attention_heads": unsaid.vision_heads,
        "vision_config.image_size": unsaid.image_size,
    }
    defaults = {"projector_config.num_heads": ORIGINAL_PROJECTOR["num_heads"]}
    is_clip = vision["kind"] == "clip"
    name = "num_attention_heads" if is_clip else "image_size"
    defaults[f"vision_config.{name}"] = vision[name]
    for name, default in defaults.items():
        part, field = name.split(".")
        value = given[name] or (beside.get(part) or {}).get(field)
        if value is None:
            assumed[name] = default
        read[part][field] = value or default
    projector |= {
        field: value
        for field, value in (beside.get("projector_config") or {}).items()
        if field in ("patch_norm", "position")
    }
    unset = {"text_length": 256, "fusion_heads": 8} if not beside else {}
    told = {name: beside[name] for name in _BESIDE if name in beside}
    return MedVInTTEConfig(**read, **told, **text_settings(encoder, tokenizer)), assumed | unset


def text_settings(encoder: Decoder, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What a configuration says of a text encoder: itself, and the tokens that mask and end an answer."""
    bert = encoder.config.model_type == "bert" and tokenizer.mask_token_id is not None
    return {
        # Without where it was read from: a path of the machine that converted is nobody's business.
        "text_config": {key: value for key, value in encoder.config.to_dict().items() if "name_or_path" not in key},
        "mask_token_id": tokenizer.mask_token_id if bert else 2,
        "end_token_id": tokenizer.sep_token_id if bert else 2,
        "architectures": ["MedVInTTEForMaskedLM"],
    }


def _check_fit(config: MedVInTTEConfig, keys: OriginalKeys, weights: Mapping[str, StoredTensor]) -> None:
    heads = {"queries": config.projector.num_heads, "fusion transformer": config.fusion_heads}
    for what, count in heads.items():
        if config.embed_dim % count:
            raise ShapeError(
                f"{what} of width {config.embed_dim} cannot have {count} heads; try another number of heads."
            )
    vision = config.vision
    if vision.kind == "clip" and vision.hidden_size % max(vision.num_attention_heads, 1):
        raise ShapeError(
            f"An image tower of width {vision.hidden_size} cannot have {vision.num_attention_heads} heads; "
            "try another number of heads."
        )
    with torch.device("meta"):
        model = MedVInTTEForMaskedLM(config)
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    refuse_misfits("MedVInT-TE", expected, keys, weights, lambda *faults: _cause(config, weights, *faults))


def _cause(
    config: MedVInTTEConfig,
    weights: Mapping[str, StoredTensor],
    missing: list[str],
    extra: list[str],
    misshapen: list[str],
) -> str:
    """What tensors that do not fit usually mean."""
    if any(name.startswith(("llamacasual.", "fc_l1.", "query_embed.")) for name in extra):
        return "Parts of MedVInT-TD are among them: two checkpoints in one?"
    if any("lora_" in name for name in extra):
        return "LoRA of a kind that MedVInT-TE does not use (DoRA, or LoRA on embeddings)."
    wrong = missing + misshapen
    if any(name.startswith(("vision_tower.", "projector.input_proj")) for name in wrong):
        return "The image tower is not whole (MedVInT-TE reads PMC-CLIP's layer4 too): an incomplete download?"
    if any(name.startswith(("projector.", "fusion.")) for name in wrong):
        return "Queries or fusion transformer are not whole: an incomplete download?"
    if any(name.startswith(ENCODER) for name in wrong) or "mlm_projection" in " ".join(wrong):
        if config.text_config.model_type == "llama":
            return other_language_model(config.text_config, weights)
        return "Probably another text encoder than it was trained with, or an incomplete download."
    return "Probably a checkpoint of another project, or one that was changed after MedVInT-TE's training."
