"""An index as one file, to take it to another machine: a .tar of the shards, the thumbnails and their hashes.

    export_index(Path("data"), Path("index.tar"))
    import_index(Path("index.tar"), Path("elsewhere"))

    manifest.json                       embedder, dimension, image space; of every other member size and SHA-256
    parquet/{source}-{number}.parquet   shards, without the paths of image files
    thumbnails/{xx}/{...}.jpg

An archive comes from anywhere. Nothing of it is stored as it came: members are compared with the manifest, figures and
vectors are checked and written anew, pictures are decoded and encoded anew, and no member's name becomes a path.
"""

import hashlib
import io
import json
import re
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from retrieval.build import NO_PICTURE, BuildReport, Progress, bring_up, index_folder, stage
from retrieval.corpora.reading import CorpusReport, tidy
from retrieval.errors import ArchiveError, DamagedShardError, EmbedderMismatchError, PictureError
from retrieval.figures import Figure
from retrieval.store import IMPORT_PREFIX, REBUILD_COMMAND, Rows, Store
from retrieval.store_images import open_picture
from retrieval.store_shards import FIGURE_COLUMNS, Made, Shards, to_table

FORMAT = "medvint-index-1"
MAX_MEMBER = 1 << 30
MAX_MANIFEST = 64 << 20
MAX_DIM = 8192
MAX_TEXT = 100_000

_MANIFEST = "manifest.json"
_SHARD = re.compile(r"parquet/([a-z0-9]+(?:-[a-z0-9]+)*)-(\d{6,9})\.parquet")
_PICTURE = re.compile(r"thumbnails/([0-9a-f]{2})/([0-9a-f]{30})\.jpg")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """A member as the manifest lists it."""

    name: str
    size: int
    sha256: str


def export_index(data_dir: Path, file: Path, progress: Progress | None = None) -> int:
    """Writes the index into `file`, whole or not at all; returns the rows in it. Chroma is made anew by the import.

    Raises:
        IndexMissingError: nothing was built yet.
        IndexBusyError: another process is writing.
        DamagedShardError: a shard cannot be read.
        EmbedderMismatchError: two embedders made the shards.
    """
    store = Store(index_folder(data_dir))
    store.check_there()
    partial = file.with_name(f"{file.name}.partial")
    with store.writing():
        names = store.embedder_name() or ""
        shards = store.shards()
        made = store.parquet.made(shards[0])
        if names != made.embedder:
            raise EmbedderMismatchError(f"{names} made the index together: `{REBUILD_COMMAND}` makes it one.")
        pictures = sorted(store.thumbnails.folder.glob("*/*.jpg"))
        tell = stage(progress, "export")
        total, rows = len(shards) + len(pictures), 0
        members: list[Member] = []
        try:
            with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as archive:
                for number, path in enumerate((*shards, *pictures)):
                    if tell:
                        tell(number, total)
                    if path.suffix == ".parquet":
                        data = _portable(store.parquet.read(path))
                        rows += store.parquet.count(path)
                    else:
                        data = path.read_bytes()
                    name = path.relative_to(store.folder).as_posix()
                    members.append(Member(name, len(data), hashlib.sha256(data).hexdigest()))
                    _add(archive, name, data)
                _add(archive, _MANIFEST, _manifest(made, store.parquet.image_space(), members))
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    if tell:
        tell(total, total)
    return rows


def import_index(
    file: Path, data_dir: Path, progress: Progress | None = None, *, chroma_url: str | None = None
) -> BuildReport:
    """Adds an exported index to the one at `data_dir/index`; figures that are there already stay as they are.

    All figures are checked before any is stored; an import that was killed is finished by repeating it.

    Raises:
        ArchiveError: it is no exported index, was changed since, or holds what no index may hold.
        EmbedderMismatchError: another embedder made the index that is here.
        IndexBusyError: another process is writing.
    """
    started = time.monotonic()
    if not file.is_file():
        raise ArchiveError(f"{file} is not there.")
    store, report = Store(index_folder(data_dir)), CorpusReport()
    added = there = 0
    with store.writing(), tempfile.TemporaryDirectory(dir=store.folder, prefix=IMPORT_PREFIX) as folder:
        try:
            with tarfile.open(file, "r:") as archive:
                made, members = _read_manifest(archive)
                _check_fits(store, made)
                if sum(member.size for member in members) > file.stat().st_size:
                    raise ArchiveError(f"{file.name} would unpack to more than it is.")
                unpacked = _unpack(archive, members, Path(folder))
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise ArchiveError(f"{file.name} is no exported index: {error}.") from error
        shards = [(path, source) for path, source in unpacked if source]
        for path, source in shards:
            for _ in _checked_rows(path, source, made):
                pass
        tell = stage(progress, "import")
        known: dict[str, set[str]] = {}
        for number, (path, source) in enumerate(shards):
            if tell:
                tell(number, len(shards))
            ids = known.setdefault(source, set(store.digests(source)))
            for rows in _checked_rows(path, source, made):
                new = _first_of_each(rows, ids)
                there += len(rows) - len(new)
                added += len(new)
                if len(new):
                    for figure in new.figures:
                        _adopt_picture(store, figure.figure_id, Path(folder), report)
                    space = made.image_space if new.has_image.any() else ""
                    store.parquet.append(source, to_table(new, replace(made, image_space=space)))
        if tell:
            tell(len(shards), len(shards))
        current = bring_up(store, chroma_url, progress)
    return BuildReport(
        corpus="archive",
        added=added,
        already_there=there,
        total=current.figures if current else 0,
        seconds=time.monotonic() - started,
        skipped=dict(report.skipped),
        examples=report.examples,
    )


def _portable(table: pa.Table) -> bytes:
    """A shard without the paths of this machine."""
    place = table.column_names.index("image_path")
    table = table.set_column(place, "image_path", pa.nulls(len(table), pa.string()))
    data = io.BytesIO()
    pq.write_table(table, data, compression="zstd", write_page_checksum=True)
    return data.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    # A bare entry: no owner, no time.
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _manifest(made: Made, image_space: str, members: list[Member]) -> bytes:
    values = {
        "format": FORMAT,
        "embedder": made.embedder,
        "dim": made.dim,
        "image_space": image_space,
        "members": [[member.name, member.size, member.sha256] for member in members],
    }
    return json.dumps(values).encode()


def _read_manifest(archive: tarfile.TarFile) -> tuple[Made, list[Member]]:
    entries = [entry for entry in archive if entry.name == _MANIFEST]
    stream = archive.extractfile(entries[0]) if len(entries) == 1 and entries[0].isreg() else None
    if stream is None or entries[0].size > MAX_MANIFEST:
        raise ArchiveError(f"The archive holds no {_MANIFEST}: it is no exported index.")
    try:
        values = json.loads(stream.read())
        if values["format"] != FORMAT:
            raise ArchiveError(f"The archive's format is not {FORMAT}: another version made it.")
        made = Made(_text(values["embedder"]), int(values["dim"]), _text(values["image_space"]))
        members = [Member(_text(name), int(size), _text(sha256)) for name, size, sha256 in values["members"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArchiveError(f"The archive's {_MANIFEST} cannot be read: {error!r}.") from error
    if not 0 < made.dim <= MAX_DIM or not made.embedder:
        raise ArchiveError(f"The archive's {_MANIFEST} names no embedder, or a dimension of {made.dim}.")
    return made, members


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 500:
        raise TypeError(f"{str(value)[:40]!r} is no name")
    return value


def _check_fits(store: Store, made: Made) -> None:
    here = store.embedder_name()
    if here is not None and here != made.embedder:
        raise EmbedderMismatchError(
            f'The archive was made by "{made.embedder}", the index in {store.folder} by "{here}": import it where '
            f"there is no index yet; `{REBUILD_COMMAND}` then embeds it anew."
        )


def _unpack(archive: tarfile.TarFile, members: list[Member], folder: Path) -> list[tuple[Path, str]]:
    """Every member as a file named by us, with the source of a shard, "" for a picture.

    Raises:
        ArchiveError: a member is missing, of another kind, name, size or hash than listed, or not listed.
    """
    listed = {member.name: member for member in members}
    found: list[tuple[Path, str]] = []
    for entry in archive:
        if entry.name == _MANIFEST:
            continue
        member = listed.pop(entry.name, None)
        shard, picture = _SHARD.fullmatch(entry.name), _PICTURE.fullmatch(entry.name)
        if member is None or not entry.isreg() or entry.size != member.size or not (shard or picture):
            raise ArchiveError(f"{entry.name[:100]!r} in the archive is not as its {_MANIFEST} lists it.")
        if entry.size > MAX_MEMBER:
            raise ArchiveError(f"{entry.name} in the archive is larger than {MAX_MEMBER >> 30} GiB.")
        stream = archive.extractfile(entry)
        path = folder / (f"{len(found)}.parquet" if shard else f"{picture[1]}{picture[2]}.jpg" if picture else "")
        if stream is None or _copy(stream, path) != member.sha256:
            raise ArchiveError(f"{entry.name} in the archive was changed: its hash is not the listed one.")
        found.append((path, shard[1] if shard else ""))
    if listed:
        raise ArchiveError(f"The archive lacks {min(listed)[:100]!r}: it is cut off.")
    return found


def _copy(stream: IO[bytes], path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("wb") as out:
        while chunk := stream.read(_CHUNK):
            sha.update(chunk)
            out.write(chunk)
    return sha.hexdigest()


def _checked_rows(path: Path, source: str, made: Made) -> Iterator[Rows]:
    """
    Raises:
        ArchiveError: the shard unpacks to too much, or a figure or vector is not what it must be.
    """
    shards = Shards(path.parent)
    try:
        metadata = pq.read_metadata(path)
        unpacked = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
        here = shards.made(path)
        if unpacked > MAX_MEMBER or (here.embedder, here.dim) != (made.embedder, made.dim):
            raise ArchiveError(f"A shard of {source} is too large or of another embedder than the archive.")
        for rows in shards.rows(path):
            figures = [_checked_figure(figure, source) for figure in rows.figures]
            seen = rows.image_vectors[rows.has_image] if here.image_space == made.image_space else rows.vectors[:0]
            for vectors in (rows.vectors, seen):
                if not np.all(np.abs(np.linalg.norm(vectors, axis=1) - 1) <= 1e-3):
                    raise ArchiveError(f"A vector of {source} is not of length 1.")
            if here.image_space != made.image_space:
                rows.image_vectors[:] = np.nan
            if any(value and not re.fullmatch(r"[0-9a-f]{64}", value) for value in rows.hashes):
                raise ArchiveError(f"A perceptual hash of {source} is none.")
            yield Rows(figures, rows.vectors, rows.image_vectors, rows.hashes)
    except (DamagedShardError, pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"A shard of {source} in the archive cannot be read: {type(error).__name__}.") from error


def _checked_figure(figure: Figure, source: str) -> Figure:
    """The figure with tidy text, addresses of the web only and no path, which would be one of this machine."""
    values: dict[str, Any] = {name: getattr(figure, name) for name in FIGURE_COLUMNS}
    for name, value in values.items():
        texts = value if name == "findings" else (value,)
        if name != "year" and any(
            text is not None and (not isinstance(text, str) or len(text) > MAX_TEXT) for text in texts
        ):
            raise ArchiveError(
                f"A figure of {source} has a {name} that is no text, or of more than {MAX_TEXT:,} characters."
            )
    texts = {name: tidy(value) for name, value in values.items() if isinstance(value, str)}
    pictured = figure.image_url if _is_web(figure.image_url) else None
    address = figure.article_url if _is_web(figure.article_url) else ""
    findings = tuple(tidy(finding) for finding in figure.findings if finding)
    checked = Figure(
        **{**values, **texts, "image_path": None, "image_url": pictured, "article_url": address, "findings": findings}
    )
    required = (checked.pmcid, checked.graphic, checked.label, checked.license, checked.modality, checked.region)
    named = checked.figure_id and checked.caption and checked.source == source
    if not named or checked.caption_by not in ("article", "medvint") or None in required:
        raise ArchiveError(f"A figure of {source} is not whole: {checked.figure_id[:100]!r}.")
    return checked


def _is_web(address: str | None) -> bool:
    return bool(address) and urlsplit(str(address)).scheme in ("http", "https")


def _first_of_each(rows: Rows, ids: set[str]) -> Rows:
    """The rows whose ids are not among `ids` yet, which grows by them."""
    new = []
    for number, figure in enumerate(rows.figures):
        if figure.figure_id not in ids:
            ids.add(figure.figure_id)
            new.append(number)
    return rows.take(new)


def _adopt_picture(store: Store, figure_id: str, folder: Path, report: CorpusReport) -> None:
    """The figure's thumbnail, encoded anew, if the archive has one and there is none here."""
    path = store.thumbnails.path(figure_id)
    came = folder / f"{path.parent.name}{path.name}"
    if path.exists() or not came.exists():
        return
    try:
        store.thumbnails.write(figure_id, open_picture(came))
    except PictureError:
        report.skip(NO_PICTURE, figure_id)
