"""A converted model with its decoder's matrices in 8 or 4 bits, for machines whose memory is what limits.

    python -m serving.quantise data/models/medvint-td data/models/medvint-td-int4 --bits 4

8: int8 weights, one scale an output row; activations int8, one scale a token. CPUs, and GPUs since Turing.
4: int4 weights, one scale for `GROUP` inputs, activations as they are (Marlin on a GPU).
Rounded to nearest, without calibration; tower, projector, embeddings and output stay as they are.
"""

import argparse
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from safetensors import safe_open
from safetensors.torch import save_file

Bits = Literal[4, 8]
GROUP = 64
MATRIX = re.compile(r"(.*\blayers\.\d+\.(?:self_attn|mlp)\.\w+_proj)\.weight")
DECODER = re.compile(r"(language_model\.)?model\.")


class QuantisationError(Exception):
    """The folder cannot be quantised; the message says why."""


def quantise(model: Path, out: Path, bits: Bits) -> Path:
    """Write a copy of `model` whose decoder is quantised, in the format `compressed-tensors`; returns `out`.

    Raises:
        QuantisationError: no safetensors, no such matrices, quantised already, or a width that `GROUP` does not divide.
        FileExistsError: `out` is there.
    """
    files = sorted(model.glob("*.safetensors"))
    config = json.loads((model / "config.json").read_text())
    if not files or "quantization_config" in config:
        raise QuantisationError(f"{model.name} holds no safetensors, or is quantised already.")
    out.mkdir(parents=True)
    index: dict[str, str] = {}
    found = 0
    for file in files:
        with safe_open(file, "pt") as opened:
            tensors: dict[str, torch.Tensor] = {}
            for name in opened.keys():  # noqa: SIM118
                parts = dict(_quantised(name, opened.get_tensor(name), bits))
                found += name not in parts or len(parts) > 1
                tensors |= parts
        save_file(tensors, out / file.name, metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, file.name)
    if not found:
        raise QuantisationError(f"{model.name} has no decoder whose matrices could be quantised.")
    for file in model.iterdir():
        if file.is_file() and not file.name.endswith((".safetensors", ".safetensors.index.json")):
            shutil.copy(file, out)
    (out / "config.json").write_text(json.dumps(config | {"quantization_config": _settings(bits)}, indent=2) + "\n")
    if len(files) > 1:
        (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return out


def _quantised(name: str, tensor: torch.Tensor, bits: Bits) -> Iterator[tuple[str, torch.Tensor]]:
    matrix = MATRIX.fullmatch(name)
    if not matrix or not DECODER.match(name):
        yield name, tensor
        return
    rows, width = tensor.shape
    group = width if bits == 8 else GROUP
    if width % group:
        raise QuantisationError(f"{name} has {width} inputs, which {group} does not divide.")
    groups = tensor.float().reshape(rows, width // group, group)
    top = 2 ** (bits - 1) - 1
    scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-8) / top
    whole = (groups / scale).round().clamp(-top - 1, top).to(torch.int8).reshape(rows, width)
    if bits == 8:
        yield f"{matrix[1]}.weight", whole
    else:
        yield f"{matrix[1]}.weight_packed", pack_to_int32(whole, bits)
        yield f"{matrix[1]}.weight_shape", torch.tensor([rows, width])
    yield f"{matrix[1]}.weight_scale", scale.squeeze(-1).to(tensor.dtype)


def _settings(bits: Bits) -> dict[str, Any]:
    shared = {"num_bits": bits, "type": "int", "symmetric": True}
    weights = shared | ({"strategy": "channel"} if bits == 8 else {"strategy": "group", "group_size": GROUP})
    activations = shared | {"strategy": "token", "dynamic": True} if bits == 8 else None
    return {
        "quant_method": "compressed-tensors",
        "format": "int-quantized" if bits == 8 else "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["re:.*lm_head", "re:vision_tower.*", "re:projector.*"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": activations}},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bits", type=int, choices=(4, 8), default=8)
    options = parser.parse_args()
    quantise(options.model, options.out, options.bits)


if __name__ == "__main__":
    main()
