"""Archives of strangers: unpacked whole, or refused by name with nothing left behind."""

import struct
import tarfile
import zipfile

import pytest

from retrieval.corpora import archives
from retrieval.corpora.archives import open_folder, unpack_package, unpack_zip
from retrieval.corpora.reading import UnsafeInputError
from retrieval.errors import CorpusError
from tests.retrieval.corpus_files import write_package, write_zip


def test_a_zip_is_unpacked_once_whatever_it_is_called(tmp_path):
    file = write_zip(tmp_path / "lecture.zip", {"a.csv": "image,caption\n", "images/b.png": b"b", "__MACOSX/._b": b"x"})
    folder = open_folder(file, tmp_path / "out")
    assert {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()} == {"a.csv", "images/b.png"}
    (folder / "mark").touch()
    assert (open_folder(file, tmp_path / "out") / "mark").exists()
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_changed_zip_is_another_folder(tmp_path):
    first = open_folder(write_zip(tmp_path / "a.zip", {"a.csv": "1"}), tmp_path / "out")
    assert open_folder(write_zip(tmp_path / "a.zip", {"a.csv": "2"}), tmp_path / "out") != first


def test_a_zip_of_one_folder_is_that_folder(tmp_path):
    file = write_zip(tmp_path / "a.zip", {"lecture/a.csv": "1", "lecture/images/a.png": b"1"})
    assert open_folder(file, tmp_path / "out").name == "lecture"


def test_a_folder_is_itself_and_other_files_are_refused(tmp_path):
    assert open_folder(tmp_path, tmp_path / "out") == tmp_path
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(CorpusError, match="neither a folder nor a ZIP"):
        open_folder(tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(CorpusError, match="not there"):
        open_folder(tmp_path / "b.zip", tmp_path / "out")


def test_what_a_killed_unpacking_left_is_cleared(tmp_path):
    left = tmp_path / "out" / "a.partial"
    left.mkdir(parents=True)
    (left / "half").touch()
    unpack_zip(write_zip(tmp_path / "a.zip", {"a.csv": "1"}), tmp_path / "out" / "a")
    assert [f.name for f in (tmp_path / "out").rglob("*")] == ["a", "a.csv"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "\\\\host\\evil"])
def test_a_zip_that_leaves_its_folder_is_refused(tmp_path, name):
    _refused(write_zip(tmp_path / "a.zip", {"ok.csv": "1", name: "x"}), tmp_path, "outside its folder")


def test_a_zip_bomb_is_refused(tmp_path):
    bomb = write_zip(tmp_path / "a.zip", {"zeros.csv": bytes(24 << 20)})
    _refused(bomb, tmp_path, "more than 100 times its size")


def test_a_zip_beyond_the_limits_is_refused(tmp_path, monkeypatch):
    file = write_zip(tmp_path / "a.zip", {f"{n}.csv": "x" * 1000 for n in range(4)})
    monkeypatch.setattr(archives, "MAX_BYTES", 3000)
    _refused(file, tmp_path, "unpacks to more than")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    _refused(file, tmp_path, "more than 3 files")


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path):
    file = write_zip(tmp_path / "a.zip", {"a.csv": bytes(1_000_000)})
    file.write_bytes(file.read_bytes().replace(struct.pack("<I", 1_000_000), struct.pack("<I", 10)))
    _refused(file, tmp_path, "damaged", CorpusError)


@pytest.mark.parametrize("mode", [0o120777, 0o060644, 0o010644])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, mode):
    info = zipfile.ZipInfo("link.csv")
    info.external_attr = mode << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    _refused(tmp_path / "a.zip", tmp_path, "link or a device")


@pytest.mark.parametrize("members", [["a.csv", "a.csv"], ["a", "a/b.csv"]])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_files_of_one_name_is_refused(tmp_path, members):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in members:
            archive.writestr(name, "x")
    _refused(tmp_path / "a.zip", tmp_path, "two files")


def test_a_zip_with_an_endless_name_is_refused(tmp_path):
    _refused(write_zip(tmp_path / "a.zip", {"x" * 5000: "1"}), tmp_path, "too long")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data.replace(b"PK\x01\x02", b"PK\x01\x03"), "damaged"),
        (lambda data: data[:40] + b"\xff" * 10 + data[50:], "damaged"),
        (lambda data: _flagged(data), "password"),
    ],
)
def test_a_damaged_zip_says_so(tmp_path, spoil, message):
    file = write_zip(tmp_path / "a.zip", {"a.csv": "some text, " * 20})
    file.write_bytes(spoil(file.read_bytes()))
    _refused(file, tmp_path, message, CorpusError)


def test_a_zip_packed_in_an_unusual_way_is_refused(tmp_path):
    _refused(write_zip(tmp_path / "a.zip", {"a.csv": "1"}, zipfile.ZIP_BZIP2), tmp_path, "ordinary ZIP", CorpusError)


def test_a_zip_larger_than_the_disk_is_refused(tmp_path, monkeypatch):
    full = archives.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: full)
    _refused(write_zip(tmp_path / "a.zip", {"a.csv": "x" * 100}), tmp_path, "free on the disk", CorpusError)


def test_a_package_gives_the_files_that_were_asked_for(tmp_path):
    package = write_package(
        tmp_path / "PMC1.tar.gz", {"PMC1/a.nxml": b"<article/>", "PMC1/f1.jpg": b"1", "PMC1/big.pdf": b"2"}
    )
    unpack_package(package, tmp_path / "out" / "PMC1", (".nxml", ".jpg"))
    assert sorted(f.name for f in (tmp_path / "out").rglob("*.*")) == ["a.nxml", "f1.jpg"]


def _member(kind: bytes, name: str = "PMC1/x.jpg") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (_member(tarfile.SYMTYPE), "link or a device"),
        (_member(tarfile.LNKTYPE), "link or a device"),
        (_member(tarfile.CHRTYPE), "link or a device"),
        (_member(tarfile.FIFOTYPE), "link or a device"),
        (_member(tarfile.REGTYPE, "../evil.jpg"), "outside its folder"),
        (_member(tarfile.REGTYPE, "/evil.jpg"), "outside its folder"),
        (_member(tarfile.DIRTYPE, "../evil"), "outside its folder"),
    ],
)
def test_a_package_built_to_do_harm_is_refused(tmp_path, member, message):
    package = write_package(tmp_path / "a.tar.gz", {"ok.jpg": b"1", member.name: member})
    _refused(package, tmp_path, message)


def test_a_package_with_a_bomb_in_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_PACKAGE_BYTES", 1 << 20)
    _refused(write_package(tmp_path / "a.tar.gz", {"zeros.bin": bytes(2 << 20)}), tmp_path, "unpacks to more than")
    many = write_package(tmp_path / "b.tar.gz", {f"{n}.bin": bytes(1 << 18) for n in range(6)})
    _refused(many, tmp_path, "unpacks to more than")


def test_a_package_with_a_bomb_in_a_header_is_refused(tmp_path):
    info = tarfile.TarInfo("a.jpg")
    info.pax_headers = {"comment": "x" * (2 << 20)}
    _refused(write_package(tmp_path / "a.tar.gz", {"a.jpg": info}), tmp_path, "header of more than 1 MiB")


def test_a_package_with_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    _refused(write_package(tmp_path / "a.tar.gz", {f"{n}.jpg": b"" for n in range(4)}), tmp_path, "more than 3 files")


@pytest.mark.parametrize(
    "spoil", [lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"no archive", lambda d: d[:60]]
)
def test_a_damaged_package_says_so(tmp_path, spoil):
    package = write_package(tmp_path / "a.tar.gz", {"a.jpg": bytes(range(256)) * 400})
    package.write_bytes(spoil(package.read_bytes()))
    _refused(package, tmp_path, "damaged", CorpusError)


def _refused(file, tmp_path, message, kind=UnsafeInputError):
    unpack = (lambda: unpack_zip(file, tmp_path / "out" / "a")) if file.suffix == ".zip" else (
        lambda: unpack_package(file, tmp_path / "out" / "a", (".jpg", ".nxml"))
    )  # fmt: skip
    with pytest.raises(kind, match=message) as caught:
        unpack()
    assert file.name in str(caught.value)
    assert not list((tmp_path / "out").glob("*")) and not (tmp_path / "evil").exists()


def _flagged(data: bytes) -> bytes:
    """The archive with the bit that says "encrypted" in its directory."""
    at = data.index(b"PK\x01\x02") + 8
    return data[:at] + bytes([data[at] | 1]) + data[at + 1 :]
