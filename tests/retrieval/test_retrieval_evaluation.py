"""The evaluation, on a few captions and images: queries, what is counted, and the report that goes on."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from retrieval.evaluation import __main__ as command
from retrieval.evaluation.agreement import Shown, measure_agreement
from retrieval.evaluation.calibrate import concept_agreement, reliability, roco_concepts
from retrieval.evaluation.captions import Captions
from retrieval.evaluation.choose import floors_of
from retrieval.evaluation.exact import ExactIndex, measure_exact
from retrieval.evaluation.findings import finding_pattern
from retrieval.evaluation.halves import image_key
from retrieval.evaluation.known_item import measure_known_items, sample_rows
from retrieval.evaluation.page import write_page
from retrieval.evaluation.parts import Parts
from retrieval.evaluation.queries import paraphrase, some_words, two_thirds
from retrieval.evaluation.scope import curve, package_pictures, rejected_at
from retrieval.relevance import load_tuning
from tests.retrieval.conftest import make_figure
from tests.retrieval.search_index import AxisEmbedder, axis_search, picture

CAPTIONS = [
    "CT of the liver with a cyst and calcified walls after treatment.",
    "MRI of the brain with a glioma of the temporal lobe and edema.",
    "Radiograph of the lung with an effusion in an elderly woman.",
    "CT of the lung with an effusion, and ground glass opacities.",
    "MRI of the knee with a meniscal tear and a small cyst behind it.",
]


def quiet(stage: str, done: int, total: int) -> None:
    assert done <= total


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    figures = [make_figure(number, caption) for number, caption in enumerate(CAPTIONS)]
    return axis_search(tmp_path_factory.mktemp("evaluation"), figures)


@pytest.fixture(scope="module")
def captions(search):
    return Captions(search.generation())


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Chest X-ray showing a left pneumothorax.", "chest radiograph demonstrating a left-sided pneumothorax"),
        ("CT scan (axial) of the liver (white arrow).", "computed tomography of the hepatic"),
        ("Echo of a child, showing a large apical clot", "demonstrating a big apical clot, Echo of a child"),
        ("A cyst as indicated by the white arrows.", "A cyst"),
        ("X", "X"),
    ],
)
def test_a_paraphrase_says_it_in_other_words(caption, expected):
    assert paraphrase(caption) == expected


def test_queries_are_parts_of_the_caption():
    assert CAPTIONS[0].startswith(two_thirds(CAPTIONS[0]))
    assert 0.5 < len(two_thirds(CAPTIONS[0])) / len(CAPTIONS[0]) <= 0.67
    words = some_words(CAPTIONS[0], 3, random.Random(1)).split()
    assert len(words) == 3
    assert all(word in CAPTIONS[0] for word in words)
    assert two_thirds("word") == "wo"


def test_known_items_are_found_and_every_way_is_counted(search, captions):
    report = measure_known_items(search, captions, AxisEmbedder(), 5, 1, quiet)
    assert 0 < report["queries"] == len(sample_rows(captions, 5, 1))
    ways = report["forms"]["two thirds"]["ways"]
    assert {"words in common", "BM25", "text", "reciprocal rank", "as the product"} <= ways.keys()
    assert ways["BM25"]["recall@1"]["value"] == 100
    assert all(way["recall@1"]["value"] <= way["recall@5"]["value"] for way in ways.values())


def test_agreement_counts_captions_that_name_what_the_labels_say(search, captions, tmp_path):
    embedder = AxisEmbedder()
    shown = [
        Shown(tmp_path / name, "made", vector, modality, frozenset({region}), finding_pattern([finding]), ("Where?",))
        for name, vector, modality, region, finding in zip(
            ("a", "b"),
            embedder.embed_images([picture("mri", "brain", "glioma"), picture("ct", "lung", "effusion")]),
            ("MRI", "CT"),
            ("head", "chest"),
            ("glioma", "Effusion"),
            strict=True,
        )
    ]
    report = measure_agreement(search, captions, shown, embedder, quiet)
    product = report["ways"]["image, as the product"]
    assert product["n"] == product["n_finding"] == 2
    # A radiograph of the lung comes second behind the CT of it.
    assert 0 < product["modality"]["value"] < 100
    assert report["ways"]["random of modality and region"]["modality"]["value"] == 100


@pytest.mark.parametrize(
    ("finding", "caption", "named"),
    [
        ("Effusion", "Left pleural effusion.", True),
        ("Pneumothorax", "A small pneumothorax", True),
        ("Liver Cancer", "A mass of the liver: hepatocellular carcinoma", True),
        ("Liver Cancer", "A cyst of the liver", False),
        ("meningioma", "A glioma", False),
    ],
)
def test_findings_are_read_from_captions(finding, caption, named):
    assert bool(finding_pattern([finding]).search(caption)) == named


def test_organs_are_no_findings():
    assert finding_pattern(["Liver", "Spleen"]) is None


def test_a_floor_rejects_the_share_that_it_may():
    inside, outside = np.linspace(0.5, 1, 100), np.linspace(0, 0.6, 60)
    found = rejected_at(inside, outside)
    assert (inside < found["floor"]).mean() <= 0.05
    assert found["rejected"] > 80
    points = curve(inside, outside)
    assert points == sorted(points)
    assert points[-1] == [1.0, 1.0] or points[-1] == (1.0, 1.0)


def test_a_perfect_probability_has_no_error():
    said = np.array([0.0, 0.0, 1.0, 1.0])
    assert reliability(said, said == 1)["ece"] == 0
    assert reliability(1 - said, said == 1)["ece"] == 1


def test_concepts_are_joined_by_the_caption(tmp_path):
    (tmp_path / "captions.txt").write_text("R1\t A caption.\nR2\t Another.\n")
    (tmp_path / "cuis.txt").write_text("R1\t\tC1\tC2\nR2\t\n")
    assert roco_concepts(tmp_path) == {"A caption.": frozenset({"C1", "C2"}), "Another.": frozenset()}


@pytest.mark.parametrize("shared", [True, False])
def test_captions_of_other_articles_agree_where_they_share_concepts(search, captions, tmp_path, shared):
    folder = tmp_path / "roco-captions"
    folder.mkdir()
    concepts = [f"C{number}\tD{number}" for number in range(len(CAPTIONS))]
    if shared:
        concepts[3] = concepts[0]
    for name, column in (("captions", CAPTIONS), ("cuis", concepts)):
        lines = [f"R{number}\t{text}\n" for number, text in enumerate(column)]
        (folder / f"{name}.txt").write_text("".join(lines))
    assert (concept_agreement(search, captions, tmp_path, AxisEmbedder()) > 0) == shared


def test_a_part_is_measured_once_and_again_when_what_it_measures_changed(tmp_path):
    calls = []

    def measure() -> dict:
        calls.append(1)
        return {"points": [(0.5, 1)]}

    for key in ("a", "a", "b", "b"):
        assert Parts(tmp_path, key).get("part", measure) == {"points": [[0.5, 1]]}
    assert len(calls) == 2


def test_pictures_that_do_not_belong_are_there_to_be_tried():
    assert all(path.is_file() for path in package_pictures())


def test_the_report_is_one_page_without_links_to_elsewhere(search, captions, tmp_path):
    span = {"value": 50.0, "low": 40.0, "high": 60.0}
    way = {"n": 1, "captions_per_query": 8.0, "modality": span, "region": span, "finding": None, "n_finding": 0}
    ways = {name: way | {"finding": span} for name in ("image, as the product", "random of modality and region")}
    agreement = {"captions": 5, "k": 8, "images": 1, "ways": ways, "by_modality": {"CT": way}}
    scope = {
        "n": {"in": 4, "out": 5},
        "belongs": ["in"],
        "foreign": ["out"],
        "rejected_by_product": {"in": 0.0, "out": 98.0},
        "rejected_at_5": {"text": {"floor": 0.3, "rejected": 97.0}},
        "curves": {"text <b>": [[0, 0], [1, 1]]},
    }
    fitted = {"bias": -1.0, "weights": {"text": 2.0}, "n_fit": 4, "n_measured": 4, "relevant_percent": 50.0}
    fitted |= reliability(np.array([0.1, 0.9]), np.array([False, True]))
    report = {
        "schema": 1,
        "captions": 5,
        "known_item": measure_known_items(search, captions, AxisEmbedder(), 3, 1, quiet),
        "agreement": agreement,
        "other_findings": agreement,
        "scope": {"texts": scope, "images": scope},
        "relevance": {"text": fitted},
        "exact": {"k": 8, "n": {"images": 1}, "recall": {"images": {"search": span}}},
        "command": "python -m retrieval.evaluation",
        "made": {"embedder": "axes"},
    }
    report["goals"] = command.goals(report)
    assert {goal["name"]: goal["reached"] for goal in report["goals"]}["questions out of scope, rejected"]
    write_page(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") >= 6
    assert "text &lt;b&gt;" in page
    assert not re.search(r"(?:src|href)=", page)


def test_what_was_chosen_stands_beside_that_of_other_embedders(tmp_path):
    file = tmp_path / "relevance.json"
    file.write_text(json.dumps({"axes": {"floors": {"text": 0.1}}, "others": {"image_weight": 0.9}}))
    command.write_tuning("axes", {"floors": {"text": 0.3}}, "python -m retrieval.evaluation --fit", file)
    assert load_tuning("axes", file).floors == {"text": 0.3}
    assert load_tuning("others", file).image_weight == 0.9


@pytest.mark.parametrize(
    ("belongs", "foreign", "floors"),
    [
        # The middle of the gap.
        ({"text": [0.6, 0.8]}, {"text": [0.2, 0.3]}, {"text": 0.45}),
        # Words alone let the last one through.
        ({"text": [0.6, 0.2], "terms": [0.1, 0.9]}, {"text": [0.3, 0.1], "terms": [0.1, 0.3]}, None),
    ],
)
def test_floors_part_what_belongs_from_the_rest(belongs, foreign, floors):
    views = list(belongs)
    inside, outside = (
        [dict(zip(views, values, strict=True)) for values in zip(*some.values(), strict=True)]
        for some in (belongs, foreign)
    )
    found = floors_of(inside, outside, views)
    assert floors is None or found == pytest.approx(floors, abs=0.011)
    assert all(any(one[view] >= found[view] for view in views) for one in inside)
    assert not any(one[view] >= found[view] for view in views for one in outside)


def test_the_halves_share_nothing(captions):
    halves = [sample_rows(captions, 100, 1, choosing) for choosing in (True, False)]
    assert sorted(halves[0] + halves[1]) == list(range(len(CAPTIONS)))
    assert image_key(Path("xmlab1/source.jpg")) != image_key(Path("xmlab2/source.jpg"))


def test_the_index_is_measured_against_exact_search(tmp_path):
    figures = [make_figure(number, caption) for number, caption in enumerate([*CAPTIONS, *CAPTIONS[:3]])]
    search = axis_search(tmp_path, figures)
    vectors = AxisEmbedder().embed_texts(CAPTIONS)
    report = measure_exact(search, ExactIndex(tmp_path), {"captions": vectors})
    assert report["n"] == {"captions": len(CAPTIONS)}
    assert {way: cells["value"] for way, cells in report["recall"]["captions"].items()} == {
        "Chroma's query": 100,
        "search": 100,
    }
