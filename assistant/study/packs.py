"""Packs of items on disk: `packs/NAME/` with `pack.json`, `items.jsonl`, `report.json` and `images/SHA256.png`.

    writer = PackWriter(folder, Pack("knees", "Knee films", ...)); writer.image(picture); writer.finish(items)
    shelf = Shelf(data_dir / "study" / "packs"); shelf.items(("knees",))

Pictures are kept as bare pixels: no name, no metadata.
"""

import hashlib
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from pydantic import TypeAdapter, ValidationError

from assistant.study.errors import PackError
from assistant.study.items import ITEM, Box, Item

LONGEST_SIDE = 768
MARK_COLOUR = (255, 196, 60)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pack:
    """What a pack is; `version` is made from its items."""

    name: str
    title: str
    licence: str
    source: str
    note: str = ""
    version: str = ""


PACK = TypeAdapter(Pack)


@dataclass(frozen=True)
class Shelved:
    """A pack with its items, and its report where it has one."""

    pack: Pack
    items: tuple[Item, ...]
    report: dict[str, Any]

    @property
    def normal_share(self) -> float:
        """Share of items that show nothing wrong."""
        return sum(item.is_negative for item in self.items) / max(len(self.items), 1)


class PackWriter:
    """Writes a pack beside its place and moves it there when it is whole."""

    def __init__(self, shelf: Path, pack: Pack) -> None:
        if not _NAME.fullmatch(pack.name):
            raise PackError(f"A pack's name has small letters, digits and hyphens; {pack.name!r} has not.")
        shelf.mkdir(parents=True, exist_ok=True)
        self.pack = pack
        self._place = shelf / pack.name
        self._folder = Path(tempfile.mkdtemp(prefix=f".{pack.name}-", dir=shelf))
        (self._folder / "images").mkdir()

    def image(self, picture: Image.Image, mark: Box | None = None) -> str:
        """Keep a picture, perhaps with a box drawn around a region; returns its SHA-256."""
        picture = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
        picture = picture.copy()
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        if picture.mode == "RGB" and _is_grey(picture):
            picture = picture.convert("L")
        if mark:
            picture = _marked(picture, mark)
        # A picture made anew from its pixels: whatever its file held beside them stays behind.
        bare = Image.frombytes(picture.mode, picture.size, picture.tobytes())
        buffer = io.BytesIO()
        bare.save(buffer, "PNG", compress_level=3)
        name = hashlib.sha256(buffer.getvalue()).hexdigest()
        (self._folder / "images" / f"{name}.png").write_bytes(buffer.getvalue())
        return name

    def finish(self, items: Sequence[Item], report: dict[str, Any] | None = None) -> Pack:
        """Write the items, with the version that their content gives, and put the pack in its place.

        Raises PackError where there are none.
        """
        if not items:
            self.drop()
            raise PackError(f"Nothing in the source could be made into an item of {self.pack.name}.")
        bodies = "".join(ITEM.dump_json(replace(item, version="")).decode() for item in items)
        pack = replace(self.pack, version=hashlib.sha256(bodies.encode()).hexdigest()[:8])
        lines = [ITEM.dump_json(replace(item, pack=pack.name, version=pack.version)).decode() for item in items]
        (self._folder / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (self._folder / "pack.json").write_text(json.dumps(asdict(pack), indent=1), encoding="utf-8")
        (self._folder / "report.json").write_text(json.dumps(report or {}, indent=1), encoding="utf-8")
        if self._place.exists():
            shutil.rmtree(self._place)
        self._folder.rename(self._place)
        self._place.chmod(0o755)
        return pack

    def drop(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _is_grey(picture: Image.Image) -> bool:
    red, green, blue = picture.split()
    return red.tobytes() == green.tobytes() == blue.tobytes()


def _marked(picture: Image.Image, mark: Box) -> Image.Image:
    picture = picture.convert("RGB")
    left, top = mark[0] * picture.width, mark[1] * picture.height
    right, bottom = left + mark[2] * picture.width, top + mark[3] * picture.height
    ImageDraw.Draw(picture).rectangle((left - 2, top - 2, right + 2, bottom + 2), outline=MARK_COLOUR, width=2)
    return picture


class Shelf:
    """The packs in a folder. They are read again when their files change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(
            path.parent.name for path in self.folder.glob("*/pack.json") if not path.parent.name.startswith(".")
        )

    def open(self, name: str) -> Shelved:
        """One pack.

        Raises PackError if there is none of this name, or it cannot be read.
        """
        folder = self.folder / name
        if not _NAME.fullmatch(name) or not (folder / "pack.json").is_file():
            raise PackError(f"There is no pack {name!r}. There are: {', '.join(self.names()) or 'none'}.")
        return _read(folder, *((folder / name).stat().st_mtime_ns for name in ("items.jsonl", "report.json")))

    def add_blind(self, name: str, checked: dict[str, dict[str, Any]]) -> None:
        """Add to a pack's certificate what another guesser scored; in place at once or not at all."""
        found = self.open(name).report
        told = {**found, "blind": {**found.get("blind", {}), **checked}}
        partial = self.folder / name / "report.json.partial"
        partial.write_text(json.dumps(told, indent=1), encoding="utf-8")
        partial.replace(self.folder / name / "report.json")

    def all(self) -> list[Shelved]:
        return [self.open(name) for name in self.names()]

    def items(self, names: Iterable[str] = ()) -> list[Item]:
        """The items of the packs named, of every pack if none is."""
        return [item for name in (list(names) or self.names()) for item in self.open(name).items]

    def image(self, pack: str, digest: str) -> bytes:
        """A picture's PNG."""
        if not _HASH.fullmatch(digest) or not _NAME.fullmatch(pack):
            raise PackError("There is no such image.")
        return _bytes(self.folder / pack / "images" / f"{digest}.png")

    def remove(self, name: str) -> None:
        self.open(name)
        shutil.rmtree(self.folder / name)


@lru_cache(maxsize=32)
def _read(folder: Path, *_changed: int) -> Shelved:
    try:
        pack = PACK.validate_json((folder / "pack.json").read_bytes())
        lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
        items = tuple(ITEM.validate_json(line) for line in lines)
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError) as error:
        raise PackError(f"The pack {folder.name} cannot be read; import or publish it again.") from error
    return Shelved(pack, items, report)


@lru_cache(maxsize=64)
def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PackError("The image of this item is missing; import or publish its pack again.") from error
