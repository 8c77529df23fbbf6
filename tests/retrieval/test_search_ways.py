"""What search does beyond the nearest vector: exact terms, filters, articles, duplicates, images, more like this."""

import numpy as np
import pytest
from PIL import Image

from retrieval import generation
from retrieval.filters import Filters
from retrieval.generation import Query
from retrieval.relevance import Logistic, Tuning
from retrieval.search import Search
from tests.retrieval.conftest import make_figure
from tests.retrieval.search_index import SAME_SCALE, TUNING, AxisEmbedder, axis_search, picture

FIGURES = [
    make_figure(0, "CT of the liver with a cyst.", modality="CT", region="abdomen", year=2010),
    make_figure(1, "MRI of the brain with a glioma.", modality="MRI", region="head", year=2015, license="CC0"),
    make_figure(2, "Radiograph of the lung with an effusion.", modality="X-ray", region="chest", year=2020),
    make_figure(3, "CT of the lung with an effusion.", modality="CT", region="chest", license="CC0 1.0"),
    make_figure(4, "MRI of the knee.", modality="MRI", region="limbs", source="own", pmcid=""),
    make_figure(5, "MRI of the brain in CADASIL.", modality="MRI", region="head"),
]


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    return axis_search(tmp_path_factory.mktemp("ways"), FIGURES)


def numbers(hits) -> list[int]:
    return [int(hit.figure.graphic[1:]) for hit in hits]


def test_a_rare_word_is_found_exactly_where_the_vectors_know_nothing_of_it(search):
    [hit] = search.search("CADASIL", None)
    assert hit.figure == FIGURES[5]
    assert hit.found_by == ("terms",)


def test_meaning_and_exact_words_go_together(search):
    best = search.search("glioma of the brain", None)[0]
    assert best.figure == FIGURES[1]
    assert best.found_by == ("text", "terms")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), {0, 1, 2, 3, 4, 5}),
        (Filters(modalities=frozenset({"CT"})), {0, 3}),
        (Filters(modalities=frozenset({"CT", "X-ray"})), {0, 2, 3}),
        (Filters(modalities=frozenset({"CT"}), licences=frozenset({"CC0"})), {3}),
        (Filters(regions=frozenset({"head"})), {1, 5}),
        (Filters(corpora=frozenset({"own"})), {4}),
        (Filters(year_from=2015), {1, 2}),
        (Filters(year_to=2015), {0, 1}),
        (Filters(year_from=2011, year_to=2019), {1}),
        (Filters(modalities=frozenset({"PET"})), set()),
    ],
)
def test_filters_limit_what_is_found(search, filters, expected):
    anything = "ct mri radiograph liver lung brain knee"
    lenient = Search(search._store, AxisEmbedder(), tuning=Tuning(floors={"text": 0.1}))
    assert set(numbers(lenient.search(anything, None, filters=filters))) == expected


def test_an_excluded_article_is_not_found(search):
    assert set(numbers(search.search("effusion of the lung", None, 2))) == {2, 3}
    found = search.search("effusion of the lung", None, exclude_pmcids={FIGURES[2].pmcid, "PMC-not-there"})
    assert 3 in numbers(found)
    assert 2 not in numbers(found)


def test_filters_reach_beyond_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "EXACT_UP_TO", 20)
    common = [make_figure(n, f"CT of the liver, case {n}.", modality="CT") for n in range(400)]
    rare = [make_figure(9000 + n, f"CT of the lung, case {n}.", modality="MRI") for n in range(3)]
    search = axis_search(tmp_path, [*common, *rare])
    assert len(search.search("ct of the liver", None, filters=Filters(modalities=frozenset({"MRI"})))) == 3
    nearest = {hit.figure.pmcid for hit in search.search("ct of the liver", None, 100)}
    others = search.search("ct of the liver", None, exclude_pmcids=nearest)
    assert len(nearest) == 100
    assert len(others) == 8
    assert not nearest & {hit.figure.pmcid for hit in others}


def test_two_hits_of_one_article_and_more_only_where_nothing_else_is_there(tmp_path):
    same = [
        make_figure(n, f"CT of the liver, case {n}.", pmcid="PMC1", figure_id=f"PMC1/g{n}", graphic=f"g{n}")
        for n in range(6)
    ]
    other = make_figure(7, "CT of the lung and the liver.")
    search = axis_search(tmp_path, [*same, other])
    assert [hit.figure.pmcid for hit in search.search("ct of the liver", None, 3)] == ["PMC1", "PMC1", other.pmcid]
    everything = search.search("ct of the liver", None, 8)
    assert len(everything) == 7
    assert [hit.rank for hit in everything] == list(range(1, 8))
    assert [hit.score for hit in everything] == sorted((hit.score for hit in everything), reverse=True)


def test_duplicates_stand_behind_the_best_of_them(tmp_path):
    twins = [
        make_figure(n, "CT of the liver with a cyst.", pmcid="PMC1", figure_id=f"PMC1/g{n}", graphic=f"g{n}")
        for n in range(3)
    ]
    search = axis_search(tmp_path, [*twins, make_figure(8, "CT of the liver.")])
    first, second = search.search("ct of a liver cyst", None)
    assert {first.figure, *first.also} == set(twins)
    assert second.also == ()
    limited = search.search("ct of a liver cyst", None, filters=Filters(corpora=frozenset({"own"})))
    assert limited == []


def test_a_figure_of_two_corpora_is_one_hit_and_found_under_both(tmp_path):
    ours = make_figure(0, "Our words on a CT of the liver.", source="sample", caption_by="medvint")
    theirs = make_figure(0, "CT of the liver with a cyst.")
    search = axis_search(tmp_path, [ours, theirs])
    for filters in (None, Filters(corpora=frozenset({"sample"})), Filters(corpora=frozenset({"roco"}))):
        [hit] = search.search("liver cyst", None, filters=filters)
        assert (hit.figure, hit.also) == (theirs, (ours,))
    assert search.facets()["source"] == ["roco", "sample"]


def test_an_image_finds_captions_that_speak_of_it_and_figures_that_look_like_it(tmp_path):
    file = tmp_path / "like.png"
    picture("mri", "brain").save(file)
    figures = [*FIGURES, make_figure(10, "Case of our ward.", image_path=str(file))]
    search = axis_search(tmp_path, figures, Tuning(TUNING.floors, calibrations=SAME_SCALE))
    hits = search.search(None, picture("mri", "brain"))
    assert numbers(hits)[0] == 10
    assert hits[0].found_by == ("look",)
    assert set(numbers(hits)[1:]) >= {1, 5}
    assert all(hit.found_by == ("image",) for hit in hits[1:])


def test_more_like_a_figure_is_neither_itself_nor_far_from_it(search):
    assert numbers(search.more_like(FIGURES[3].figure_id))[0] == 2
    assert 3 not in numbers(search.more_like(FIGURES[3].figure_id))
    assert search.more_like("PMC0/none") == []


def test_a_figure_by_its_id(search):
    assert search.figure(FIGURES[4].figure_id) == FIGURES[4]
    assert search.figure("PMC0/none") is None


def test_the_facets_are_what_figures_have(search):
    facets = search.facets()
    assert set(facets["modality"]) == {"CT", "MRI", "X-ray"}
    assert set(facets["license"]) == {"CC BY", "CC0", "CC0 1.0"}
    assert set(facets["source"]) == {"roco", "own"}


def test_a_follow_up_is_searched_with_what_it_goes_on_from(search):
    found = search.search_with_query("And in the brain?", None, earlier=["Is there a glioma?"])
    assert found.query_text == "glioma brain"
    assert found.hits[0].figure == FIGURES[1]


def test_nothing_is_found_where_nothing_is_similar(search):
    for text, image in [("What is the capital of Mongolia?", None), (None, picture("gas")), ("", None), (None, None)]:
        assert search.search(text, image) == []


def test_relevance_is_shown(tmp_path):
    calibrations = {"text": Logistic(-4.0, {"text": 8.0, "terms": 0.0})}
    search = axis_search(tmp_path, FIGURES, Tuning(TUNING.floors, calibrations=calibrations))
    hits = search.search("mri of the brain with a glioma", None)
    assert all(0 < hit.relevance < 1 for hit in hits)
    assert [hit.relevance for hit in hits] == sorted((hit.relevance for hit in hits), reverse=True)


def test_the_catalogue_is_made_again_with_the_generation_and_not_otherwise(tmp_path):
    search = axis_search(tmp_path, FIGURES[:3])
    [before] = (tmp_path / "index" / "lexical").iterdir()
    made = before.stat().st_mtime_ns
    again = Search(search._store, AxisEmbedder(), tuning=TUNING)
    assert before.stat().st_mtime_ns == made
    axis_search(tmp_path, FIGURES)
    assert again.search("CADASIL", None)[0].figure == FIGURES[5]
    assert len(list((tmp_path / "index" / "lexical").iterdir())) == 2


@pytest.mark.parametrize("with_mask", [False, True])
def test_candidates_are_those_of_exact_search(search, with_mask):
    opened, rng = search.generation(), np.random.default_rng(0)
    mask = np.arange(len(FIGURES)) != 2 if with_mask else None
    query = AxisEmbedder._unit(rng.normal(size=(1, AxisEmbedder.dim)))[0]
    pool = opened.pool(Query(image=query, text=query, words="brain ct"), 3, mask)
    captions = AxisEmbedder().embed_texts([figure.caption for figure, _ in opened.show(pool.rows)])
    assert pool.views["image"] == pytest.approx(captions @ query, abs=1e-5)
    every = [figure.caption for figure, _ in opened.show(np.arange(len(FIGURES)))]
    every = AxisEmbedder().embed_texts(every) @ query
    if mask is not None:
        every[~mask] = -2
    assert set(np.argsort(-every)[:3].tolist()) <= set(pool.rows.tolist())


def test_an_image_of_another_size_and_mode_is_taken(search):
    assert isinstance(search.search(None, Image.new("L", (1, 1))), list)
