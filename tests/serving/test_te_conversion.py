"""A MedVInT-TE checkpoint is known by its keys; what does not fit is named, and nothing half-made is left."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from serving import checkpoints
from serving.checkpoints import convert
from serving.conversion_check import DifferentAnswersError, check
from serving.decoders import DecoderError
from serving.medvint_te.configuration import MedVInTTEConfig
from serving.medvint_te.modeling import MedVInTTEForMaskedLM
from serving.medvint_te.original_keys import is_te
from tests.serving.te_models import converted
from tests.serving.te_variants import TEXT, VARIANTS, write_text_encoder
from tests.serving.variants import VARIANTS as TD_VARIANTS

NAME = "te-bert-pmc-clip-2"
ENCODER = "text_encoder.base_model.model."
QUERY = f"{ENCODER}encoder.layer.1.attention.self.query"


@pytest.fixture(scope="module")
def state():
    return VARIANTS[NAME].state()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_text_encoder(tmp_path_factory.mktemp("text") / "bert", "bert")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return converted(NAME, tmp_path_factory.mktemp("model"))


def save(state, folder):
    folder.mkdir()
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def test_known_by_its_keys(state):
    assert is_te(state)
    assert is_te([f"module.{name}" for name in state])
    assert not is_te(TD_VARIANTS["mlp-clip"].state())


def test_everything_is_in_the_folder(model):
    config = MedVInTTEConfig.from_pretrained(model)
    assert (config.fusion_layers, config.vision.layers, config.projector.num_layers) == (2, (1, 1, 1, 1), 2)
    _, report = MedVInTTEForMaskedLM.from_pretrained(model, output_loading_info=True)
    assert not {name for name in report["missing_keys"] if "num_batches" not in name} | set(report["unexpected_keys"])
    said = json.loads((model / "sources.json").read_text())
    assert said["assumed"]["projector_config.num_heads"] == 4
    assert "image_encoder.visual.attnpool.q_proj.weight" in said["not_needed"]
    assert str(Path.home()) not in (model / "config.json").read_text()


def without_encoder(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith((ENCODER, "llama_model."))}


def test_the_encoder_may_come_from_its_own_folder(state, model, encoder, tmp_path):
    own = {
        f"bert.{name.removeprefix(ENCODER)}": tensor
        for name, tensor in state.items()
        if name.startswith(ENCODER) and "lora_" not in name
    }
    folder = write_text_encoder(tmp_path / "bert", "bert")
    torch.save(own, folder / "pytorch_model.bin")
    found = load_file(
        convert(save(without_encoder(state), tmp_path / "source"), folder, tmp_path / "out") / "model.safetensors"
    )
    expected = load_file(model / "model.safetensors")
    assert found.keys() == expected.keys()
    # LoRA was in the checkpoint's own encoder only.
    changed = {name for name, tensor in expected.items() if not torch.equal(found[name], tensor)}
    assert changed and all(".self.query." in name or ".self.value." in name for name in changed)


@pytest.mark.parametrize("name", ["projector.query_embed.weight", "fusion.1.linear2.weight"])
def test_check_notices_a_wrong_weight(name, state, model, encoder, tmp_path):
    wrong = load_file(shutil.copytree(model, tmp_path / "wrong") / "model.safetensors")
    save_file(wrong | {name: wrong[name].roll(1, -1) * 2}, tmp_path / "wrong" / "model.safetensors", {"format": "pt"})
    source = save(without_encoder(state) | encoder_twins(state), tmp_path / "source")
    with pytest.raises(DifferentAnswersError, match="Do not use it"):
        check(source, encoder, tmp_path / "wrong")


def encoder_twins(state):
    """The encoder under the name that it has outside PEFT alone."""
    return {name: tensor for name, tensor in state.items() if name.startswith("llama_model.")}


def without(*keys):
    return lambda state: {name: tensor for name, tensor in state.items() if name not in keys}


def changed(key, tensor):
    return lambda state: state | {key: tensor}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (without("fusion_module.resblocks.1.ln_2.bias"), checkpoints.MissingKeysError, ["fusion.1.norm2.bias"]),
        (without("image_encoder.visual.layer4.0.conv1.weight"), checkpoints.MissingKeysError, ["layer4"]),
        (without("mlm_projection"), checkpoints.MissingKeysError, ["mlm_projection", "text encoder"]),
        (changed("surprise", torch.zeros(2)), checkpoints.UnknownKeysError, ["surprise"]),
        (changed("llamacasual.x", torch.zeros(2)), checkpoints.UnknownKeysError, ["MedVInT-TD"]),
        (changed("text_embed.0.weight", torch.zeros(64, 8)), checkpoints.ShapeError, ["[64, 8]", "[64, 64]"]),
        (changed("mlm_projection", torch.zeros(64, 9)), checkpoints.ShapeError, ["[64, 32000]", "text encoder"]),
        (changed("img_special_token", torch.zeros(1, 1, 64).to(torch.int8)), checkpoints.ShapeError, ["quantised"]),
        (without(f"{QUERY}.lora_A.default.weight"), checkpoints.MissingKeysError, ["one of its two matrices"]),
        (changed(f"{QUERY}.weight", torch.ones(64, 64)), checkpoints.ConversionError, ["only one of the two"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, error, says, state, encoder, tmp_path):
    source = save(change(state), tmp_path / "source")
    with pytest.raises(error) as caught:
        convert(source, encoder, tmp_path / "out")
    assert all(part in str(caught.value) for part in says), caught.value
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_another_encoder_or_heads_that_cannot_be_are_refused(state, encoder, tmp_path):
    source = save(state, tmp_path / "source")
    with pytest.raises(checkpoints.ShapeError, match="7 heads"):
        convert(source, encoder, tmp_path / "out", num_heads=7)
    with pytest.raises(checkpoints.ConversionError, match="merged"):
        convert(source, encoder, tmp_path / "out", merge_lora=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps(TEXT["bert"] | {"model_type": "gpt2"}))
    with pytest.raises(DecoderError, match="gpt2"):
        convert(source, tmp_path / "other", tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Hostile:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("write", [torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))])
def test_hostile_checkpoint_runs_nothing(write, encoder, tmp_path):
    trace = tmp_path / "ran"
    keys = ("qformer_query", "mlm_projection", "fusion_module.resblocks.0.ln_1.bias")
    write({key: Hostile(trace) for key in keys}, tmp_path / "pytorch_model.bin")
    with pytest.raises(checkpoints.UnsafeCheckpointError):
        convert(tmp_path / "pytorch_model.bin", encoder, tmp_path / "out")
    assert not trace.exists() and not (tmp_path / "out").exists()
