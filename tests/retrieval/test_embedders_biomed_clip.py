"""BiomedCLIP's form: open_clip's vectors without open_clip, and what is another model is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from retrieval.embedders import ClipEmbedder
from retrieval.errors import WeightsMissingError
from tests.retrieval import random_biomed_clip as tiny

REFERENCE = json.loads((Path(__file__).parent / "reference" / "biomed_clip.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("biomed") / "model")


@pytest.mark.parametrize("pickled", [True, False])
def test_its_vectors_are_open_clip_s(tmp_path, pickled):
    embedder = ClipEmbedder(tiny.folder(tmp_path / "model", pickled=pickled))
    texts, images = embedder.embed_texts(list(tiny.TEXTS)), embedder.embed_images(tiny.pictures())
    assert texts == pytest.approx(np.array(REFERENCE["texts"]), abs=5e-6)
    assert images[0] == pytest.approx(np.array(REFERENCE["images"][0]), abs=5e-6)
    # A picture that is scaled may differ by one level in a few of its values.
    assert images == pytest.approx(np.array(REFERENCE["images"]), abs=5e-4)
    for vectors in (texts, images):
        assert (vectors @ vectors.T - np.eye(len(vectors))).max() < 0.99, "the test would not notice another input"
    assert embedder.dim == tiny.DIM


def test_a_linear_text_projection_is_read_too(tmp_path, folder):
    other = shutil.copytree(folder, tmp_path / "model")
    state = tiny.state()
    first, second = state.pop("text.proj.0.weight"), state.pop("text.proj.2.weight")
    torch.save(state | {"text.proj.weight": second @ first}, other / "open_clip_pytorch_model.bin")
    vectors = ClipEmbedder(other).embed_texts(list(tiny.TEXTS))
    assert vectors.shape == (len(tiny.TEXTS), tiny.DIM)
    assert vectors != pytest.approx(np.array(REFERENCE["texts"]), abs=1e-3)


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "1"])
@pytest.mark.parametrize("size", [(40, 20), (1, 1), (20_000, 1)])
def test_pictures_of_every_kind_become_unit_vectors(folder, mode, size):
    vectors = ClipEmbedder(folder).embed_images([Image.new(mode, size)])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def _drop(name: str):
    return lambda folder: (folder / name).unlink()


def _write(name: str, content: str):
    return lambda folder: (folder / name).write_text(content)


def _state(**changes: torch.Tensor | None):
    def harm(folder: Path) -> None:
        state = {name: tensor for name, tensor in {**tiny.state(), **changes}.items() if tensor is not None}
        torch.save(state, folder / "open_clip_pytorch_model.bin")

    return harm


def _settings(part: str, **changes: str):
    def harm(folder: Path) -> None:
        settings = json.loads(json.dumps(tiny.SETTINGS))
        settings["model_cfg"][part] |= changes
        (folder / "open_clip_config.json").write_text(json.dumps(settings))

    return harm


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_drop("open_clip_pytorch_model.bin"), "hf download"),
        (_drop("vocab.txt"), "tokenizer|vocab"),
        (_write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n"), "tokenizer of 6 tokens"),
        (_write("open_clip_config.json", "{"), "not open_clip's description"),
        (_write("open_clip_config.json", "[]"), "not open_clip's description"),
        (_write("open_clip_pytorch_model.bin", "nothing"), "open_clip_pytorch_model.bin"),
        (_settings("vision_cfg", timm_model_name="convnext_base"), "convnext_base"),
        (_settings("vision_cfg", timm_pool="map"), "'map'"),
        (_settings("text_cfg", hf_pooler_type="mean_pooler"), "mean_pooler"),
        (_state(**{"visual.trunk.norm_pre.weight": torch.zeros(128)}), "norm_pre"),
        (_state(**{"visual.trunk.norm.weight": None}), "Missing: vision.blocks.norm.weight"),
        (_state(**{"visual.head.proj.weight": None}), "vision.projection.weight"),
        (_state(**{"text.proj.2.weight": None}), "text_projection"),
        (_state(**{"visual.trunk.pos_embed": torch.zeros(1, 10, 64)}), "size mismatch"),
    ],
)
def test_what_is_another_model_is_named(folder, tmp_path, harm, words):
    copy = shutil.copytree(folder, tmp_path / "model")
    harm(copy)
    with pytest.raises(WeightsMissingError, match=words):
        ClipEmbedder(copy).embed_texts(["chest"])
