"""What a person may hand to `medvint convert`, and what is said when it does not fit."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoTokenizer

import prompts
from serving import checkpoints
from serving.checkpoints import convert
from serving.decoders import DecoderError, open_decoder
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import MedVInTForConditionalGeneration
from tests.serving.random_checkpoints import TINY, original_state, smollm2

QUERY_WEIGHT = "llamacasual.base_model.model.model.layers.1.self_attn.q_proj.base_layer.weight"


def weights(folder):
    return load_file(folder / "model.safetensors")


def save(state, folder):
    folder.mkdir()
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def test_everything_is_in_the_folder(tiny_models):
    folder = tiny_models["merged"]
    config = MedVInTConfig.from_pretrained(folder)
    assert config.projector.num_queries == 8
    assert config.vision.layers == (1, 1, 1)
    assert config.vision.image_size == 512
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 1, 0)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [1, 2]
    assert AutoImageProcessor.from_pretrained(folder).image_size == 512
    sources = json.loads((folder / "sources.json").read_text())
    assert len(sources["checkpoint"]["pytorch_model.bin"]) == 64
    assert str(Path.home()) not in (folder / "config.json").read_text()


def test_transformers_loads_every_tensor(tiny_models):
    _, report = MedVInTForConditionalGeneration.from_pretrained(tiny_models["merged"], output_loading_info=True)
    missing = {key for key in report["missing_keys"] if not key.endswith("num_batches_tracked")}
    assert not missing
    assert not report["unexpected_keys"]


def old_peft(state, folder):
    rename = {key: key.replace(".base_layer.", ".").replace(".default.", ".") for key in state}
    return save({rename[key]: tensor for key, tensor in state.items()}, folder)


def sharded_bin(state, folder):
    folder.mkdir()
    names = list(state)
    halves = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for file, keys in halves.items():
        torch.save({key: state[key] for key in keys}, folder / file)
    weight_map = {key: file for file, keys in halves.items() for key in keys}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def safetensors(state, folder):
    folder.mkdir()
    save_file({key: tensor.clone().contiguous() for key, tensor in state.items()}, folder / "model.safetensors")
    return folder


def single_file(state, folder):
    return save(state, folder) / "pytorch_model.bin"


def old_buffers(state, folder):
    buffers = {"llamacasual.base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    return save({key: t for key, t in state.items() if "num_batches_tracked" not in key} | buffers, folder)


@pytest.mark.parametrize("layout", [old_peft, sharded_bin, safetensors, single_file, old_buffers])
def test_every_layout_gives_the_same_weights(layout, tiny_state, tiny_models, tiny_llm, tmp_path):
    folder = convert(layout(tiny_state, tmp_path / "source"), tiny_llm, tmp_path / "out", num_heads=4)
    expected = weights(tiny_models["merged"])
    found = weights(folder)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_mlp_projector_is_read_from_the_weights(tiny_llm, tmp_path):
    state = original_state(MedVInTConfig(**TINY | {"projector_config": {"kind": "mlp"}}))
    folder = convert(save(state, tmp_path / "source"), tiny_llm, tmp_path / "out")
    assert MedVInTConfig.from_pretrained(folder).projector.kind == "mlp"


def without(*keys):
    return lambda state: {key: tensor for key, tensor in state.items() if key not in keys}


def reshaped(key, shape):
    return lambda state: state | {key: torch.zeros(shape)}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (without("fc_l1.weight"), checkpoints.MissingKeysError, ["projector.fc_l1.weight", "projector"]),
        (without(QUERY_WEIGHT), checkpoints.MissingKeysError, ["layers.1.self_attn.q_proj", "language model"]),
        (reshaped("surprise.weight", (2,)), checkpoints.UnknownKeysError, ["surprise.weight"]),
        (reshaped("vision_model.13.0.conv1.weight", (2,)), checkpoints.UnknownKeysError, ["fourth stage"]),
        (reshaped("fc_l2.weight", (96, 256)), checkpoints.ShapeError, ["[96, 256]", "[128, 256]"]),
        (
            without(QUERY_WEIGHT.replace("base_layer", "lora_A.default")),
            checkpoints.MissingKeysError,
            ["one of its two matrices", "layers.1.self_attn.q_proj"],
        ),
    ],
)
def test_what_does_not_fit_is_named(change, error, says, tiny_state, tiny_llm, tmp_path):
    source = save(change(tiny_state), tmp_path / "source")
    with pytest.raises(error) as caught:
        convert(source, tiny_llm, tmp_path / "out", num_heads=4)
    assert all(part in str(caught.value) for part in says)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_heads_that_cannot_be_are_refused(tiny_source, tiny_llm, tmp_path):
    with pytest.raises(checkpoints.ShapeError, match="12 heads"):
        convert(tiny_source, tiny_llm, tmp_path / "out", num_heads=12)


class Hostile:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("how", ["torch", "pickle", "truncated", "text"])
def test_hostile_or_broken_file_runs_nothing(how, tiny_source, tiny_llm, tmp_path):
    trace = tmp_path / "ran"
    file = tmp_path / "pytorch_model.bin"
    if how == "torch":
        torch.save({"fc_l1.weight": Hostile(trace)}, file)
    elif how == "pickle":
        file.write_bytes(pickle.dumps({"fc_l1.weight": Hostile(trace)}))
    elif how == "truncated":
        file.write_bytes((tiny_source / "pytorch_model.bin").read_bytes()[:10_000])
    else:
        file.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(checkpoints.UnsafeCheckpointError, match="Nothing of it was run"):
        convert(file, tiny_llm, tmp_path / "out")
    assert not trace.exists()


def test_an_error_on_the_way_leaves_nothing(tiny_source, tiny_llm, tmp_path):
    def fail(what, share):
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tiny_source, tiny_llm, tmp_path / "out", num_heads=4, progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_is_healed_by_the_next(tiny_source, tiny_llm, tmp_path):
    out = tmp_path / "out"
    code = f"""
import os, signal
from pathlib import Path
from serving.checkpoints import convert
def kill(what, share):
    if share > 0.5: os.kill(os.getpid(), signal.SIGKILL)
convert(Path({str(tiny_source)!r}), Path({str(tiny_llm)!r}), Path({str(out)!r}), num_heads=4, progress=kill)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == -9
    assert not out.exists()
    convert(tiny_source, tiny_llm, out, num_heads=4)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_there_already_is_kept(tiny_source, tiny_llm, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(checkpoints.OutputExistsError):
        convert(tiny_source, tiny_llm, tmp_path / "out")


@pytest.mark.parametrize("source", ["nowhere", "."])
def test_no_checkpoint_is_said(source, tiny_llm, tmp_path):
    with pytest.raises(checkpoints.CheckpointNotFoundError):
        convert(tmp_path / source, tiny_llm, tmp_path / "out")


def test_decoder_of_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(DecoderError, match="gpt2"):
        open_decoder(tmp_path)


def test_package_carries_the_demo_decoder():
    config = open_decoder(smollm2()).config
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (576, 30, 49152)


def test_demo_is_whole_and_not_made_twice(demo_model):
    from serving.demo import assemble

    before = (demo_model / "config.json").stat().st_mtime_ns
    assert assemble(demo_model) == demo_model
    assert (demo_model / "config.json").stat().st_mtime_ns == before
    assert (demo_model / "chat_template.jinja").read_text() == prompts.load("medvint_chat").text
