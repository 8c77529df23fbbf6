"""Building, resuming, mending: Parquet is the truth, Chroma follows."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from retrieval.build import build_index, rebuild_index
from retrieval.corpora.roco import read_roco
from retrieval.embedders import MiniLmEmbedder
from retrieval.errors import CorpusError, EmbedderMismatchError, IndexBusyError, IndexMissingError
from retrieval.evaluation.exact import ExactIndex
from retrieval.search import open_search
from retrieval.store import Store
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


def test_killed_in_the_middle_a_build_goes_on_without_loss_or_duplicate(tmp_path, roco_folder, minilm):
    captions = [f"{CAPTIONS[n % len(CAPTIONS)]} Case {n}." for n in range(96)]
    path = roco_folder(captions)
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        import numpy as np
        import retrieval.build as build
        from retrieval.embedders import MiniLmEmbedder

        class Slow(MiniLmEmbedder):
            def embed_texts(self, texts):
                time.sleep(0.2)
                print("batch", flush=True)
                return np.ones((len(texts), 384), np.float32) / 384 ** 0.5

        build.BATCH = build.STEP = 8
        build.build_index("roco", Path({str(tmp_path)!r}), Path({str(path)!r}), embedder=Slow())
    """)
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for _ in range(4):
        assert process.stdout.readline() == "batch\n"
    with pytest.raises(IndexBusyError, match=str(process.pid)):
        build_index("roco", tmp_path, path, embedder=minilm)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = stored_ids(tmp_path)
    assert 0 < len(kept) < len(captions)
    report = build_index("roco", tmp_path, path, embedder=minilm)
    assert report.added == len(captions) - len(kept)
    assert sorted(stored_ids(tmp_path)) == sorted(figure.figure_id for figure in read_roco(path))
    assert report.total == len(captions) == len(open_search(tmp_path, embedder=minilm))


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


def _cut_short(chroma: Path) -> None:
    for file in chroma.rglob("*.sqlite3"):
        file.write_bytes(file.read_bytes()[:1000])


def _overwrite(chroma: Path) -> None:
    for file in chroma.rglob("*.sqlite3"):
        file.write_bytes(b"not a database" * 500)


def _delete(chroma: Path) -> None:
    import shutil

    shutil.rmtree(chroma)


@pytest.mark.parametrize("harm", [_cut_short, _overwrite, _delete])
def test_a_damaged_chroma_directory_is_made_anew_from_parquet(tmp_path, roco_folder, minilm, harm):
    build_index("roco", tmp_path, roco_folder(), embedder=minilm)
    harm(tmp_path / "index" / "chroma")
    search = open_search(tmp_path, embedder=minilm)
    assert search.search("pneumothorax", None)[0].figure.caption == CAPTIONS[0]


def test_a_lost_pointer_is_made_anew(tmp_path, roco_folder, minilm):
    build_index("roco", tmp_path, roco_folder(), embedder=minilm)
    (tmp_path / "index" / "current.json").write_text("{")
    assert len(open_search(tmp_path, embedder=minilm)) == len(CAPTIONS)


def test_an_open_search_sees_a_rebuilt_index(tmp_path, roco_folder, minilm):
    build_index("roco", tmp_path, roco_folder(CAPTIONS[:5]), embedder=minilm)
    search = open_search(tmp_path, embedder=minilm)
    assert len(search) == 5
    build_index("roco", tmp_path, roco_folder(name="more"), embedder=minilm)
    assert len(search) == len(CAPTIONS)
    assert search.search("mammogram with a mass of the breast", None)[0].figure.caption == CAPTIONS[7]


@pytest.mark.parametrize("use", [open_search, rebuild_index])
def test_without_an_index_the_message_names_the_command(tmp_path, use):
    with pytest.raises(IndexMissingError, match="medvint index build sample"):
        use(tmp_path)
    assert not (tmp_path / "index").exists()


def test_an_unknown_corpus_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="sample, roco"):
        build_index("imagenet", tmp_path)


def test_chroma_finds_what_exact_search_finds(tmp_path, minilm):
    build_index("sample", tmp_path, embedder=minilm)
    exact, search = ExactIndex(tmp_path), open_search(tmp_path, embedder=minilm)
    assert len(exact.figures) == len(search)
    found = wanted = 0
    for query in minilm.embed_texts(list(CAPTIONS)):
        near = {exact.figures[number].figure_id for number, _ in exact.top(query, 8)}
        candidates = search.candidates({"text": query}, 8)
        found += len(near & {candidate.figure.figure_id for candidate in candidates})
        wanted += len(near)
        for candidate in candidates:
            row = next(i for i, f in enumerate(exact.figures) if f.figure_id == candidate.figure.figure_id)
            assert candidate.cosines["text"] == pytest.approx(float(exact.vectors[row] @ query), abs=1e-4)
    assert found / wanted >= 0.99


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
