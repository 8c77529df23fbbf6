"""Unpacking what strangers packed: ZIP files and PMC's .tar.gz packages, checked before and while they are written.

    folder = open_folder(Path("lecture.zip"), Path("data/corpora/own"))     # data/corpora/own/lecture-3f2a.../
    unpack_package(Path("PMC13900.tar.gz"), Path("data/corpora/jats/PMC13900"), (".nxml", ".jpg"))

An archive is unpacked whole or not at all: into a folder beside its place, which is then renamed.
"""

import gzip
import hashlib
import io
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from retrieval.corpora.reading import UnsafeInputError
from retrieval.errors import CorpusError

MAX_MEMBERS = 100_000
MAX_BYTES = 4 << 30
MAX_RATIO = 100
"""A folder of images and a table packs to a tenth at best; a bomb to a thousandth."""
RATIO_FREE = 16 << 20
"""Bytes below which the ratio does not matter: a small table may pack very well."""
MAX_PACKAGE_BYTES = 1 << 30
MAX_HEADER = 1 << 20
MAX_NAME = 240
CHUNK = 1 << 20

_DRIVE = re.compile("[A-Za-z]:")
_CLUTTER = ("__MACOSX", ".DS_Store", "Thumbs.db")


def open_folder(path: Path, unpack_to: Path) -> Path:
    """A corpus's folder: `path` itself, or the place under `unpack_to` where its ZIP lies unpacked.

    The place is named after the ZIP's content, so an unchanged one is unpacked once. Where a ZIP holds one folder and
    nothing else, that folder is the corpus's.

    Raises:
        CorpusError: `path` is neither, or the ZIP is damaged or has a password.
        UnsafeInputError: the ZIP is built to do harm.
    """
    if path.is_dir():
        return path
    if not path.exists():
        raise CorpusError(f"{path} is not there.")
    if not zipfile.is_zipfile(path):
        raise CorpusError(f"{path.name} is neither a folder nor a ZIP file.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = unpack_to / f"{path.stem[:40]}-{digest[:12]}"
    if not folder.is_dir():
        unpack_zip(path, folder)
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def unpack_zip(file: Path, folder: Path) -> None:
    """Unpack a ZIP file into `folder`, which must not exist.

    Raises:
        CorpusError: it is damaged, has a password, or does not fit on the disk.
        UnsafeInputError: it names paths outside itself, holds links, or unpacks to more than it should.
    """
    try:
        with zipfile.ZipFile(file) as archive, _staging(folder) as staging:
            members = _checked_members(file, archive)
            total = sum(member.file_size for member in members)
            if total > shutil.disk_usage(staging).free:
                raise CorpusError(f"{file.name} needs {total >> 20} MiB, more than is free on the disk.")
            for member in members:
                with archive.open(member) as source:
                    # zipfile stops at the declared size and compares the checksum, so what was checked is what comes.
                    _write(file, source, staging / _safe_name(file, member.filename))
    except NotImplementedError as error:
        raise _unusual(file) from error
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"{file.name} is a damaged ZIP file: {error}.") from error


def _unusual(file: Path) -> CorpusError:
    return CorpusError(f"{file.name} is packed in an unusual way: pack it as an ordinary ZIP file.")


def _checked_members(file: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise UnsafeInputError(file, f"it holds more than {MAX_MEMBERS:,} files")
    for info in infos:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UnsafeInputError(file, "it holds a link or a device", info.filename)
        if info.flag_bits & 1:
            raise CorpusError(f"{file.name} has a password: pack it without one.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # Python unpacks bzip2 and LZMA without a bound on what one read gives.
            raise _unusual(file)
        _safe_name(file, info.filename)
    total = sum(info.file_size for info in infos)
    if total > MAX_BYTES:
        raise UnsafeInputError(file, f"it unpacks to more than {MAX_BYTES >> 30} GiB")
    if total > RATIO_FREE and total > MAX_RATIO * file.stat().st_size:
        raise UnsafeInputError(file, f"it unpacks to more than {MAX_RATIO} times its size")
    return [info for info in infos if not info.is_dir() and not _is_clutter(info.filename)]


def unpack_package(file: Path, folder: Path, suffixes: Collection[str]) -> None:
    """Unpack the files with one of `suffixes` from a .tar.gz into `folder`, which must not exist, in one pass.

    Raises:
        CorpusError: it is damaged.
        UnsafeInputError: it names paths outside itself, holds links, or unpacks to more than it should.
    """
    try:
        with (
            file.open("rb") as packed,
            gzip.open(packed) as stream,
            tarfile.open(str(file), "r|", cast(Any, _Bounded(file, cast(Any, stream))), tarinfo=_Member) as archive,
            _staging(folder) as staging,
        ):
            for count, member in enumerate(archive):
                name = _safe_name(file, member.name)
                if count >= MAX_MEMBERS:
                    raise UnsafeInputError(file, f"it holds more than {MAX_MEMBERS:,} files")
                if member.isdir():
                    continue
                if not member.isreg():
                    raise UnsafeInputError(file, "it holds a link or a device", member.name)
                if member.size > MAX_PACKAGE_BYTES:
                    raise UnsafeInputError(file, f"it unpacks to more than {MAX_PACKAGE_BYTES >> 30} GiB")
                content = archive.extractfile(member) if name.suffix.lower() in suffixes else None
                if content is not None:
                    _write(file, content, staging / name)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(f"{file.name} is a damaged package: {error}.") from error


class _Member(tarfile.TarInfo):
    """Refuses extended headers that are larger than any needs to be: tarfile reads them whole into memory."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        # The one method that tarfile's own comments name as the place for subclasses.
        if not self.isdir() and not self.isreg() and self.size > MAX_HEADER:
            raise UnsafeInputError(Path(str(tar.name)), f"it has a header of more than {MAX_HEADER >> 20} MiB")
        return super()._proc_member(tar)  # type: ignore[misc]


class _Bounded(io.RawIOBase):
    """Passes a stream through until it has given `MAX_PACKAGE_BYTES`."""

    def __init__(self, file: Path, stream: IO[bytes]) -> None:
        self.file, self.stream, self.given = file, stream, 0

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.given += len(data)
        if self.given > MAX_PACKAGE_BYTES:
            raise UnsafeInputError(self.file, f"it unpacks to more than {MAX_PACKAGE_BYTES >> 30} GiB")
        return data


def _safe_name(file: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or _DRIVE.match(name) or "\0" in name:
        raise UnsafeInputError(file, "it would write outside its folder", name)
    if any(len(part.encode(errors="replace")) > MAX_NAME for part in path.parts):
        raise UnsafeInputError(file, "a name in it is too long", name)
    return path


def _is_clutter(name: str) -> bool:
    return any(part in _CLUTTER or part.startswith("._") for part in PurePosixPath(name).parts)


def _write(file: Path, source: IO[bytes], target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            shutil.copyfileobj(source, out, CHUNK)
    except (FileExistsError, NotADirectoryError) as error:
        raise UnsafeInputError(file, "it holds two files of one name", target.name) from error


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    staging = folder.with_name(folder.name + ".partial")
    if staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(parents=True)
    try:
        yield staging
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
