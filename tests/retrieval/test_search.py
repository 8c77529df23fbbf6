"""Fusion, floors, and the way from pixels to the captions' space."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from retrieval.build import build_index
from retrieval.embedders import DemoEmbedder, MiniLmEmbedder
from retrieval.errors import ChromaUnreachableError, WeightsMissingError
from retrieval.fusion import Pool, fuse
from retrieval.image_head import ImageHead, fingerprint, load_tower, pool
from retrieval.nonsense import nonsense_picture
from retrieval.relevance import Logistic, Tuning, load_tuning
from retrieval.search import open_search
from serving.medvint.vision import PmcClipTower
from serving.original_keys import TOWER_CHILDREN
from tests.retrieval.conftest import CAPTIONS

NAN = float("nan")
FLOORS = Tuning(floors={"image": 0.4, "text": 0.5, "terms": 0.6}, terms_weight=0.1)


def pool_of(**views: list[float]) -> Pool:
    return Pool(
        np.arange(len(next(iter(views.values())))), {view: np.array(row, np.float32) for view, row in views.items()}
    )


@pytest.mark.parametrize("fusion", ["weighted", "reciprocal rank"])
@pytest.mark.parametrize(
    ("views", "order", "found_by"),
    [
        # One view alone: its own order, and nothing under the floor.
        ({"text": [0.6, 0.9, 0.49]}, [1, 0], [("text",), ("text",)]),
        ({"image": [0.41, 0.39, 0.7]}, [2, 0], [("image",), ("image",)]),
        # What both speak for goes up.
        (
            {"image": [0.8, 0.5, 0.79], "text": [0.1, 0.6, 0.7]},
            [2, 1, 0],
            [("image", "text"), ("image", "text"), ("image",)],
        ),
        # A question that finds nothing must not reorder what the image finds.
        ({"image": [0.5, 0.6], "text": [0.45, 0.1]}, [1, 0], [("image",), ("image",)]),
        # A picture of something else leaves the words alone.
        ({"image": [0.39, 0.1], "text": [0.5, 0.8]}, [1, 0], [("text",), ("text",)]),
        # An exact word finds what the meaning does not, and lifts what it finds.
        ({"text": [0.1, 0.2], "terms": [0.7, 0.1]}, [0], [("terms",)]),
        ({"text": [0.7, 0.7], "terms": [0.1, 0.7]}, [1, 0], [("text", "terms"), ("text",)]),
        # Figures without an image of their own are judged by their captions.
        ({"image": [0.5, 0.1], "look": [NAN, 0.8]}, [1, 0], [("look",), ("image",)]),
        # Nothing similar.
        ({"image": [0.39, 0.1], "text": [0.49, 0.2]}, [], []),
        ({"text": []}, [], []),
    ],
)
def test_fusion_ranks_and_says_by_what(views, order, found_by, fusion):
    ranked = fuse(pool_of(**views), FLOORS, fusion)
    if fusion == "weighted" or len(views) == 1:
        assert [one.row for one in ranked] == order
        assert [one.found_by for one in ranked] == found_by
    assert {one.row: one.found_by for one in ranked} == dict(zip(order, found_by, strict=True))
    assert all(0 <= one.score <= 1 for one in ranked)
    assert [one.score for one in ranked] == sorted((one.score for one in ranked), reverse=True)


def test_reciprocal_rank_lifts_what_both_views_place_well():
    views = pool_of(text=[0.9, 0.8, 0.2], terms=[0.0, 0.9, 0.5])
    assert [one.row for one in fuse(views, Tuning(), "reciprocal rank")] == [1, 2, 0]


def test_looks_are_compared_on_the_scale_of_captions():
    """A cosine of 0.9 between images says as much as 0.5 between image and caption where it was measured so."""
    calibrations = {"image": Logistic(-5, {"image": 10}), "look": Logistic(-9, {"look": 10})}
    tuning = Tuning(floors={"image": 0.4}, calibrations=calibrations)
    ranked = fuse(pool_of(image=[0.55, 0.1, 0.2], look=[NAN, 0.9, 0.7]), tuning)
    assert [(one.row, one.found_by) for one in ranked] == [(0, ("image",)), (1, ("look",))]
    assert ranked[1].relevance == pytest.approx(0.5, abs=1e-3)


def test_what_was_not_measured_has_no_floors_and_no_probability():
    tuning = load_tuning("an embedder that nobody measured")
    [one] = fuse(pool_of(text=[-0.2]), tuning)
    assert (one.row, one.relevance, one.score) == (0, None, 0.0)


def test_what_was_measured_is_read_from_its_file():
    tuning = load_tuning(MiniLmEmbedder.name)
    assert {"image", "text"} <= tuning.floors.keys()
    assert all(0 < value < 1 for value in tuning.floors.values())


@pytest.fixture(scope="module")
def sample_search(tmp_path_factory, minilm):
    data_dir = tmp_path_factory.mktemp("sample")
    build_index("sample", data_dir, embedder=minilm)
    return open_search(data_dir, embedder=minilm)


@pytest.mark.parametrize(
    "text",
    [
        "pneumothorax on a chest X-ray",
        "What is a pneumothorax?",
        "brain tumor on MRI",
        "CT of the liver",
        "gallstones on ultrasound",
    ],
)
def test_a_medical_question_finds_figures(sample_search, text):
    hits = sample_search.search(text, None, k=8)
    assert 1 <= len(hits) <= 8
    assert all("text" in hit.found_by for hit in hits)
    assert len({hit.figure.figure_id for hit in hits}) == len(hits)


@pytest.mark.parametrize(
    "text",
    [
        "What is the deadline for filing an income tax return?",
        "How do I sort a list in Python?",
        "Who won the football world cup in 1998?",
        "Give me a recipe for chocolate cake.",
        "",
        "   ",
        None,
    ],
)
def test_a_question_on_something_else_finds_nothing(sample_search, text):
    assert sample_search.search(text, None) == []


@pytest.mark.parametrize("text", ["x" * 20_000, "\x00\ud800😀", "肺炎", "' OR 1=1 --", "{{ 7*7 }}"])
def test_odd_text_does_no_harm(sample_search, text):
    assert isinstance(sample_search.search(text, None), list)


def test_k_may_exceed_the_index(sample_search):
    assert len(sample_search.search("chest radiograph", None, k=10_000)) <= len(sample_search)


def test_several_threads_search_at_once(sample_search):
    expected = sample_search.search("pleural effusion", None)
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(sample_search.search("pleural effusion", None)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 6


def test_words_alone_cannot_search_by_image(sample_search):
    with pytest.raises(WeightsMissingError):
        sample_search.search(None, Image.new("RGB", (10, 10)))


def test_a_chroma_server_that_is_not_there_is_named(tmp_path, roco_folder, minilm):
    build_index("roco", tmp_path, roco_folder(), embedder=minilm)
    with pytest.raises(ChromaUnreachableError, match=r"127\.0\.0\.1:9"):
        open_search(tmp_path, "http://127.0.0.1:9", embedder=minilm)


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """A tower in the form in which a converted model holds it, and a head that was made for it."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    tower, head = PmcClipTower(), ImageHead()
    number = {name: place for place, name in TOWER_CHILDREN.items()}
    state = {}
    for key, value in tower.state_dict().items():
        child, _, rest = key.partition(".")
        if not key.endswith("num_batches_tracked"):
            state[f"vision_model.{number[child]}.{rest}"] = value.to(torch.bfloat16)
    save_file({**state, "projector.weight": torch.zeros(2)}, folder / "model.safetensors")
    save_file(head.state_dict(), folder / "head.safetensors", metadata={"tower": fingerprint(tower)})
    return tower, folder / "model.safetensors", folder / "head.safetensors"


def test_the_tower_of_a_converted_model_is_the_tower(random_weights):
    tower, model, _ = random_weights
    loaded = load_tower(model)
    assert fingerprint(loaded) == fingerprint(tower)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(loaded(image), tower.eval()(image), atol=0.05, rtol=0.05)


def test_pooling_keeps_the_whole_and_its_quarters():
    grid = torch.arange(16.0).view(1, 1, 4, 4)
    assert pool(grid).tolist() == [[7.5, 2.5, 4.5, 10.5, 12.5]]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16", "1"])
def test_images_of_every_mode_become_unit_vectors(random_weights, mode):
    embedder = DemoEmbedder(*random_weights[1:])
    vectors = embedder.embed_images([Image.new(mode, (40, 20)), Image.new(mode, (1, 1))])
    assert vectors.shape == (2, embedder.dim)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-4)


def test_an_image_and_a_question_are_fused(tmp_path, roco_folder, random_weights):
    embedder = DemoEmbedder(*random_weights[1:])
    build_index("roco", tmp_path, roco_folder(), embedder=MiniLmEmbedder())
    search = open_search(tmp_path, embedder=embedder)
    image = nonsense_picture(np.random.default_rng(0))
    queries = {"image": embedder.embed_images([image])[0], "text": embedder.embed_texts(["pneumothorax"])[0]}
    found = search.candidates(queries, 3)
    assert 3 <= len(found) <= 6
    captions = embedder.embed_texts(list(CAPTIONS))
    for candidate in found:
        row = captions[CAPTIONS.index(candidate.figure.caption)]
        for name, query in queries.items():
            assert candidate.cosines[name] == pytest.approx(float(row @ query), abs=1e-4)


def test_a_head_of_another_tower_is_refused(random_weights, tmp_path):
    _, model, _ = random_weights
    save_file(ImageHead().state_dict(), tmp_path / "head.safetensors", metadata={"tower": "another"})
    with pytest.raises(WeightsMissingError, match="train_image_head"):
        DemoEmbedder(model, tmp_path / "head.safetensors").embed_images([Image.new("RGB", (8, 8))])


@pytest.mark.parametrize("missing", ["model", "head"])
def test_missing_weights_are_named(random_weights, tmp_path, missing):
    _, model, head = random_weights
    files = {"model": model, "head": head, missing: tmp_path / f"no-{missing}.safetensors"}
    with pytest.raises(WeightsMissingError, match=f"no-{missing}"):
        DemoEmbedder(files["model"], files["head"]).embed_images([Image.new("RGB", (8, 8))])


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_weights_that_cannot_be_read_are_named(random_weights, tmp_path, content):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(content)
    with pytest.raises(WeightsMissingError, match="broken"):
        DemoEmbedder(broken, random_weights[2]).embed_images([Image.new("RGB", (8, 8))])


def test_nonsense_is_drawn_again_from_the_same_seed():
    first, second = (nonsense_picture(np.random.default_rng(5)).tobytes() for _ in range(2))
    assert first == second
