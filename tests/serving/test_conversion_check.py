"""`medvint convert --check`: right conversions agree with their source to rounding, wrong ones are told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from serving.conversion_check import DifferentAnswersError, check
from tests.serving import variants

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "new_peft", "merge_lora"),
    [(name, number % 2 == 0, number % 3 != 0) for number, name in enumerate(variants.VARIANTS)],
)
def test_every_variant_answers_as_its_source(name, new_peft, merge_lora, variant_model, tmp_path, tiny_llm):
    variant = variants.VARIANTS[name]
    source = tmp_path / "source.bin"
    torch.save(variant.state(new_peft=new_peft) | variants.original_buffers(variant.config), source)
    compared = check(source, tiny_llm, variant_model(name, new_peft=new_peft, merge_lora=merge_lora))
    assert compared.tokens == compared.equal_tokens == 48
    assert compared.largest_difference < 1e-3
    assert compared.dtype == "float32"


@pytest.mark.parametrize(
    "tensor",
    [
        "projector.query_embed.weight",
        "vision_tower.layer2.0.bn1.running_var",
        "language_model.model.layers.1.self_attn.q_proj.weight",
    ],
)
def test_a_wrong_weight_is_noticed(tensor, tiny_models, tiny_source, tiny_llm, tmp_path):
    for file in tiny_models["merged"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    state[tensor] = state[tensor].roll(1, 0) * 2
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DifferentAnswersError, match="Do not use it"):
        check(tiny_source, tiny_llm, tmp_path)


def test_the_command_converts_and_checks(tiny_source, tiny_llm, tmp_path):
    out = tmp_path / "out"
    command = ["convert", tiny_source, "--llm", tiny_llm, "--out", out, "--heads", "4", "--check", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "assistant", *map(str, command)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["model"] == str(out)
    assert told["check"]["equal_tokens"] == told["check"]["tokens"]
    assert "largest |difference of log-probability|" in done.stderr
    assert "vision_config.image_size 512, lora_alpha 32" in done.stderr.replace("\n", " ")
