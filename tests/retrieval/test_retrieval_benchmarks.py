"""The benchmarks of retrieval at sizes that show that they run; figures are measured elsewhere."""

import json

import numpy as np
import pytest
from PIL import Image

from retrieval.benchmarks import cost, growing, scale, speed, web
from retrieval.benchmarks.common import K, Source, in_turn, read
from retrieval.benchmarks.vectors import Clustered, nearest
from retrieval.corpora.sample import SAMPLE
from serving.benchmarks.measuring import BenchmarkError
from tests.retrieval.cheap_index import CheapEmbedder
from tests.retrieval.conftest import CAPTIONS, make_figure

FIGURES = [make_figure(number, caption) for number, caption in enumerate(CAPTIONS)]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("retrieval.benchmarks.vectors.BLOCK", 100)
    monkeypatch.setattr("retrieval.benchmarks.growing.BLOCK", 100)


def test_vectors_are_clustered_of_length_one_and_the_same_every_time(small_blocks):
    vectors = np.concatenate(list(Clustered(250).all()))
    assert vectors.shape == (250, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(vectors[200:], Clustered(250).block(2))
    cosines = vectors @ vectors.T - 2 * np.eye(250)
    assert np.median(cosines.max(axis=1)) > 0.6 > 0.4 > np.median(cosines)


def test_exact_search_in_blocks_finds_what_a_sort_finds(small_blocks):
    kept = Clustered(250)
    queries, vectors = kept.queries(20), np.concatenate(list(kept.all()))
    wanted = np.argsort(-(queries @ vectors.T), axis=1)[:, :5]
    assert [set(row) for row in nearest(queries, kept.all(), 5).tolist()] == [set(row) for row in wanted.tolist()]


def test_works_run_in_turn_each_first():
    order = []
    times = in_turn(3, lambda number: order.append(("a", number)), lambda number: order.append(("b", number)))
    assert [len(one) for one in times] == [3, 3]
    assert order == [(w, n) for n, ws in ((0, "ab"), (0, "ab"), (1, "ba"), (2, "ab")) for w in ws]


def test_a_fill_that_was_cut_off_goes_on_and_is_measured_beside_a_smaller_one(tmp_path, small_blocks):
    class Stopped(Exception):
        pass

    def stop(done: int, total: int, left_s: float) -> None:
        if done == 300:
            raise Stopped

    grown = {}
    for size in (200, 600):
        folder, vectors = tmp_path / str(size), Clustered(size)
        if size == 600:
            with pytest.raises(Stopped):
                growing.fill(folder, vectors, FIGURES, stop)
            log = folder / "blocks.jsonl"
            log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))
        steps = []
        filled = growing.fill(folder, vectors, FIGURES, lambda done, *_, seen=steps: seen.append(done))
        assert steps == list(range(100 if size == 200 else 300, size + 1, 100))
        grown[size] = filled, growing.measure(folder, vectors, queries=40, exact_queries=5)
        assert grown[size][1].recall >= 0.99
        assert grown[size][1].disk > vectors.count * vectors.dim * 4
    rows = scale.rows(grown)
    assert len(rows) == 8 + 8 + 5
    assert all(row.met is not False for row in rows)
    with pytest.raises(BenchmarkError, match="600 of 100"):
        growing.fill(tmp_path / "600", Clustered(100), FIGURES)


def test_cost_is_arithmetic_on_what_was_measured(tmp_path):
    kept = cost.Stored(1000, disk=4000, memory=2000, inserts_per_s=1000, parquet=1464)
    told = cost.text(3_600_000, cost.Rates(texts_per_s=1000, images_per_s=100, pictures_per_s=200), kept)
    for value in ("| 1.0 h |", "| 10.0 h |", "| 5.0 h |", "| 2.0 h |", "| 28.8 GB |", "| 14.4 GB |", "| 10.8 GB |"):
        assert value in told
    with pytest.raises(BenchmarkError, match=r"retrieval\.benchmarks"):
        cost.stored(tmp_path)
    (tmp_path / "speed.json").write_text('{"parquet_bytes_per_figure": 1464}')
    sizes = {size: {"filled": {"last_rate": size}, "measured": {"disk": 4e6, "memory": 2e6}} for size in (10, 1000)}
    (tmp_path / "scale.json").write_text(json.dumps({"sizes": sizes}))
    assert cost.stored(tmp_path) == kept


def test_building_and_searching_are_measured_over_a_small_sample(tmp_path):
    file = tmp_path / "sample.jsonl"
    file.write_text("\n".join(SAMPLE.read_text(encoding="utf-8").splitlines()[:24]), encoding="utf-8")
    source = Source("sample", file)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    rows = speed.rows(source, [image], tmp_path, CheapEmbedder(), queries=3)
    assert len(rows) == 5
    assert all(row.measured > 0 and row.reference > 0 for row in rows)
    assert rows[0].detail["figures"] == len(read(source)) == 24
    assert rows[2].detail["queries"] == 3


@pytest.mark.slow
def test_memory_is_that_of_a_real_web_process(sample_index):
    image = Image.effect_noise((64, 64), 40).convert("RGB")
    row = web.memory_row(sample_index, [image])
    assert row.measured > row.detail["at_start_gb"] / 2 > 0
    assert row.detail["searches"] == web.SEARCHES > K
