"""Whether the tensors of a checkpoint are those of the model that its configuration describes.

`check_fit` names every tensor that is missing, extra or misshapen, and what that usually means.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.original_keys import CLIP_PREFIX, OriginalKeys
from serving.weight_files import ConversionError, StoredTensor

MOST_NAMES = 20
_EMBEDDINGS = ("language_model.model.embed_tokens.weight", "text_encoder.embed_tokens.weight")
_LANGUAGE_LAYER = r"(?:language_model\.model|text_encoder)\.layers\.(\d+)\..+"


class MissingKeysError(ConversionError):
    """Tensors that the model needs are not in the checkpoint."""


class UnknownKeysError(ConversionError):
    """The checkpoint holds tensors that the model has no place for."""


class ShapeError(ConversionError):
    """Tensors have another shape than the model's, or are not floating-point numbers."""


def check_fit(config: MedVInTConfig, keys: OriginalKeys, weights: Mapping[str, StoredTensor]) -> None:
    """Every tensor of the model is there, with its shape, and none is left over.

    Args:
        config: of the model to make.
        keys: of the checkpoint, for the original names in messages.
        weights: by our names.

    Raises:
        MissingKeysError, UnknownKeysError, ShapeError: in this order; the message lists all of them.
    """
    _check_heads(config)
    with torch.device("meta"):
        model = MedVInTForConditionalGeneration(config)
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    if config.tie_word_embeddings:
        del expected["language_model.lm_head.weight"]
    refuse_misfits(
        "MedVInT-TD",
        expected,
        keys,
        weights,
        lambda missing, extra, misshapen: _cause(config, weights, missing, extra, misshapen),
    )


def refuse_misfits(
    model: str,
    expected: Mapping[str, tuple[int, ...]],
    keys: OriginalKeys,
    weights: Mapping[str, StoredTensor],
    cause: Callable[[list[str], list[str], list[str]], str],
) -> None:
    """Compare a checkpoint's tensors with the shapes that a model has.

    Args:
        model: how messages call it.
        expected: shapes by our names.
        cause: what the missing, extra and misshapen tensors probably mean.

    Raises:
        MissingKeysError, UnknownKeysError, ShapeError: as `check_fit`.
    """
    extra = [keys.weights.get(name, name) for name in weights if name not in expected] + keys.unknown
    missing = [name for name in expected if name not in weights]
    misshapen = [
        f"{name} is {list(weights[name].shape)}, not {list(shape)}"
        for name, shape in expected.items()
        if name in weights and weights[name].shape != shape
    ]
    misshapen += [
        f"{name} is {tensor.dtype}, not floating-point (a quantised checkpoint?)"
        for name, tensor in weights.items()
        if name in expected and not tensor.dtype.is_floating_point
    ]
    faults = [
        f"{what}: {listed(names)}."
        for what, names in (
            ("Missing from the checkpoint", missing),
            (f"No place in {model} for", extra),
            ("Of another shape or kind", misshapen),
        )
        if names
    ]
    if faults:
        kind = MissingKeysError if missing else UnknownKeysError if extra else ShapeError
        raise kind(" ".join([*faults, cause(missing, extra, misshapen)]))


def check_lora(
    module: str, lora_a: StoredTensor, lora_b: StoredTensor, weights: Mapping[str, StoredTensor], text_config: Any
) -> None:
    """A [rank, in_features] and B [out_features, rank] fit the weight that they change.

    Raises:
        UnknownKeysError: there is no such weight.
        ShapeError: they do not.
    """
    if f"{module}.weight" not in weights:
        raise UnknownKeysError(f"LoRA changes {module}, which the language model has not.")
    shape = weights[f"{module}.weight"].shape
    if (lora_b.shape[0], lora_a.shape[1]) != shape or lora_a.shape[0] != lora_b.shape[1]:
        raise ShapeError(
            f"LoRA of {module} is {list(lora_b.shape)} x {list(lora_a.shape)}, the weight {list(shape)}. "
            + other_language_model(text_config, weights)
        )


def listed(names: list[str]) -> str:
    """Names for a message."""
    rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + rest


def _check_heads(config: MedVInTConfig) -> None:
    width, heads = config.projector.hidden_size or config.vision.out_channels, config.projector.num_heads
    if config.projector.kind == "transformer" and width % heads:
        raise ShapeError(f"A projector of width {width} cannot have {heads} heads; try another number of heads.")
    vision = config.vision
    if vision.kind == "clip" and vision.hidden_size % vision.num_attention_heads:
        raise ShapeError(
            f"An image tower of width {vision.hidden_size} cannot have {vision.num_attention_heads} heads; "
            "try another number of heads."
        )


def _cause(
    config: MedVInTConfig,
    weights: Mapping[str, StoredTensor],
    missing: list[str],
    extra: list[str],
    misshapen: list[str],
) -> str:
    """What tensors that do not fit usually mean."""
    if any(name.startswith(("visual.", "module.visual.", "vision_model.13.", "vision_model.14.")) for name in extra):
        return "The image tower is whole, with its fourth stage: this is PMC-CLIP itself, not MedVInT-TD."
    if any("text_encoder." in name or "qformer_" in name or "fusion_module." in name for name in extra):
        return "This is MedVInT-TE, the variant with a text encoder, not MedVInT-TD."
    if any(name.startswith("model.layers.") for name in extra):
        return "This is a language model by itself: give it as the language model, and MedVInT-TD as the checkpoint."
    if any("lora_" in name for name in extra):
        return "LoRA of a kind that MedVInT-TD does not use (DoRA, or LoRA on embeddings)."
    wrong = missing + misshapen
    towers = {
        "clip" if name.startswith(CLIP_PREFIX) else "pmc_clip" for name in weights if name.startswith("vision_tower.")
    }
    if any(name.startswith("vision_tower.") for name in wrong):
        if towers and config.vision.kind not in towers:
            return "The checkpoint has another image tower than its config.json says (CLIP in place of PMC-CLIP?)."
        return "The image tower is not whole: an incomplete download, or not a MedVInT-TD checkpoint."
    if any(name.startswith("projector.") for name in wrong):
        return "Probably another projector than config.json says, or an incomplete download."
    if any(name.startswith("language_model.") for name in wrong) or any("llamacasual." in name for name in extra):
        return other_language_model(config.text_config, weights)
    return "Probably a checkpoint of another project, or one that was changed after MedVInT-TD's training."


def other_language_model(given: Any, weights: Mapping[str, StoredTensor]) -> str:
    """Both language models in figures, so that a person sees which is wrong; `given` is LLaMA's configuration."""
    layers = len({match[1] for name in weights if (match := re.fullmatch(_LANGUAGE_LAYER, name))})
    embedding = next((weights[name] for name in _EMBEDDINGS if name in weights), None)
    found = f"{layers} layers"
    if embedding is not None and len(embedding.shape) == 2:
        found += f", width {embedding.shape[1]}, {embedding.shape[0]} tokens"
    return (
        f"The checkpoint's language model has {found}; the one that was given has {given.num_hidden_layers} layers, "
        f"width {given.hidden_size}, {given.vocab_size} tokens, {given.num_attention_heads} heads "
        f"({given.num_key_value_heads} of keys and values). Probably it is not the one that it was trained on, "
        "or the download is incomplete."
    )
