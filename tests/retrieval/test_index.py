"""Building and mending: Parquet is the truth, Chroma follows."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import chromadb
import numpy as np
import pyarrow.parquet as pq
import pytest

from retrieval.build import build_index, rebuild_index
from retrieval.corpora.roco import read_roco
from retrieval.embedders import MiniLmEmbedder
from retrieval.errors import CorpusError, DamagedShardError, EmbedderMismatchError, IndexMissingError
from retrieval.evaluation.exact import ExactIndex
from retrieval.figures import Figure
from retrieval.search import open_search
from retrieval.store import Rows, Store, also_of
from retrieval.store_chroma import LAYOUT
from retrieval.store_shards import Made, no_images, to_table
from retrieval.upkeep import verify
from tests.retrieval.cheap_index import CheapEmbedder, contents
from tests.retrieval.conftest import CAPTIONS, SHARED, make_figure
from tests.retrieval.corpus_files import image_bytes, write_zip

ROOT = Path(__file__).resolve().parents[2]


class OtherEmbedder(MiniLmEmbedder):
    """MiniLM under another name: a space that does not fit."""

    name = "another-embedder"


def stored_ids(data_dir: Path) -> list[str]:
    shards = sorted((data_dir / "index" / "parquet").glob("*.parquet"))
    return [figure_id for shard in shards for figure_id in pq.read_table(shard)["figure_id"].to_pylist()]


def test_a_build_is_found_by_search_and_a_second_build_adds_nothing(tmp_path, roco_folder, minilm):
    path, steps = roco_folder(), []
    report = build_index("roco", tmp_path, path, progress=lambda *step: steps.append(step), embedder=minilm)
    assert (report.added, report.already_there, report.total) == (len(CAPTIONS), 0, len(CAPTIONS))
    assert {step[0] for step in steps} == {"embed", "index"}
    assert all(done <= total for _, done, total in steps)
    before = Store(tmp_path / "index").current()
    again = build_index("roco", tmp_path, path, embedder=minilm)
    assert (again.added, again.already_there, again.total) == (0, len(CAPTIONS), len(CAPTIONS))
    assert Store(tmp_path / "index").current() == before
    assert open_search(tmp_path, embedder=minilm).search("pneumothorax", None)[0].figure.caption == CAPTIONS[0]


def test_a_new_caption_of_a_known_figure_replaces_the_old_one(tmp_path, roco_folder, minilm):
    build_index("roco", tmp_path, roco_folder(), embedder=minilm)
    changed = ["Fundus photograph with drusen of the macula.", *CAPTIONS[1:]]
    report = build_index("roco", tmp_path, roco_folder(changed, name="newer"), embedder=minilm)
    assert (report.added, report.total) == (1, len(CAPTIONS))
    search = open_search(tmp_path, embedder=minilm)
    assert search.search("drusen of the macula", None)[0].figure.caption == changed[0]
    assert all(hit.figure.caption != CAPTIONS[0] for hit in search.search("pneumothorax", None))


def test_an_own_zip_is_found_by_its_captions_and_tells_no_path(tmp_path, minilm):
    members = {
        "lecture/figures.csv": b"image,caption,description,year\nfilm.png,Film 7.,A large left pneumothorax.,2019\n",
        "lecture/film.png": image_bytes(),
    }
    archive = write_zip(tmp_path / "lecture.zip", members)
    report = build_index("own", tmp_path, archive, embedder=minilm)
    assert (report.added, report.skipped) == (1, {})
    (hit,) = open_search(tmp_path, embedder=minilm).search("large left pneumothorax", None)
    assert (hit.figure.caption, hit.figure.pmcid, hit.figure.source) == ("Film 7.", "", "own")
    assert hit.figure.image_path and str(tmp_path) not in json.dumps(hit.to_dict())
    assert build_index("own", tmp_path, archive, embedder=minilm).added == 0


def test_what_the_sample_no_longer_has_goes(tmp_path, minilm):
    rows = (ROOT / "retrieval" / "corpora" / "sample.jsonl").read_text().splitlines()[:20]
    file = tmp_path / "sample.jsonl"
    file.write_text("\n".join(rows))
    assert build_index("sample", tmp_path, file, embedder=minilm).total == 20
    file.write_text("\n".join(rows[:12]))
    assert build_index("sample", tmp_path, file, embedder=minilm).total == 12
    assert len(open_search(tmp_path, embedder=minilm)) == 12


def test_one_figure_of_two_corpora_is_found_once_with_the_article_s_own_caption(tmp_path, minilm):
    store = Store(tmp_path / "index")
    ours = make_figure(0, "Our words on a knee radiograph.", source="sample", caption_by="medvint")
    theirs = make_figure(0, "The authors' words on a knee radiograph.")
    with store.writing():
        for figure in (theirs, ours):
            store.append(figure.source, [figure], minilm.embed_texts([figure.caption]), minilm)
        store.rebuild_chroma()
    hits = open_search(tmp_path, embedder=minilm).search("knee radiograph", None)
    assert [hit.figure for hit in hits] == [theirs]


def test_everything_of_a_figure_comes_back(tmp_path, minilm):
    figure = make_figure(
        3, "Chest CT.", findings=("nodule", "effusion"), region="chest", image_path="a/b.png", label="", modality="CT"
    )
    store = Store(tmp_path / "index")
    with store.writing():
        store.append("roco", [figure], minilm.embed_texts([figure.caption]), minilm)
        store.rebuild_chroma()
    assert open_search(tmp_path, embedder=minilm).search("Chest CT.", None)[0].figure == figure


def test_another_embedder_is_refused_by_name_and_the_named_command_mends_it(tmp_path, roco_folder, minilm):
    path = roco_folder()
    build_index("roco", tmp_path, path, embedder=minilm)
    for use in (
        lambda: open_search(tmp_path, embedder=OtherEmbedder()),
        lambda: build_index("roco", tmp_path, path, embedder=OtherEmbedder()),
    ):
        with pytest.raises(EmbedderMismatchError, match="medvint index rebuild"):
            use()
    report = rebuild_index(tmp_path, embedder=OtherEmbedder())
    assert (report.added, report.total) == (len(CAPTIONS), len(CAPTIONS))
    assert open_search(tmp_path, embedder=OtherEmbedder()).search("gallstones", None)


def _cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])


def _overwrite(file: Path) -> None:
    file.write_bytes(random.Random(0).randbytes(file.stat().st_size))


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _delete(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize(
    ("harm", "pattern", "size"),
    [
        (_cut_short, "*.sqlite3", "few"),
        (_overwrite, "*.sqlite3", "few"),
        (_empty, "*.sqlite3", "few"),
        (_delete, "*", "few"),
        # Only a larger index has its graph in files.
        (_cut_short, "*.bin", "many"),
        (_overwrite, "*.bin", "many"),
        (_cut_short, "*.pickle", "many"),
        (_delete, "*.bin", "many"),
    ],
)
def test_a_damaged_chroma_directory_is_noticed_and_made_anew(tmp_path, few, many, harm, pattern, size):
    shutil.copytree((many if size == "many" else few) / "index", tmp_path / "index")
    before = Store(tmp_path / "index").current()
    files = [file for file in (tmp_path / "index" / "chroma").rglob(pattern) if file.is_file()]
    assert files
    for file in files:
        harm(file)
    search = open_search(tmp_path, embedder=CheapEmbedder())
    assert len(search) == before.figures
    after = Store(tmp_path / "index").current()
    assert after.generation != before.generation
    assert (after.figures, after.images) == (before.figures, before.images)
    assert verify(tmp_path).ok


def test_what_is_taken_over_from_the_generation_before_equals_what_is_made_anew(tmp_path):
    """Added, reworded, deleted, put into a group, seen in another corpus."""
    embedder, store = CheapEmbedder(), Store(tmp_path / "index")

    def add(source: str, *figures: Figure) -> None:
        with store.writing():
            store.append(source, list(figures), embedder.embed_texts([f.words for f in figures]), embedder)
            store.parquet.drop_superseded(source)
            store.rebuild_chroma()

    start = [make_figure(n, caption, findings=("a finding",)) for n, caption in enumerate(CAPTIONS)]
    add("roco", *start)
    again = replace(start[0], figure_id="PMC1000/other", graphic="other")
    elsewhere = replace(start[1], source="pmc-oa", description="Also here.")
    add("roco", again, replace(start[2], caption="Reworded.", findings=(), modality="CT"))
    add("pmc-oa", elsewhere, make_figure(50, "New.", source="pmc-oa"))
    with store.writing():
        store.parquet.drop(lambda row: row["figure_id"] == start[3].figure_id, [])
        store.rebuild_chroma()
    taken_over = contents(tmp_path)
    rebuild_index(tmp_path, embedder=embedder)
    assert contents(tmp_path) == taken_over
    words, _ = taken_over
    assert len(words) == len(CAPTIONS) + 1
    assert words[start[0].figure_id][1]["group"] == words[again.figure_id][1]["group"]
    assert len(also_of(words[start[1].figure_id][1])) == 1
    assert "findings" not in words[start[2].figure_id][1]


def test_an_index_of_the_version_before_opens_is_upgraded_and_embeds_nothing_again(tmp_path, roco_folder):
    """Without vectors of images, years and descriptions in the shards, and with one collection in Chroma."""
    embedder, path = CheapEmbedder(), roco_folder()
    figures = list(read_roco(path))
    rows = Rows(figures, embedder.embed_texts([f.caption for f in figures]), no_images(len(figures), 64), [""] * 10)
    table = to_table(rows, Made("cheap", 64)).drop_columns(["image_embedding", "image_hash", "year", "description"])
    shard = tmp_path / "index" / "parquet" / "roco-000000.parquet"
    shard.parent.mkdir(parents=True)
    pq.write_table(table.replace_schema_metadata({"embedder": "cheap", "dim": "64"}), shard)
    client = chromadb.PersistentClient(str(tmp_path / "index" / "chroma" / "abcdef"))
    old = client.create_collection("figures-abcdef", configuration={"hnsw": {"space": "cosine"}})
    old.add(ids=[f.figure_id for f in figures], embeddings=rows.vectors, documents=[f.caption for f in figures])
    client.close()
    current = {"generation": "abcdef", "figures": 10, "embedder": "cheap", "dim": 64}
    current["shards"] = {shard.name: shard.stat().st_size}
    (tmp_path / "index" / "current.json").write_text(json.dumps(current))
    search = open_search(tmp_path, embedder=embedder)
    assert search.figure(figures[4].figure_id) == figures[4]
    assert Store(tmp_path / "index").current().layout == LAYOUT
    assert verify(tmp_path).ok
    assert build_index("roco", tmp_path, path, embedder=embedder).added == 0


def test_a_damaged_shard_is_named_and_building_its_corpus_makes_it_anew(tmp_path, roco_folder):
    path, embedder = roco_folder(), CheapEmbedder()
    build_index("roco", tmp_path, path, embedder=embedder)
    build_index("sample", tmp_path, embedder=embedder)
    (shard,) = Store(tmp_path / "index").shards("roco")
    shard.write_bytes(shard.read_bytes()[:900])
    with pytest.raises(DamagedShardError, match="roco-000000"):
        rebuild_index(tmp_path, embedder=embedder)
    assert build_index("roco", tmp_path, path, embedder=embedder).added == len(CAPTIONS)
    assert verify(tmp_path).ok


def test_what_a_killed_writer_left_is_cleared_away(tmp_path, few):
    shutil.copytree(few / "index", tmp_path / "index")
    leftovers = [
        tmp_path / "index" / "parquet" / "own-000001.partial",
        tmp_path / "index" / "import-abc" / "0.parquet",
        tmp_path / "index" / "chroma" / "0123456789ab" / "chroma.sqlite3",
    ]
    for file in leftovers:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"half")
    build_index("sample", tmp_path, embedder=CheapEmbedder())
    assert not any(file.exists() for file in leftovers)
    assert verify(tmp_path).ok


def test_sources_whose_names_begin_alike_are_kept_apart(tmp_path):
    embedder, store = CheapEmbedder(), Store(tmp_path / "index")
    with store.writing():
        for source in ("roco", "roco-2"):
            figure = make_figure(1, "A caption.", source=source)
            store.append(source, [figure], embedder.embed_texts([figure.words]), embedder)
    assert [path.name for path in store.shards("roco")] == ["roco-000000.parquet"]
    assert [path.name for path in store.shards("roco-2")] == ["roco-2-000000.parquet"]


def test_a_lost_pointer_is_made_anew(tmp_path, roco_folder, minilm):
    build_index("roco", tmp_path, roco_folder(), embedder=minilm)
    (tmp_path / "index" / "current.json").write_text("{")
    assert len(open_search(tmp_path, embedder=minilm)) == len(CAPTIONS)


def test_an_open_search_sees_a_rebuilt_index(tmp_path, roco_folder, minilm):
    build_index("roco", tmp_path, roco_folder(CAPTIONS[:5]), embedder=minilm)
    search = open_search(tmp_path, embedder=minilm)
    assert len(search) == 5
    build_index("roco", tmp_path, roco_folder(name="more"), embedder=minilm)
    assert search.search("mammogram with a mass of the breast", None)[0].figure.caption == CAPTIONS[7]
    assert len(search) == len(CAPTIONS)


@pytest.mark.parametrize("use", [open_search, rebuild_index])
def test_without_an_index_the_message_names_the_command(tmp_path, use):
    with pytest.raises(IndexMissingError, match="medvint index build sample"):
        use(tmp_path)
    assert not (tmp_path / "index").exists()


def test_an_unknown_corpus_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"imagenet.*sample, roco"):
        build_index("imagenet", tmp_path)


@pytest.mark.parametrize("kind", ["words", "images"])
def test_chroma_finds_what_exact_search_finds(many, kind):
    """NumPy over the Parquet is the reference."""
    store = Store(many / "index")
    figures, vectors = [], []
    for rows in store.rows():
        chosen = rows if kind == "words" else rows.take(np.flatnonzero(rows.has_image))
        figures += [figure.figure_id for figure in chosen.figures]
        vectors.append(chosen.vectors if kind == "words" else chosen.image_vectors)
    exact = np.concatenate(vectors)
    current = store.current()
    collection = store.open_collection(current) if kind == "words" else store.open_images(current)
    assert collection.count() == len(figures) > 100
    queries = exact[::40] + np.random.default_rng(0).normal(0, 0.02, exact[::40].shape)
    answer = collection.query(query_embeddings=queries.astype(np.float32), n_results=8, include=["distances"])
    right = 0
    for query, ids, distances in zip(queries, answer["ids"], answer["distances"], strict=True):
        cosines = exact @ (query / np.linalg.norm(query))
        best = np.argsort(-cosines)[:8]
        right += len({figures[number] for number in best} & set(ids))
        assert 1 - np.array(distances) == pytest.approx([cosines[figures.index(i)] for i in ids], abs=1e-4)
    assert right / (8 * len(queries)) >= 0.99


def test_the_exact_index_holds_every_figure_once(many):
    exact = ExactIndex(many)
    assert (
        len({figure.figure_id for figure in exact.figures})
        == len(exact.figures)
        == Store(many / "index").current().figures
    )
    number, cosine = exact.top(exact.vectors[5], 1)[0]
    assert (exact.vectors[number] == exact.vectors[5]).all()
    assert cosine == pytest.approx(1, abs=1e-5)


@pytest.mark.skipif(not (SHARED / "roco-captions").is_dir(), reason="../shared/data/roco-captions is not there")
def test_a_real_caption_finds_its_figure(tmp_path, minilm):
    figures = [figure for figure in read_roco(SHARED / "roco-captions") if len(figure.caption) > 80][:64]
    store = Store(tmp_path / "index")
    with store.writing():
        store.append("roco", figures, minilm.embed_texts([figure.caption for figure in figures]), minilm)
        store.rebuild_chroma()
    search = open_search(tmp_path, embedder=minilm)
    for figure in figures[:16]:
        assert figure in [hit.figure for hit in search.search(figure.caption[: len(figure.caption) * 2 // 3], None, 5)]


def test_vectors_have_length_one(minilm):
    vectors = minilm.embed_texts(list(CAPTIONS))
    assert vectors.shape == (len(CAPTIONS), minilm.dim)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert minilm.embed_texts([]).shape == (0, minilm.dim)
