"""PMC-CLIP: the original's vectors from either form of its files, and what does not fit is named."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from retrieval.embedders import PmcClipEmbedder
from retrieval.errors import WeightsMissingError
from retrieval.pmc_clip import load_pmc_clip, square
from retrieval.pmc_clip_config import PmcClipConfig
from retrieval.pmc_clip_conversion import TextModelError, convert_pmc_clip
from serving.checkpoint_fit import MissingKeysError, ShapeError, UnknownKeysError
from serving.converted_folder import OutputExistsError
from serving.hub import HubError
from serving.weight_files import CheckpointNotFoundError, UnsafeCheckpointError
from tests.retrieval import random_pmc_clip as tiny

REFERENCE = json.loads((Path(__file__).parent / "reference" / "pmc_clip.json").read_text())


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return tiny.text_model(tmp_path_factory.mktemp("text") / "bert")


@pytest.fixture(scope="module")
def converted(tmp_path_factory, bert) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pmc-clip")
    sources = {
        "file": tiny.checkpoint(folder / "whole"),
        "folder": folder / "whole",
        "split": tiny.split_files(folder / "split"),
    }
    return {kind: convert_pmc_clip(source, folder / f"made-{kind}", bert) for kind, source in sources.items()}


@pytest.fixture(scope="module")
def embedder(converted) -> PmcClipEmbedder:
    return PmcClipEmbedder(converted["file"])


@pytest.mark.parametrize("kind", ["file", "folder", "split"])
def test_its_vectors_are_the_original_s(converted, kind):
    embedder = PmcClipEmbedder(converted[kind])
    images = embedder.embed_images(tiny.pictures())
    texts = embedder.embed_texts(list(tiny.TEXTS))
    assert images.dtype == texts.dtype == np.float32
    assert texts == pytest.approx(np.array(REFERENCE["texts"]), abs=2e-6)
    # A picture that is scaled may differ by one level in a few of its values.
    assert images[0] == pytest.approx(np.array(REFERENCE["images"][0]), abs=2e-6)
    assert images == pytest.approx(np.array(REFERENCE["images"]), abs=2e-4)


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_the_reference_tells_its_pictures_and_texts_apart(kind):
    vectors = np.array(REFERENCE[kind])
    apart = np.abs(vectors[:, None] - vectors[None]).max(axis=2)
    assert apart[~np.eye(len(vectors), dtype=bool)].min() > 5e-3


def test_the_usual_mistakes_would_be_noticed(converted):
    """Padding that is masked, and a picture that is squashed."""
    folder = converted["file"]
    encoders = load_pmc_clip(folder, PmcClipConfig.read(folder))
    found = encoders.tokenizer.encode_batch(list(tiny.TEXTS))
    ids, mask = (torch.tensor([getattr(one, kind) for one in found]) for kind in ("ids", "attention_mask"))
    first = encoders.model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    masked = normalize(first @ encoders.model.text_projection, dim=-1).numpy()
    short = [number for number, text in enumerate(tiny.TEXTS) if "glioma" not in text]
    assert (np.abs(masked - np.array(REFERENCE["texts"])).max(axis=1)[short] > 5e-3).all()
    squashed = encoders.images([picture.resize((96, 96)) for picture in tiny.pictures()[1:]])
    assert (np.abs(squashed - np.array(REFERENCE["images"][1:])).max(axis=1) > 5e-3).all()


def test_both_forms_of_the_same_weights_are_one_space_wherever_they_lie(converted, tmp_path, bert):
    names = {PmcClipEmbedder(folder).name for folder in converted.values()}
    moved = shutil.copytree(converted["file"], tmp_path / "moved")
    other = convert_pmc_clip(tiny.checkpoint(tmp_path / "other", seed=1), tmp_path / "out", bert)
    assert names == {PmcClipEmbedder(moved).name}
    assert PmcClipEmbedder(other).name not in names
    assert PmcClipEmbedder(other).image_space == PmcClipEmbedder(other).name


def test_what_is_not_needed_or_not_said_is_written_down(converted):
    sources = json.loads((converted["file"] / "sources.json").read_text())
    assert sources["assumed"] == {"heads": 4}
    assert {"logit_scale", "mlm_projection", "text_encoder.pooler.dense.bias", "visual.bn1.num_batches_tracked"} < set(
        sources["not_needed"]
    )
    kept = len(tiny.weights()) - sum(name.endswith("num_batches_tracked") for name in tiny.weights())
    assert sources["tensors"] == kept + len(sources["not_needed"])
    assert set(sources["text_model"]) == {"config.json", "vocab.txt"}


def test_other_heads_are_another_model(tmp_path, bert, embedder):
    out = convert_pmc_clip(tiny.checkpoint(tmp_path), tmp_path / "out", bert, vision_heads=8)
    other = PmcClipEmbedder(out).embed_images(tiny.pictures())
    assert other != pytest.approx(embedder.embed_images(tiny.pictures()), abs=1e-3)
    with pytest.raises(ShapeError, match="256 channels cannot have 3 heads"):
        convert_pmc_clip(tmp_path / "checkpoint.pt", tmp_path / "three", bert, vision_heads=3)


def test_progress_is_told_to_the_end(tmp_path, bert):
    told: list[float] = []
    convert_pmc_clip(tiny.checkpoint(tmp_path), tmp_path / "out", bert, progress=lambda what, share: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1


class Code:
    def __reduce__(self):
        return os.system, ("true",)


def change(**tensors):
    """A source whose named tensors are replaced; None takes one away."""

    def write(folder: Path) -> Path:
        file = tiny.checkpoint(folder)
        saved = torch.load(file)
        for name, tensor in tensors.items():
            saved["state_dict"].pop(name, None)
            if tensor is not None:
                saved["state_dict"][name] = tensor
        torch.save(saved, file)
        return file

    return write


def medvint(folder: Path) -> Path:
    torch.save({"vision_model.0.weight": torch.zeros(4, 3, 3, 3), "fc_l1.weight": torch.zeros(2, 2)}, folder / "m.bin")
    return folder / "m.bin"


def split_without(name: str):
    def write(folder: Path) -> Path:
        (tiny.split_files(folder) / name).unlink()
        return folder

    return write


def split_with(name: str, value: object):
    def write(folder: Path) -> Path:
        torch.save(value, tiny.split_files(folder) / name)
        return folder

    return write


def code(folder: Path) -> Path:
    torch.save({"state_dict": Code()}, folder / "checkpoint.pt")
    return folder


def cut(folder: Path) -> Path:
    file = tiny.checkpoint(folder)
    file.write_bytes(file.read_bytes()[:5000])
    return file


PROJECTION = "text_projection_layer.pth"


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (lambda folder: folder, CheckpointNotFoundError, "hf download axiong/pmc_oa"),
        (lambda folder: folder / "nowhere", CheckpointNotFoundError, "nowhere"),
        (split_without("text_encoder.pth"), CheckpointNotFoundError, "lacks text_encoder.pth"),
        (lambda folder: tiny.split_files(folder) / "text_encoder.pth", MissingKeysError, "split files"),
        (change(**{"module.visual.layer4.0.bn2.bias": None}), MissingKeysError, "layer4.0.bn2.bias"),
        (change(**{"module.text_projection": None}), MissingKeysError, "text_projection"),
        (change(**{"module.visual.layer4.0.gate": torch.zeros(2)}), UnknownKeysError, "layer4.0.gate"),
        (change(**{"module.something": torch.zeros(2)}), UnknownKeysError, "something"),
        (change(**{"module.text_projection": torch.zeros(32, 7)}), ShapeError, r"text_projection is .*\[32, 7\]"),
        (change(**{"module.text_projection": torch.zeros(32, 32).long()}), ShapeError, "int64"),
        (medvint, MissingKeysError, "This is MedVInT"),
        (code, UnsafeCheckpointError, "carries code"),
        (cut, UnsafeCheckpointError, "damaged"),
        (split_with(PROJECTION, Code()), UnsafeCheckpointError, "carries code"),
        (split_with(PROJECTION, {"weight": torch.zeros(32, 32)}), UnsafeCheckpointError, "not one dense tensor"),
        (split_with(PROJECTION, torch.zeros(24, 24)), ShapeError, r"\[24, 24\]"),
    ],
)
def test_a_source_that_does_not_fit_is_named(tmp_path, bert, source, error, words):
    with pytest.raises(error, match=words):
        convert_pmc_clip(source(tmp_path), tmp_path / "out", bert)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (lambda folder: folder / "nowhere", TextModelError, "nowhere"),
        (lambda folder: folder, TextModelError, "config.json"),
        (
            lambda folder: tiny.text_model(folder / "b", (*tiny.VOCABULARY[3:], *tiny.VOCABULARY[:3])),
            TextModelError,
            "another BERT",
        ),
        (lambda folder: tiny.text_model(folder / "b", vocab_size=40), TextModelError, "40 in config.json"),
        (lambda folder: tiny.text_model(folder / "b", max_position_embeddings=64), TextModelError, "64 positions"),
        (lambda folder: tiny.text_model(folder / "b", intermediate_size=48), ShapeError, "not PubMedBERT's"),
        (lambda folder: tiny.text_model(folder / "b", num_hidden_layers=3), MissingKeysError, "layer.2"),
        (lambda folder: "nobody/no-such-model", HubError, "no-such-model"),
    ],
)
def test_another_text_model_is_refused(tmp_path, text, error, words):
    with pytest.raises(error, match=re.escape(words)):
        convert_pmc_clip(tiny.checkpoint(tmp_path / "source"), tmp_path / "out", text(tmp_path))
    assert not list(tmp_path.glob("*out*"))


def test_a_folder_that_is_there_stays(tmp_path, bert):
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputExistsError):
        convert_pmc_clip(tiny.checkpoint(tmp_path), tmp_path / "out", bert)


def _drop_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _break_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def _drop_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _drop_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _other_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


def _other_width(folder: Path) -> None:
    _change_config(folder, width=16)


def _more_blocks(folder: Path) -> None:
    _change_config(folder, layers=[1, 2, 2, 1])


def _change_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_drop_tokenizer, "tokenizer.json"),
        (_break_tokenizer, "tokenizer.json"),
        (_drop_weights, "model.safetensors"),
        (_cut_weights, "model.safetensors"),
        (_drop_config, "holds no converted PMC-CLIP"),
        (_other_config, "does not describe"),
        (_other_width, "conv1.weight"),
        (_more_blocks, "layer3.1"),
    ],
)
def test_a_damaged_folder_is_named_with_the_command_that_makes_it(converted, tmp_path, harm, words):
    folder = shutil.copytree(converted["file"], tmp_path / "copy")
    harm(folder)
    with pytest.raises(WeightsMissingError, match=words) as raised:
        PmcClipEmbedder(folder).embed_texts(["chest"])
    assert "convert-embedder" in str(raised.value)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16", "1"])
@pytest.mark.parametrize("size", [(40, 20), (1, 1), (1, 20_000)])
def test_pictures_of_every_kind_become_unit_vectors(embedder, mode, size):
    vectors = embedder.embed_images([Image.new(mode, size)])
    assert vectors.shape == (1, embedder.dim)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("text", ["", "\x00\ud800😀", "x" * 20_000, "[CLS] [PAD]"])
def test_texts_of_every_kind_become_unit_vectors(embedder, text):
    assert np.linalg.norm(embedder.embed_texts([text]), axis=1) == pytest.approx(1, abs=1e-5)


def test_many_at_once_are_as_one_by_one(embedder):
    images, texts = tiny.pictures() * 5, list(tiny.TEXTS) * 12
    assert embedder.embed_images(images) == pytest.approx(np.tile(embedder.embed_images(images[:4]), (5, 1)), abs=1e-5)
    assert embedder.embed_texts(texts) == pytest.approx(np.tile(embedder.embed_texts(texts[:6]), (12, 1)), abs=1e-5)
    assert embedder.embed_images([]).shape == embedder.embed_texts([]).shape == (0, tiny.CONFIG.dim)


@pytest.mark.parametrize("size", [(640, 480), (301, 517), (224, 224), (100, 133), (1024, 333), (224, 999), (7, 1)])
def test_a_square_is_what_scaling_and_then_cutting_gives(size):
    rng = np.random.default_rng(sum(size))
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    scaled = image.resize([int(224 * side / min(size)) for side in size], Image.Resampling.BICUBIC)
    left, top = round((scaled.width - 224) / 2), round((scaled.height - 224) / 2)
    wanted = np.asarray(scaled.crop((left, top, left + 224, top + 224)), np.int16)
    off = np.abs(np.asarray(square(image, 224), np.int16) - wanted)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.001
