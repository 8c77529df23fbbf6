"""What a person may hand to `medvint convert`, and what is said when it does not fit."""

import json
import pickle
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

EMBEDDING = "llamacasual.base_model.model.model.embed_tokens.weight"
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


def training_loop(state, folder):
    return save({"epoch": 3, "state_dict": {f"module.{key}": tensor for key, tensor in state.items()}}, folder)


def old_zip(state, folder):
    folder.mkdir()
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    return folder


@pytest.mark.parametrize(
    "layout", [old_peft, sharded_bin, safetensors, single_file, old_buffers, training_loop, old_zip]
)
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


def quantised(key):
    return lambda state: state | {key: state[key].to(torch.int8)}


def several_faults(state):
    changed = state | {"surprise": torch.zeros(2), "fc_l2.weight": torch.zeros(96, 256)}
    return {key: tensor for key, tensor in changed.items() if key != "fc_l1.bias"}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (without("fc_l1.weight"), checkpoints.MissingKeysError, ["projector.fc_l1.weight", "projector"]),
        (without(QUERY_WEIGHT), checkpoints.MissingKeysError, ["layers.1.self_attn.q_proj", "language model"]),
        (reshaped("surprise.weight", (2,)), checkpoints.UnknownKeysError, ["surprise.weight"]),
        (reshaped("vision_model.13.0.conv1.weight", (2,)), checkpoints.UnknownKeysError, ["fourth stage"]),
        (reshaped("module.visual.conv1.weight", (2,)), checkpoints.UnknownKeysError, ["PMC-CLIP itself"]),
        (reshaped("text_encoder.x", (2,)), checkpoints.UnknownKeysError, ["MedVInT-TE"]),
        (
            reshaped(QUERY_WEIGHT.replace("base_layer.weight", "lora_magnitude_vector"), (2,)),
            checkpoints.UnknownKeysError,
            ["DoRA"],
        ),
        (reshaped("fc_l2.weight", (96, 256)), checkpoints.ShapeError, ["[96, 256]", "[128, 256]", "projector"]),
        (reshaped(EMBEDDING, (999, 64)), checkpoints.ShapeError, ["width 64, 999 tokens", "width 128, 32000 tokens"]),
        (quantised("fc_l1.weight"), checkpoints.ShapeError, ["fc_l1.weight is torch.int8", "quantised"]),
        (several_faults, checkpoints.MissingKeysError, ["fc_l1.bias", "surprise", "[96, 256]"]),
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


def test_formats_may_be_mixed_and_one_is_written(tiny_state, tiny_llm, tmp_path):
    formats = [torch.float16, torch.bfloat16, torch.float32]
    mixed = {
        key: tensor.to(formats[number % 3]) if tensor.is_floating_point() else tensor
        for number, (key, tensor) in enumerate(tiny_state.items())
    }
    mixed[EMBEDDING] = mixed[EMBEDDING].half()
    source = save(mixed, tmp_path / "source")
    found = weights(convert(source, tiny_llm, tmp_path / "out", num_heads=4))
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}
    found = weights(convert(source, tiny_llm, tmp_path / "bf16", num_heads=4, dtype=torch.bfloat16))
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}


def test_a_number_that_the_format_cannot_hold_is_named(tiny_state, tiny_llm, tmp_path):
    source = save(tiny_state | {"fc_l1.bias": torch.full((256,), 1e6)}, tmp_path / "source")
    with pytest.raises(checkpoints.PrecisionError, match=r"fc_l1.bias has values up to 1e\+06, which float16"):
        convert(source, tiny_llm, tmp_path / "out", num_heads=4, dtype=torch.float16)
    assert not (tmp_path / "out").exists()


def test_what_the_weights_do_not_say_has_the_originals_value_and_an_option(tiny_source, tiny_llm, tmp_path):
    as_original = convert(tiny_source, tiny_llm, tmp_path / "out")
    assert json.loads((as_original / "sources.json").read_text())["assumed"] == {
        "vision_config.image_size": 512,
        "projector_config.num_heads": 8,
        "lora_alpha": 32,
    }
    said = convert(tiny_source, tiny_llm, tmp_path / "said", num_heads=4, image_size=256, lora_alpha=16)
    config = MedVInTConfig.from_pretrained(said)
    assert (config.projector.num_heads, config.vision.image_size) == (4, 256)
    assert json.loads((said / "sources.json").read_text())["assumed"] == {}
    query = "language_model.model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(weights(as_original)[query], weights(said)[query])


def test_heads_that_cannot_be_are_refused(tiny_source, tiny_llm, tmp_path):
    with pytest.raises(checkpoints.ShapeError, match="12 heads"):
        convert(tiny_source, tiny_llm, tmp_path / "out", num_heads=12)


class Hostile:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("how", ["torch", "pickle", "truncated", "text", "safetensors", "no numbers", "sparse"])
def test_hostile_or_broken_file_runs_nothing(how, tiny_source, tiny_llm, tmp_path):
    trace = tmp_path / "ran"
    file = tmp_path / "pytorch_model.bin"
    if how == "torch":
        torch.save({"fc_l1.weight": Hostile(trace)}, file)
    elif how == "pickle":
        file.write_bytes(pickle.dumps({"fc_l1.weight": Hostile(trace)}))
    elif how == "safetensors":
        file = file.with_name("model.safetensors")
        file.write_bytes(pickle.dumps({"fc_l1.weight": Hostile(trace)}))
    elif how == "no numbers":
        torch.save({"fc_l1.weight": torch.empty(2, device="meta")}, file)
    elif how == "sparse":
        torch.save({"fc_l1.weight": torch.eye(2).to_sparse()}, file)
    elif how == "truncated":
        file.write_bytes((tiny_source / "pytorch_model.bin").read_bytes()[:10_000])
    else:
        file.write_text("version https://git-lfs.github.com/spec/v1\n")
    says = "dense tensors" if how in {"no numbers", "sparse"} else "Nothing of it was run"
    with pytest.raises(checkpoints.UnsafeCheckpointError, match=says):
        convert(file, tiny_llm, tmp_path / "out")
    assert not trace.exists()


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
