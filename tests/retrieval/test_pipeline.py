"""Several workers write what one loop writes; killed, they go on; several processes search one Chroma server."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval.build import build_index
from retrieval.errors import EmbedderMismatchError
from retrieval.pipeline import PipelineError, build_with_workers, opened
from retrieval.search import open_search
from tests.retrieval.conftest import CAPTIONS
from tests.retrieval.letters import Letters

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60


def shards(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "index" / "parquet").glob("*.parquet"))


def rows(data_dir: Path) -> list[dict]:
    table = pa.concat_tables([pq.read_table(shard) for shard in shards(data_dir)])
    return sorted(table.to_pylist(), key=lambda row: row["figure_id"])


def many(count: int) -> list[str]:
    return [f"{CAPTIONS[n % len(CAPTIONS)]} Case {n}." for n in range(count)]


def test_the_pipeline_writes_what_the_build_writes_and_then_finds_nothing_to_do(tmp_path, roco_folder, monkeypatch):
    path = roco_folder(many(30))
    monkeypatch.setattr("retrieval.pipeline.BATCH", 8)
    steps = []
    report = build_with_workers(
        "roco", tmp_path, path, progress=lambda *step: steps.append(step), workers=0, make=Letters
    )
    assert (report.added, report.already_there, report.total) == (30, 0, 30)
    assert ("embed", 8, 30) in steps
    build_index("roco", tmp_path / "plain", path, embedder=Letters())
    assert rows(tmp_path) == rows(tmp_path / "plain")
    assert len(shards(tmp_path)) == 4
    assert {pq.read_schema(shard) for shard in shards(tmp_path)} == {
        pq.read_schema(shard) for shard in shards(tmp_path / "plain")
    }
    before = shards(tmp_path)
    again = build_with_workers("roco", tmp_path, path, workers=0, make=Letters)
    assert (again.added, again.already_there, shards(tmp_path)) == (0, 30, before)
    assert not (tmp_path / "index" / "pending").exists()


def test_a_changed_caption_replaces_the_old_one(tmp_path, roco_folder):
    build_with_workers("roco", tmp_path, roco_folder(), workers=0, make=Letters)
    changed = ["Fundus photograph with drusen of the macula.", *CAPTIONS[1:]]
    report = build_with_workers("roco", tmp_path, roco_folder(changed, name="newer"), workers=0, make=Letters)
    assert (report.added, report.total) == (1, len(CAPTIONS))
    assert sorted(row["caption"] for row in rows(tmp_path)) == sorted(changed)


def test_another_embedder_and_a_device_that_it_does_not_run_on_are_refused(tmp_path, roco_folder, minilm):
    build_index("roco", tmp_path, roco_folder(), embedder=Letters())
    with pytest.raises(EmbedderMismatchError, match="letters"):
        build_with_workers("roco", tmp_path, roco_folder(name="again"), workers=0, make=lambda: minilm)
    with pytest.raises(PipelineError, match="processor only"):
        opened("minilm", "cuda")
    assert opened(f"pmc-clip:{tmp_path}", "cuda").device == "cuda"


def test_without_ray_the_message_names_the_command(tmp_path, roco_folder, monkeypatch):
    # What `import ray` meets where it is not installed.
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PipelineError, match=r"requirements-scale\.txt"):
        build_with_workers("roco", tmp_path, roco_folder(), workers=2, make=Letters)


def script(data_dir: Path, path: Path, workers: int) -> str:
    return textwrap.dedent(f"""
        import time
        from pathlib import Path
        import retrieval.pipeline as pipeline
        from tests.retrieval.letters import Letters

        class Slow(Letters):
            def embed_texts(self, texts):
                time.sleep(0.3)
                return super().embed_texts(texts)

        def tell(*step):
            print(*step, flush=True)

        pipeline.BATCH = 4
        report = pipeline.build_with_workers(
            "roco", Path({str(data_dir)!r}), Path({str(path)!r}), progress=tell, workers={workers}, make=Slow
        )
        print("added", report.added, report.total, flush=True)
    """)


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_killed_in_the_middle_it_goes_on_without_loss_or_duplicate(tmp_path, roco_folder, workers):
    path = roco_folder(many(40))
    command = [sys.executable, "-c", script(tmp_path, path, workers)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    while not process.stdout.readline().startswith("embed 8 "):
        assert process.poll() is None
    workers_left = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = rows(tmp_path)
    assert 8 <= len(kept) < 40
    try:
        # At once: workers of the killed run may still be writing.
        told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    finally:
        for left in workers_left:
            with suppress(psutil.NoSuchProcess):
                left.kill()
    added, total = map(int, re.search(r"^added (\d+) (\d+)$", told, re.MULTILINE).groups())
    assert total == 40
    assert 0 < added <= 40 - len(kept)
    build_index("roco", tmp_path / "plain", path, embedder=Letters())
    assert rows(tmp_path) == rows(tmp_path / "plain")
    assert len(open_search(tmp_path, embedder=Letters())) == 40


def test_two_processes_search_one_chroma_server(tmp_path, roco_folder, free_port):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    chroma = Path(sys.executable).with_name("chroma")
    server = subprocess.Popen(
        [chroma, "run", "--path", tmp_path / "server", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until_answers(f"{url}/api/v2/heartbeat", server)
        build_index("roco", tmp_path, roco_folder(), chroma_url=url, embedder=Letters())
        code = textwrap.dedent(f"""
            import json, sys
            from pathlib import Path
            from retrieval.search import open_search
            from tests.retrieval.letters import Letters
            search = open_search(Path({str(tmp_path)!r}), {url!r}, Letters())
            print(json.dumps([search.search(text, None, 1)[0].figure.caption for text in json.loads(sys.argv[1])]))
        """)
        command = [sys.executable, "-c", code, json.dumps(CAPTIONS)]
        searches = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for search in searches:
            assert json.loads(search.communicate(timeout=READY_S)[0]) == list(CAPTIONS)
    finally:
        server.terminate()
        server.wait(READY_S)


def wait_until_answers(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx.get(url, timeout=5).raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("the Chroma server did not become ready")
