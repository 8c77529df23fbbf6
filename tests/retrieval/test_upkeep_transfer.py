"""An index as one file: out, in again, and archives that somebody tampered with."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval.build import NO_PICTURE, build_index
from retrieval.errors import ArchiveError, EmbedderMismatchError, IndexMissingError
from retrieval.store import Store
from retrieval.store_shards import Made, from_table, to_table
from retrieval.upkeep import delete, export_index, import_index, stats, verify
from tests.retrieval.cheap_index import CheapEmbedder, contents, write_own

EMBEDDER = CheapEmbedder()
SHARD = "parquet/own-000000.parquet"
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder with an index and its archive."""
    data_dir = tmp_path_factory.mktemp("exported")
    own = write_own(data_dir / "own", {f"{n}.png": f"Drawing {n}." for n in range(4)})
    build_index("own", data_dir, own, embedder=EMBEDDER)
    build_index("sample", data_dir, embedder=EMBEDDER)
    export_index(data_dir, data_dir / "index.tar")
    return data_dir


def read(archive: Path) -> Members:
    with tarfile.open(archive) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def write(archive: Path, members: Members, relist: bool = True) -> Path:
    """`relist`: the manifest lists the members as they are now, as one who tampers would see to."""
    if relist:
        manifest = json.loads(members["manifest.json"])
        rest = {name: data for name, data in members.items() if name != "manifest.json"}
        manifest["members"] = [[name, len(data), hashlib.sha256(data).hexdigest()] for name, data in rest.items()]
        members = {**rest, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(archive, "w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return archive


def test_an_exported_index_is_the_same_elsewhere(exported, tmp_path):
    report = import_index(exported / "index.tar", tmp_path)
    assert (report.added, report.already_there, report.total) == (438, 0, 438)
    words, images = contents(exported)
    for _, metadata, _ in words.values():
        metadata.pop("image_path", None)
    assert contents(tmp_path) == (words, images)
    assert verify(tmp_path).ok
    here, there = Store(exported / "index"), Store(tmp_path / "index")
    for figure_id in images:
        assert there.thumbnail(figure_id).stat().st_size > 500
        assert there.thumbnail(figure_id).relative_to(tmp_path) == here.thumbnail(figure_id).relative_to(exported)
    assert not list((tmp_path / "index").glob("import-*"))
    again = import_index(exported / "index.tar", tmp_path)
    assert (again.added, again.already_there) == (0, 438)


def test_an_archive_tells_nothing_of_the_machine(exported):
    assert str(exported).encode() not in b"".join(read(exported / "index.tar").values())
    with tarfile.open(exported / "index.tar") as tar:
        assert {(entry.uid, entry.gid, entry.uname, entry.mtime) for entry in tar} == {(0, 0, "", 0)}
    shard = pq.read_table(io.BytesIO(read(exported / "index.tar")[SHARD]))
    assert shard["image_path"].null_count == len(shard)


def test_an_import_brings_back_what_was_deleted_and_leaves_what_is_there(exported, tmp_path):
    shutil.copytree(exported / "index", tmp_path / "index")
    before, _ = contents(tmp_path)
    assert delete(tmp_path, corpora=["sample"]) == 434
    report = import_index(exported / "index.tar", tmp_path)
    assert (report.added, report.already_there, report.total) == (434, 4, 438)
    assert contents(tmp_path)[0] == before


def test_without_an_index_there_is_nothing_to_export(tmp_path):
    with pytest.raises(IndexMissingError):
        export_index(tmp_path, tmp_path / "index.tar")
    assert not list(tmp_path.iterdir())


class OtherEmbedder(CheapEmbedder):
    """The same under another name: a space that does not fit."""

    name = "other"


def test_an_archive_of_another_embedder_is_refused(exported, tmp_path):
    own = write_own(tmp_path / "own", {"a.png": "A drawing."})
    build_index("own", tmp_path, own, embedder=OtherEmbedder())
    with pytest.raises(EmbedderMismatchError, match=r'"cheap".*"other"'):
        import_index(exported / "index.tar", tmp_path)
    assert stats(tmp_path).figures == 1


def _shard(change: Callable) -> Callable[[Members], None]:
    """Changes the rows of a shard: figures, vectors or what the schema says."""

    def tamper(members: Members) -> None:
        table = pq.read_table(io.BytesIO(members[SHARD]))
        rows, made = change(from_table(table, EMBEDDER.dim), Made("cheap", EMBEDDER.dim, "cheap-images"))
        data = io.BytesIO()
        pq.write_table(to_table(rows, made), data)
        members[SHARD] = data.getvalue()

    return tamper


def _figures(**values: object) -> Callable[[Members], None]:
    return _shard(lambda rows, made: (replace(rows, figures=[replace(f, **values) for f in rows.figures]), made))


def _without_a_column(members: Members) -> None:
    data = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(members[SHARD])).drop_columns(["caption"]), data)
    members[SHARD] = data.getvalue()


def _of_another_kind(members: Members) -> None:
    table = pq.read_table(io.BytesIO(members[SHARD]))
    place = table.column_names.index("caption")
    data = io.BytesIO()
    pq.write_table(table.set_column(place, "caption", pa.array(range(len(table)))), data)
    members[SHARD] = data.getvalue()


def _rename(name: str) -> Callable[[Members], None]:
    def tamper(members: Members) -> None:
        members[name] = members.pop(SHARD)

    return tamper


def _manifest(**values: object) -> Callable[[Members], None]:
    def tamper(members: Members) -> None:
        members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | values).encode()

    return tamper


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (_rename("../../own-000000.parquet"), "is not as its manifest.json lists it"),
        (_rename("/parquet/own-000000.parquet"), "is not as its manifest.json lists it"),
        (_rename("parquet/../own-000000.parquet"), "is not as its manifest.json lists it"),
        (_rename("current.json"), "is not as its manifest.json lists it"),
        (_rename("parquet/jats-000000.parquet"), "A figure of jats is not whole"),
        (_manifest(format="medvint-index-9"), "another version made it"),
        (_manifest(dim=10**9), "dimension"),
        (_manifest(embedder=""), "names no embedder"),
        (_manifest(embedder="other"), "of another embedder than the archive"),
        (_manifest(embedder=["cheap"]), "cannot be read"),
        (lambda members: members.update({SHARD: b"PAR1 and nothing"}), "cannot be read"),
        (_without_a_column, "cannot be read"),
        (_of_another_kind, "cannot be read"),
        (_figures(source="roco"), "is not whole"),
        (_figures(caption="  "), "is not whole"),
        (_figures(caption="x" * 200_000), "more than 100,000 characters"),
        (_figures(caption_by="nobody"), "is not whole"),
        (_figures(license=None), "is not whole"),
        (_shard(lambda rows, made: (replace(rows, vectors=rows.vectors * 3), made)), "not of length 1"),
        (_shard(lambda rows, made: (replace(rows, vectors=rows.vectors * np.inf), made)), "not of length 1"),
        (_shard(lambda rows, made: (replace(rows, image_vectors=rows.image_vectors / 2), made)), "not of length 1"),
        (_shard(lambda rows, made: (replace(rows, hashes=["zz"] * len(rows)), made)), "perceptual hash"),
        (_shard(lambda rows, made: (rows, replace(made, embedder="other"))), "of another embedder"),
    ],
)
def test_a_tampered_archive_is_refused_and_stores_nothing(exported, tmp_path, tamper, said):
    members = read(exported / "index.tar")
    tamper(members)
    with pytest.raises(ArchiveError, match=said):
        import_index(write(tmp_path / "bad.tar", members), tmp_path / "data")
    assert [path.name for path in (tmp_path / "data" / "index").iterdir()] == ["lock"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar", "data"]


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda archive: archive.write_bytes(b""), "no exported index|no manifest"),
        (lambda archive: archive.write_bytes(b"no archive" * 500), "no exported index"),
        (lambda archive: archive.write_bytes(_cut(archive.read_bytes())), "no exported index|no manifest"),
        (lambda archive: write(archive, {"readme.txt": b"hello"}, relist=False), "holds no manifest"),
        (lambda archive: write(archive, read(archive) | {"extra.txt": b"x"}, relist=False), "lists it"),
        (lambda archive: write(archive, read(archive) | {SHARD: read(archive)[SHARD][::-1]}, relist=False), "hash"),
        (
            lambda archive: write(archive, {"manifest.json": read(archive)["manifest.json"]}, relist=False),
            "unpack|lacks",
        ),
        (lambda archive: archive.unlink(), "is not there"),
    ],
)
def test_what_is_no_whole_archive_is_refused(exported, tmp_path, spoil, said):
    archive = Path(shutil.copy(exported / "index.tar", tmp_path / "index.tar"))
    spoil(archive)
    with pytest.raises(ArchiveError, match=said):
        import_index(archive, tmp_path / "data")
    assert not (tmp_path / "data" / "index" / "parquet").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_only_plain_files_are_taken_from_an_archive(exported, tmp_path, kind):
    members = read(exported / "index.tar")
    archive = write(tmp_path / "bad.tar", {name: data for name, data in members.items() if name != SHARD}, relist=False)
    with tarfile.open(archive, "a") as tar:
        entry = tarfile.TarInfo(SHARD)
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry)
    with pytest.raises(ArchiveError):
        import_index(archive, tmp_path / "data")


def test_paths_and_addresses_that_came_along_are_not_trusted(exported, tmp_path):
    """A path would be one of this machine, whose file the page would then show."""
    members = read(exported / "index.tar")
    _figures(image_path="/etc/passwd", image_url="file:///etc/passwd", article_url="javascript:alert(1)")(members)
    import_index(write(tmp_path / "index.tar", members), tmp_path)
    figures = [figure for rows in Store(tmp_path / "index").rows() for figure in rows.figures if figure.source == "own"]
    assert {(figure.image_path, figure.image_url, figure.article_url) for figure in figures} == {(None, None, "")}


def test_a_picture_that_is_none_is_left_out_and_told(exported, tmp_path):
    members = read(exported / "index.tar")
    picture = next(name for name in members if name.startswith("thumbnails/"))
    members[picture] = b"no picture"
    report = import_index(write(tmp_path / "index.tar", members), tmp_path)
    assert report.skipped == {NO_PICTURE: 1}
    assert report.total == 438
    assert len(list((tmp_path / "index" / "thumbnails").rglob("*.jpg"))) == 3
