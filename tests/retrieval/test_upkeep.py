"""What is in an index, whether it is whole, deleting from it, and Chroma as a server."""

import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval.build import build_index, rebuild_index
from retrieval.errors import ChromaUnreachableError, CorpusError, IndexMissingError
from retrieval.search import open_search
from retrieval.store import Store
from retrieval.upkeep import delete, stats, verify
from tests.retrieval.cheap_index import CheapEmbedder, contents, write_own
from tests.retrieval.conftest import CAPTIONS, make_figure

EMBEDDER = CheapEmbedder()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Ten captions of ROCO and three own images under another licence."""
    data_dir = tmp_path_factory.mktemp("mixed")
    write_own(data_dir / "files", {f"{n}.png": f"Secretword{n} drawing." for n in range(3)}, licence="CC BY-NC 4.0")
    build_index("own", data_dir, data_dir / "files", embedder=EMBEDDER)
    rows = [(f"PMC{n // 2}", f"g{n}") for n in range(len(CAPTIONS))]
    store = Store(data_dir / "index")
    figures = [
        make_figure(n, caption, figure_id=f"{pmcid}/{graphic}", pmcid=pmcid, modality="CT" if "CT" in caption else "")
        for n, (caption, (pmcid, graphic)) in enumerate(zip(CAPTIONS, rows, strict=True))
    ]
    with store.writing():
        store.append("roco", figures, EMBEDDER.embed_texts([figure.words for figure in figures]), EMBEDDER)
        store.rebuild_chroma()
    return data_dir


@pytest.fixture
def index(mixed, tmp_path) -> Path:
    """A copy of it to harm."""
    shutil.copytree(mixed / "index", tmp_path / "index")
    return tmp_path


def test_stats_tell_what_is_there(mixed):
    found = stats(mixed)
    assert (found.figures, found.images, found.embedder, found.image_space) == (13, 3, "cheap", "cheap-images")
    assert set(found.corpora) == {"own", "roco"}
    own, roco = found.corpora["own"], found.corpora["roco"]
    assert (own.figures, own.images, own.licences) == (3, 3, {"CC BY-NC 4.0": 3})
    assert own.years == {2000: 1, 2001: 1, 2002: 1}
    assert (roco.figures, roco.images, roco.modalities["CT"]) == (10, 0, 2)
    assert min(found.bytes_parquet, found.bytes_chroma, found.bytes_thumbnails) > 1000
    assert found.in_step


@pytest.mark.parametrize("use", [stats, verify, lambda data_dir: delete(data_dir, corpora=["roco"])])
def test_where_nothing_was_built_that_is_said(tmp_path, use):
    with pytest.raises(IndexMissingError, match="medvint index build sample"):
        use(tmp_path)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("what", "count"),
    [
        ({"pmcids": ["PMC1"]}, 2),
        ({"figure_ids": ["PMC1/g2", "PMC1/g3", "PMC9/none"]}, 2),
        ({"licences": ["cc-by-nc"]}, 3),
        ({"licences": ["CC BY"]}, 10),
        ({"corpora": ["own"]}, 3),
        ({"corpora": ["own"], "pmcids": ["PMC0", "PMC1"]}, 7),
        ({"pmcids": ["PMC77", ""]}, 0),
        ({}, 0),
    ],
)
def test_deleting_takes_what_is_named_and_leaves_the_rest(index, what, count):
    before, _ = contents(index)
    thumbnails = len(list((index / "index" / "thumbnails").rglob("*.jpg")))
    assert delete(index, **what) == count
    after, images = contents(index)
    assert len(after) == 13 - count
    assert after.items() <= before.items()
    assert len(images) == len([figure_id for figure_id in after if figure_id.startswith("own/")])
    assert len(list((index / "index" / "thumbnails").rglob("*.jpg"))) == len(images) <= thumbnails
    assert verify(index).ok


def test_nothing_of_a_deleted_figure_stays_on_disk(index):
    open_search(index, embedder=EMBEDDER).search("Secretword1", None)

    def told() -> list[Path]:
        # Not the graph: hnswlib writes memory there that it never set, whatever this process had in it before.
        files = [file for file in (index / "index").rglob("*") if file.is_file() and file.suffix != ".bin"]
        return [file for file in files if b"ecretword" in file.read_bytes()]

    killed = Store(index / "index").thumbnails.path("own/killed").with_suffix(".partial")
    killed.parent.mkdir(exist_ok=True)
    for file in (killed, index / "index" / "parquet" / "own-000007.damaged"):
        file.write_bytes(b"Secretword")
    assert len(told()) > 2
    delete(index, corpora=["own"])
    assert told() == []


def test_an_index_of_which_all_was_deleted_is_no_index(index):
    assert delete(index, corpora=["own", "roco"]) == 13
    with pytest.raises(IndexMissingError):
        open_search(index, embedder=EMBEDDER)
    assert not list((index / "index").rglob("*.sqlite3"))
    assert build_index("sample", index, embedder=EMBEDDER).total > 100


def test_what_is_no_licence_deletes_nothing(index):
    with pytest.raises(CorpusError, match="no licence"):
        delete(index, licences=["whatever"])
    assert stats(index).figures == 13


def test_an_open_search_no_longer_finds_what_was_deleted(index):
    search = open_search(index, embedder=EMBEDDER)
    assert search.figure("PMC1/g2") is not None
    delete(index, pmcids=["PMC1"])
    assert search.figure("PMC1/g2") is None
    assert len(search) == 11


def _change(path: Path, column: str, change) -> None:
    table = pq.read_table(path)
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, table.field(place), change(table[column])), path)


def _flip_a_byte_of_a_vector(index: Path) -> None:
    shard = index / "parquet" / "roco-000000.parquet"
    data = bytearray(shard.read_bytes())
    column = pq.read_metadata(shard).row_group(0).column(pq.read_schema(shard).names.index("embedding"))
    data[column.data_page_offset + column.total_compressed_size - 40] ^= 1
    shard.write_bytes(data)


def _reword(index: Path) -> None:
    def change(values: pa.ChunkedArray) -> pa.Array:
        return pa.array([value.replace("CT", "MRI") for value in values.to_pylist()])

    _change(index / "parquet" / "roco-000000.parquet", "caption", change)


def _lengthen(index: Path) -> None:
    def change(values: pa.ChunkedArray) -> pa.Array:
        vectors = 2 * values.combine_chunks().flatten().to_numpy()
        return pa.FixedSizeListArray.from_arrays(pa.array(vectors), EMBEDDER.dim)

    _change(index / "parquet" / "roco-000000.parquet", "embedding", change)


def _cut_a_shard(index: Path) -> None:
    shard = index / "parquet" / "roco-000000.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])


def _repeat_a_shard(index: Path) -> None:
    shutil.copy(index / "parquet" / "roco-000000.parquet", index / "parquet" / "roco-000001.parquet")


def _move_to_another_corpus(index: Path) -> None:
    (index / "parquet" / "roco-000000.parquet").rename(index / "parquet" / "jats-000000.parquet")


def _with_chroma(index: Path, harm) -> None:
    store = Store(index)
    with store.generations.opened(store.current()) as (words, images):
        harm(words, images)


def _lose_one_in_chroma(index: Path) -> None:
    _with_chroma(index, lambda words, images: words.delete(ids=["PMC1/g2"]))


def _exchange_one_in_chroma(index: Path) -> None:
    def exchange(words, images) -> None:
        one = words.get(ids=["PMC1/g2"], include=["embeddings"])["embeddings"]
        words.delete(ids=["PMC1/g2"])
        words.add(ids=["PMC1/another"], embeddings=one, documents=["Another."])

    _with_chroma(index, exchange)


def _turn_a_vector_in_chroma(index: Path) -> None:
    _with_chroma(index, lambda words, images: words.update(ids=["PMC1/g2"], embeddings=[np.eye(EMBEDDER.dim)[0]]))


def _turn_an_image_in_chroma(index: Path) -> None:
    _with_chroma(index, lambda words, images: images.update(ids=images.peek()["ids"], embeddings=np.eye(64)[:3]))


def _lose_the_pointer(index: Path) -> None:
    (index / "current.json").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_flip_a_byte_of_a_vector, r"roco-000000\.parquet cannot be read"),
        (_cut_a_shard, r"roco-000000\.parquet cannot be read.*building the corpus roco again"),
        (_reword, "2 figures are not as they were stored, such as PMC1/g2; building roco again"),
        (_lengthen, "10 vectors are not of length 1"),
        (_repeat_a_shard, "roco: 10 figures are there twice, such as PMC0/g0"),
        (_move_to_another_corpus, "10 figures are of another corpus"),
        (_lose_one_in_chroma, "holds 12 of 13 .*medvint index rebuild"),
        (_exchange_one_in_chroma, "lacks 1 figures and has 1 too many; `medvint index rebuild`"),
        (_turn_a_vector_in_chroma, "1 vectors of the search database are not those"),
        (_turn_an_image_in_chroma, "3 vectors of the search database are not those"),
        (_lose_the_pointer, "was not made from the shards that are there"),
    ],
)
def test_verify_says_what_is_wrong(index, harm, said):
    assert verify(index).problems == ()
    harm(index / "index")
    report = verify(index)
    assert not report.ok
    assert len(report.problems) == 1
    assert re.search(said, report.problems[0], re.IGNORECASE)


@pytest.mark.parametrize("harm", [_lose_one_in_chroma, _turn_a_vector_in_chroma, _lose_the_pointer])
def test_rebuilding_mends_chroma(index, harm):
    before = contents(index)
    harm(index / "index")
    rebuild_index(index, embedder=EMBEDDER)
    assert verify(index).ok
    assert contents(index) == before


def test_without_a_server_at_the_address_that_is_said(index):
    with pytest.raises(ChromaUnreachableError, match=r"127\.0\.0\.1:9"):
        verify(index, "http://127.0.0.1:9")


@pytest.fixture
def chroma_server(tmp_path, free_port):
    """A real `chroma run`: its address, and a function that starts it anew with nothing in it."""
    port = free_port()
    processes = []

    def start() -> str:
        for process in processes:
            process.kill()
            process.wait()
        chroma = Path(sys.executable).with_name("chroma")
        folder = tmp_path / f"server-{len(processes)}"
        command = [chroma, "run", "--host", "127.0.0.1", "--port", str(port), "--path", folder]
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/api/v2/heartbeat", timeout=1).close()
                return address
            except (urllib.error.URLError, ConnectionError):
                assert processes[-1].poll() is None
                time.sleep(0.1)
        raise AssertionError("chroma run did not start")

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_chroma_as_a_server_of_two_indexes_and_two_searches(tmp_path, mixed, chroma_server):
    """What one index deletes does not touch another's collections; a server that lost everything is filled again."""
    url = chroma_server()
    one, other = tmp_path / "one", tmp_path / "other"
    for data_dir in (one, other):
        shutil.copytree(mixed / "index" / "parquet", data_dir / "index" / "parquet")
        rebuild_index(data_dir, chroma_url=url, embedder=EMBEDDER)
    assert not (one / "index" / "chroma").exists()
    searches = [open_search(data_dir, url, embedder=EMBEDDER) for data_dir in (one, one, other)]
    assert [search.generation().current.figures for search in searches] == [13, 13, 13]
    assert delete(one, corpora=["own"], chroma_url=url) == 3
    assert [search.generation().current.figures for search in searches] == [10, 10, 13]
    assert searches[0].figure("PMC1/g2").caption == CAPTIONS[2]
    assert verify(one, url).ok
    assert verify(other, url).ok
    assert chroma_server() == url
    assert len(open_search(other, url, embedder=EMBEDDER)) == 13
    assert verify(other, url).ok
