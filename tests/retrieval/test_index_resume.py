"""A build that is stopped or killed at any moment goes on without loss or duplicate; nobody writes beside it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import retrieval.build as build
from retrieval.build import build_index
from retrieval.errors import IndexBusyError
from retrieval.store import Store
from retrieval.upkeep import delete, verify
from tests.retrieval.cheap_index import CheapEmbedder, contents, write_own

ROOT = Path(__file__).resolve().parents[2]
FIGURES = 60
AT_ONCE = 8

KILLED = """
import sys, time
from pathlib import Path
import retrieval.build as build
from tests.retrieval.cheap_index import CheapEmbedder

stage, data_dir, path = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])

def progress(now, done, total):
    if now == stage and done >= total // 3:
        print("here", flush=True)
        time.sleep(300)

build.BATCH = build.STEP = build.IMAGE_STEP = int(sys.argv[4])
build.build_index("own", data_dir, path, progress=progress, embedder=CheapEmbedder())
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    return write_own(folder, {f"{n}.png": f"Drawing {n} of ellipses." for n in range(FIGURES)})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, own) -> tuple[dict, dict]:
    data_dir = tmp_path_factory.mktemp("uninterrupted")
    build_index("own", data_dir, own, embedder=CheapEmbedder())
    return contents(data_dir)


def stored_ids(data_dir: Path) -> list[str]:
    return [figure_id for shard in Store(data_dir / "index").shards() for figure_id in ids_of(shard)]


def ids_of(shard: Path) -> list[str]:
    return pq.read_table(shard)["figure_id"].to_pylist()


@pytest.mark.parametrize("stage", ["embed", "index"])
def test_killed_amid_a_build_it_goes_on(tmp_path, own, uninterrupted, stage):
    arguments = [sys.executable, "-c", KILLED, stage, str(tmp_path), str(own), str(AT_ONCE)]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "here\n"
        for write in (
            lambda: build_index("own", tmp_path, own, embedder=CheapEmbedder()),
            lambda: delete(tmp_path, corpora=["own"]),
        ):
            with pytest.raises(IndexBusyError, match=f"being written by another process .process {process.pid}"):
                write()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kept = stored_ids(tmp_path)
    assert len(set(kept)) == len(kept)
    assert len(kept) == FIGURES if stage == "index" else 0 < len(kept) < FIGURES
    report = build_index("own", tmp_path, own, embedder=CheapEmbedder())
    assert (report.added, report.total) == (FIGURES - len(kept), FIGURES)
    assert contents(tmp_path) == uninterrupted
    assert verify(tmp_path).ok


class StopError(Exception):
    """A person pressed a button."""


@pytest.mark.parametrize("moment", [("embed", 0), ("embed", 16), ("embed", FIGURES), ("index", 8), ("index", FIGURES)])
def test_stopped_by_its_progress_it_goes_on(tmp_path, own, uninterrupted, monkeypatch, moment):
    for name in ("BATCH", "STEP", "IMAGE_STEP"):
        monkeypatch.setattr(build, name, AT_ONCE)

    def progress(stage: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        if (stage, done) == moment:
            raise StopError

    with pytest.raises(StopError):
        build_index("own", tmp_path, own, progress=progress, embedder=CheapEmbedder())
    build_index("own", tmp_path, own, embedder=CheapEmbedder())
    assert sorted(stored_ids(tmp_path)) == sorted(uninterrupted[0])
    assert contents(tmp_path) == uninterrupted


def test_stopped_within_a_batch_keeps_what_was_embedded(tmp_path, own):
    def progress(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("embed", 2 * build.IMAGE_STEP):
            raise StopError

    with pytest.raises(StopError):
        build_index("own", tmp_path, own, progress=progress, embedder=CheapEmbedder())
    report = build_index("own", tmp_path, own, embedder=CheapEmbedder())
    assert (report.already_there, report.total) == (2 * build.IMAGE_STEP, FIGURES)


def test_killed_between_a_reworded_figure_and_its_old_row_the_old_row_goes(tmp_path, own):
    """The newer shard is there already, the older row is not dropped yet."""
    embedder, store = CheapEmbedder(), Store(tmp_path / "index")
    build_index("own", tmp_path, own, embedder=embedder)
    with store.writing():
        (rows,) = store.rows()
        first = rows.take([0])
        old = type(first.figures[0]).from_dict(first.figures[0].to_dict() | {"caption": "As it was before."})
        store.parquet.paths()[0].rename(store.parquet.folder / "own-000001.parquet")
        assert store.append("own", [old], first.vectors, embedder).name == "own-000002.parquet"
        (store.parquet.folder / "own-000002.parquet").rename(store.parquet.folder / "own-000000.parquet")
    assert len(stored_ids(tmp_path)) == FIGURES + 1
    assert not verify(tmp_path).ok
    report = build_index("own", tmp_path, own, embedder=embedder)
    assert (report.added, report.total, len(stored_ids(tmp_path))) == (0, FIGURES, FIGURES)
    assert verify(tmp_path).ok
