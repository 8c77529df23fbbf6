"""Where a checkpoint and its language model may come from: nested folders, the Hub, any LLaMA folder.

A GGUF file is the demo's way: the fixture `demo_model` is made so.
"""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from serving import hub
from serving.checkpoints import convert
from serving.conversion_check import check
from serving.decoders import DecoderError, open_decoder
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.weight_files import CheckpointNotFoundError, SeveralCheckpointsError, UnsafeCheckpointError, find_weights
from tests.serving.random_checkpoints import TINY, TINY_LLAMA, original_state

CHOICE, BLANK = "VQA_lora_PMC_LLaMA_PMCCLIP/choice/checkpoint-4000", "VQA_lora_PMC_LLaMA_PMCCLIP/blank/checkpoint-1382"
REPOSITORY = "xmcmic/MedVInT-TD"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
GROUPED = TINY_LLAMA | {"num_key_value_heads": 2, "num_hidden_layers": 2, "tie_word_embeddings": True}


@pytest.fixture
def nested(tmp_path):
    """The Hub's repository, with files that are no weights beside them."""
    for folder in (CHOICE, BLANK):
        (tmp_path / "hub" / folder).mkdir(parents=True)
        torch.save({"fc_l1.bias": torch.zeros(2)}, tmp_path / "hub" / folder / "pytorch_model.bin")
        (tmp_path / "hub" / folder / "optimizer.pt").write_bytes(b"0" * 100)
    (tmp_path / "hub" / "README.md").write_text("A card.")
    return tmp_path / "hub"


def test_several_checkpoints_are_listed_with_the_option(nested):
    with pytest.raises(SeveralCheckpointsError, match="--subfolder") as caught:
        find_weights(nested)
    assert CHOICE in str(caught.value) and BLANK in str(caught.value)


@pytest.mark.parametrize("subfolder", [BLANK, BLANK + "/", "VQA_lora_PMC_LLaMA_PMCCLIP/blank"])
def test_subfolder_chooses(subfolder, nested):
    assert find_weights(nested, subfolder) == [nested / BLANK / "pytorch_model.bin"]


def test_a_lone_nested_checkpoint_is_found(nested):
    shutil.rmtree(nested / CHOICE)
    assert find_weights(nested) == [nested / BLANK / "pytorch_model.bin"]


def test_subfolder_without_checkpoint_names_those_there_are(nested):
    with pytest.raises(CheckpointNotFoundError, match=BLANK):
        find_weights(nested, "elsewhere")


@pytest.mark.parametrize(
    ("index", "error"),
    [
        ('{"weight_map": {"a": "../pytorch_model.bin"}}', UnsafeCheckpointError),
        ('{"weight_map": {"a": "/etc/passwd"}}', UnsafeCheckpointError),
        ('{"weight_map": ["a"]}', UnsafeCheckpointError),
        ("not JSON", UnsafeCheckpointError),
        ('{"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}', CheckpointNotFoundError),
    ],
)
def test_index_that_leads_nowhere_is_refused(index, error, tmp_path):
    (tmp_path / "pytorch_model.bin.index.json").write_text(index)
    with pytest.raises(error):
        find_weights(tmp_path)


def cache(folder, repository, files):
    """The Hub's cache as a download leaves it."""
    root = folder / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    shutil.copytree(files, root / "snapshots" / COMMIT)


def test_hub_ids_are_served_from_the_cache(nested, tiny_source, tiny_llm, tiny_models, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    shutil.copy(tiny_source / "pytorch_model.bin", nested / BLANK)
    cache(tmp_path / "cache", REPOSITORY, nested)
    cache(tmp_path / "cache", "chaoyi-wu/PMC_LLAMA_7B", tiny_llm)
    with pytest.raises(SeveralCheckpointsError):
        convert(REPOSITORY, "chaoyi-wu/PMC_LLAMA_7B", tmp_path / "out")
    folder = convert(REPOSITORY, "chaoyi-wu/PMC_LLAMA_7B", tmp_path / "out", subfolder=BLANK, num_heads=4)
    expected = load_file(tiny_models["merged"] / "model.safetensors")
    found = load_file(folder / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("what", ["checkpoint", "language model"])
def test_without_network_and_cache_it_is_said(what, tiny_source, tiny_llm, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    source, llm = (REPOSITORY, tiny_llm) if what == "checkpoint" else (tiny_source, "chaoyi-wu/PMC_LLAMA_7B")
    with pytest.raises(hub.HubError, match="cannot be reached"):
        convert(source, llm, tmp_path / "out")


class Hub(BaseHTTPRequestHandler):
    """The three requests of a download, answered from `folder`."""

    folder: Path
    asked: list[str]

    def do_GET(self):
        path = self.path.split("?")[0]
        files = {str(file.relative_to(self.folder)): file for file in self.folder.rglob("*") if file.is_file()}
        if path.startswith(f"/{REPOSITORY}/resolve/"):
            name = path.split(f"{COMMIT}/")[1]
            self.asked.append(name)
            self.answer(files[name].read_bytes(), {"ETag": f'"{name.replace("/", "-")}"', "X-Repo-Commit": COMMIT})
        elif path.startswith(f"/api/models/{REPOSITORY}/tree"):
            tree = [{"type": "file", "path": n, "size": f.stat().st_size, "oid": "0"} for n, f in files.items()]
            self.answer(json.dumps(tree).encode())
        elif path.startswith(f"/api/models/{REPOSITORY}"):
            siblings = [{"rfilename": name} for name in files]
            self.answer(json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}).encode())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def answer(self, body, headers=None):
        self.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def local_hub(nested, tmp_path, monkeypatch):
    Hub.folder, Hub.asked = nested, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield Hub
    server.shutdown()
    server.server_close()


def test_only_the_chosen_checkpoint_is_downloaded(local_hub):
    folder = hub.checkpoint_folder(REPOSITORY, BLANK)
    assert [path.name for path in find_weights(folder)] == ["pytorch_model.bin"]
    assert set(local_hub.asked) == {f"{BLANK}/pytorch_model.bin"}


def test_nothing_is_downloaded_before_one_is_chosen(local_hub):
    with pytest.raises(SeveralCheckpointsError, match=BLANK):
        hub.checkpoint_folder(REPOSITORY)
    assert local_hub.asked == []


def test_a_name_that_the_hub_does_not_know_is_said(local_hub):
    with pytest.raises(hub.HubError, match="no model of that name"):
        hub.checkpoint_folder("xmcmic/MedVInT-TX")


def without_language_model(state):
    return {key: t for key, t in state.items() if "llamacasual" not in key or "lora_" in key}


@pytest.fixture
def grouped_llm(tiny_llm, tmp_path):
    """A LLaMA with grouped-query attention and tied embeddings, and weights of its own."""
    folder = tmp_path / "grouped"
    shutil.copytree(tiny_llm, folder)
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig(**GROUPED)).save_pretrained(folder, max_shard_size="10MB")
    return folder


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_language_models_own_weights_are_used(layout, grouped_llm, tmp_path):
    if layout == "bin":
        files = sorted(grouped_llm.glob("model-*.safetensors"))
        states = [load_file(file) for file in files]
        names = [file.with_suffix(".bin").name.replace("model", "pytorch_model") for file in files]
        for state, name in zip(states, names, strict=True):
            torch.save(state, grouped_llm / name)
        weight_map = {name: file for state, file in zip(states, names, strict=True) for name in state}
        (grouped_llm / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
        for file in [*files, grouped_llm / "model.safetensors.index.json"]:
            file.unlink()
    config = MedVInTConfig(**TINY | {"text_config": GROUPED})
    source = tmp_path / "source.bin"
    torch.save(without_language_model(original_state(config)), source)
    folder = convert(source, grouped_llm, tmp_path / "out", num_heads=4)
    written = MedVInTConfig.from_pretrained(folder)
    assert written.text_config.num_key_value_heads == 2
    assert written.tie_word_embeddings
    compared = check(source, grouped_llm, folder)
    assert compared.equal_tokens == compared.tokens
    assert compared.largest_difference < 1e-3


def test_a_head_of_its_own_outweighs_a_configuration_that_ties_it(tiny_source, tiny_state, tiny_llm, tmp_path):
    llm = tmp_path / "llm"
    shutil.copytree(tiny_llm, llm)
    LlamaConfig(**TINY_LLAMA | {"tie_word_embeddings": True}).save_pretrained(llm)
    folder = convert(tiny_source, llm, tmp_path / "out", num_heads=4)
    assert not MedVInTConfig.from_pretrained(folder).tie_word_embeddings
    model = MedVInTForConditionalGeneration.from_pretrained(folder)
    assert torch.equal(model.language_model.lm_head.weight, tiny_state["llamacasual.base_model.model.lm_head.weight"])


def test_weights_that_nobody_has_are_asked_for(tiny_state, tiny_llm, tmp_path):
    torch.save(without_language_model(tiny_state), tmp_path / "source.bin")
    with pytest.raises(DecoderError, match="has no weights"):
        convert(tmp_path / "source.bin", tiny_llm, tmp_path / "out", num_heads=4)


def test_tokenizer_may_lie_elsewhere(tiny_llm, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(tiny_llm / "config.json", bare)
    with pytest.raises(DecoderError, match="no tokenizer"):
        open_decoder(bare).tokenizer(1)
    assert open_decoder(bare, tiny_llm).tokenizer(1).bos_token_id == 1


@pytest.mark.parametrize("config", ['{"model_type": "gpt2"}', "not JSON", '{"vocab_size": 7}'])
def test_configuration_that_is_no_llamas_is_refused(config, tmp_path):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(DecoderError):
        open_decoder(tmp_path)


def test_first_conversions_of_llama_are_read(tiny_llm, tmp_path):
    """Their config.json: old names, a padding id of -1, and special ids that are not the tokenizer's."""
    llm = tmp_path / "llm"
    shutil.copytree(tiny_llm, llm)
    old = {"architectures": ["LLaMAForCausalLM"], "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}
    (llm / "config.json").write_text(
        json.dumps(TINY_LLAMA | old | {"model_type": "llama", "max_sequence_length": 2048})
    )
    decoder = open_decoder(llm)
    assert decoder.tokenizer(1).bos_token_id == 1
    assert decoder.config.hidden_size == TINY_LLAMA["hidden_size"]
