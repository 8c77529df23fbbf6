"""Which embedder a name opens, and which space its vectors are of."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from retrieval.embedders import (
    DEMO_HEAD,
    DEMO_MODEL,
    ClipEmbedder,
    DemoEmbedder,
    MiniLmEmbedder,
    PmcClipEmbedder,
    UnknownEmbedderError,
    open_embedder,
)
from retrieval.errors import RetrievalError, WeightsMissingError
from retrieval.image_head import tower_name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("demo", DemoEmbedder),
        ("minilm", MiniLmEmbedder),
        ("pmc-clip:models/pmc-clip", PmcClipEmbedder),
        ("clip:openai/clip-vit-base-patch32", ClipEmbedder),
        ("clip:C:/models/clip", ClipEmbedder),
    ],
)
def test_a_name_opens_its_embedder_without_reading_weights(name, kind):
    assert type(open_embedder(name)) is kind


def test_the_path_is_what_follows_the_first_colon():
    assert open_embedder("clip:a/b:c").source == "a/b:c"


@pytest.mark.parametrize("name", ["", "imagenet", "pmc-clip", "clip:", "demo:x"])
def test_an_unknown_name_is_refused_with_those_that_there_are(name):
    with pytest.raises(UnknownEmbedderError, match="demo, minilm, pmc-clip:FOLDER") as raised:
        open_embedder(name)
    assert isinstance(raised.value, RetrievalError)


def test_a_retrained_head_is_another_image_space_in_the_same_text_space(tmp_path):
    head = tmp_path / "head.safetensors"
    shutil.copy(DEMO_HEAD, head)
    shipped, same = DemoEmbedder(), DemoEmbedder(DEMO_MODEL, head)
    assert shipped.image_space == same.image_space != ""
    save_file({name: tensor + 1 for name, tensor in load_file(head).items()}, head, metadata={"tower": "x"})
    assert same.image_space != shipped.image_space
    assert same.name == shipped.name == MiniLmEmbedder().name
    head.unlink()
    with pytest.raises(WeightsMissingError, match=r"head\.safetensors"):
        _ = same.image_space


def test_words_alone_make_no_image_space(minilm):
    assert minilm.image_space == ""


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("vision_model.10.0.conv1.weight", "layer1.0.conv1.weight"),
        ("vision_model.7.running_var", "bn3.running_var"),
        ("vision_tower.layer3.5.bn3.bias", "layer3.5.bn3.bias"),
        ("layer2.0.downsample.0.weight", "layer2.0.downsample.0.weight"),
        ("vision_model.13.0.conv1.weight", ""),
        ("projector.weight", ""),
        ("language_model.model.norm.weight", ""),
    ],
)
def test_a_tower_is_found_under_every_name(key, name):
    assert tower_name(key) == name
