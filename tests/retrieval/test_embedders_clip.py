"""CLIP-class models of transformers: tiny random ones, saved as their makers save them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    SiglipConfig,
    SiglipModel,
    SiglipTokenizer,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from retrieval.embedders import ClipEmbedder
from retrieval.errors import WeightsMissingError
from tests.serving.variants import tokenizer_file

SIZE = 32
LENGTH = 16
TEXTS = ["Chest radiograph", "MRI", "a left pneumothorax " * 20, ""]
LAYERS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
PICTURE = {**LAYERS, "image_size": SIZE, "patch_size": 16}


def clip(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    letters = [chr(number) for number in range(33, 127)]
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    words = {
        **LAYERS, "vocab_size": len(tokens), "max_position_embeddings": LENGTH, "bos_token_id": len(tokens) - 2,
        "eos_token_id": len(tokens) - 1,
    }  # fmt: skip
    model = CLIPModel(CLIPConfig(text_config=words, vision_config=PICTURE, projection_dim=20))
    _spread(model).save_pretrained(folder)
    CLIPTokenizer(
        {token: number for number, token in enumerate(tokens)}, merges=[], model_max_length=LENGTH
    ).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}).save_pretrained(
        folder
    )
    return folder


def siglip(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    tokenizer = SiglipTokenizer(str(tokenizer_file()), model_max_length=LENGTH)
    words = {**LAYERS, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH}
    _spread(SiglipModel(SiglipConfig(text_config=words, vision_config=PICTURE))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(folder)
    return folder


def _spread(model: torch.nn.Module) -> torch.nn.Module:
    """Weights large enough that other pixels or tokens give other vectors."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return model.eval()


MAKERS = {"clip": clip, "siglip": siglip}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    return {kind: make(tmp_path_factory.mktemp(kind) / "model") for kind, make in MAKERS.items()}


@pytest.fixture(scope="module", params=MAKERS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def model(models, kind) -> Path:
    return models[kind]


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(3)
    return [
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in ((32, 32), (70, 41), (30, 64))
    ]


def pixels(kind: str, image: Image.Image) -> torch.Tensor:
    """What the model was trained on: CLIP cuts the middle out, SigLIP squashes."""
    if kind == "clip":
        mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
        scaled = image.resize([int(SIZE * side / min(image.size)) for side in image.size], Image.Resampling.BICUBIC)
        left, top = (scaled.width - SIZE) // 2, (scaled.height - SIZE) // 2
        square = scaled.crop((left, top, left + SIZE, top + SIZE))
    else:
        mean = std = np.array([0.5, 0.5, 0.5])
        square = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return torch.from_numpy((np.asarray(square) / 255 - mean) / std).float().permute(2, 0, 1)[None]


@torch.no_grad()
def test_its_vectors_are_the_model_s(kind, model):
    network = {"clip": CLIPModel, "siglip": SiglipModel}[kind].from_pretrained(model)
    tokenizer = {"clip": CLIPTokenizer, "siglip": SiglipTokenizer}[kind].from_pretrained(model)
    embedder = ClipEmbedder(model)
    found = {"text": embedder.embed_texts(TEXTS), "image": embedder.embed_images(pictures())}
    wanted: dict[str, list[torch.Tensor]] = {"text": [], "image": []}
    for text in TEXTS:
        ids = tokenizer(text, truncation=True, max_length=LENGTH)["input_ids"]
        if kind == "siglip":
            ids += [tokenizer.pad_token_id] * (LENGTH - len(ids))
        output = network(input_ids=torch.tensor([ids]), pixel_values=torch.zeros(1, 3, SIZE, SIZE))
        wanted["text"].append(normalize(output.text_embeds, dim=-1))
    for image in pictures():
        output = network(input_ids=torch.tensor([ids]), pixel_values=pixels(kind, image))
        wanted["image"].append(normalize(output.image_embeds, dim=-1))
    for side, vectors in found.items():
        assert vectors.dtype == np.float32
        assert vectors == pytest.approx(torch.cat(wanted[side]).numpy(), abs=2e-5)
        assert (vectors @ vectors.T - np.eye(len(vectors))).max() < 0.99, "the test would not notice another input"
    assert embedder.dim == found["text"].shape[1] == found["image"].shape[1]


def test_a_moved_model_is_the_same_space_and_a_retrained_one_another(kind, model, tmp_path):
    embedder = ClipEmbedder(model)
    assert ClipEmbedder(shutil.copytree(model, tmp_path / "moved")).name == embedder.name == embedder.image_space
    assert ClipEmbedder(MAKERS[kind](tmp_path / "retrained", seed=1)).name != embedder.name


def test_pickled_weights_are_read_too(kind, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert ClipEmbedder(folder).embed_texts(TEXTS) == pytest.approx(ClipEmbedder(model).embed_texts(TEXTS), abs=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16", "1"])
@pytest.mark.parametrize("size", [(40, 20), (1, 1), (1, 20_000), (20_000, 1)])
def test_pictures_of_every_kind_become_unit_vectors(models, mode, size):
    for folder in models.values():
        embedder = ClipEmbedder(folder)
        vectors = embedder.embed_images([Image.new(mode, size)] * 2)
        assert vectors.shape == (2, embedder.dim)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("text", ["", "\x00\ud800😀", "x" * 20_000, "<|endoftext|> </s>"])
def test_texts_of_every_kind_become_unit_vectors(model, text):
    assert np.linalg.norm(ClipEmbedder(model).embed_texts([text]), axis=1) == pytest.approx(1, abs=1e-5)


def test_many_at_once_are_as_one_by_one(model):
    embedder = ClipEmbedder(model)
    alone = embedder.embed_images(pictures())
    assert embedder.embed_images(pictures() * 8) == pytest.approx(np.tile(alone, (8, 1)), abs=1e-5)
    assert embedder.embed_texts([]).shape == embedder.embed_images([]).shape == (0, embedder.dim)


def _nothing(folder: Path) -> None:
    shutil.rmtree(folder)


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _without_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _other_shape(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings["vision_config"]["hidden_size"] = 64
    (folder / "config.json").write_text(json.dumps(settings))


def _cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-50])


def _open_clip(folder: Path) -> None:
    (folder / "config.json").rename(folder / "open_clip_config.json")
    (folder / "model.safetensors").rename(folder / "open_clip_pytorch_model.bin")


def _own_code(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "x", "auto_map": {"AutoConfig": "x.X", "AutoModel": "x.Y"}}')
    (folder / "x.py").write_text("raise SystemExit('this ran')")


def _no_clip(folder: Path) -> None:
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(**small, vocab_size=300)).save_pretrained(folder)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_nothing, "There is no folder"),
        (_without("model.safetensors"), "model.safetensors"),
        (_without("config.json"), "cannot load"),
        (_without("preprocessor_config.json"), "cannot load"),
        (_without("tokenizer.json"), "cannot load"),
        (_without_tensor, "lacks 1 tensors of a clip, such as visual_projection.weight"),
        (_other_shape, "cannot load"),
        (_cut, "cannot load"),
        (_open_clip, "not open_clip's description"),
        (_own_code, "cannot load"),
        (_no_clip, "not of CLIP's class"),
    ],
)
def test_what_is_no_whole_model_is_named(models, tmp_path, harm, words):
    folder = shutil.copytree(models["clip"], tmp_path / "model")
    harm(folder)
    with pytest.raises(WeightsMissingError, match=words) as raised:
        ClipEmbedder(folder).embed_texts(["chest"])
    assert "model" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_of_the_hub_that_cannot_be_reached_is_named():
    with pytest.raises(WeightsMissingError, match="nobody/no-such-model"):
        ClipEmbedder("nobody/no-such-model").embed_texts(["chest"])
