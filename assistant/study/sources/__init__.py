"""What packs are made from: drawn phantoms that need nothing, and public sets in a folder.

import_pack(shelf, "slake", Path("../shared/data/slake"))
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from assistant.study import blind, lint
from assistant.study.errors import PackError
from assistant.study.making import Question, make_items
from assistant.study.packs import Pack, PackWriter
from assistant.study.sources import image_classes, phantoms, slake, vqa_rad

SEED = 20261125


@dataclass(frozen=True)
class Source:
    """`read` gives the questions of a folder; the phantoms need none."""

    pack: Pack
    read: Callable[[Path], Iterable[Question]]
    needs_path: bool = True


SOURCES: dict[str, Source] = {
    "phantoms": Source(phantoms.PACK, lambda _: phantoms.questions(), needs_path=False),
    "slake": Source(slake.PACK, slake.questions),
    "vqa-rad": Source(vqa_rad.PACK, vqa_rad.questions),
    **{name: Source(pack, read) for name, (pack, read) in image_classes.SETS.items()},
}


def import_pack(shelf: Path, name: str, path: Path | None = None) -> Pack:
    """Make a source into a pack, with its certificate: lint and blind checks.

    Raises PackError for an unknown source, a folder without the set, or a set without a fair item.
    """
    source = SOURCES.get(name)
    if source is None:
        raise PackError(f"There is no reader for {name!r}. There are: {', '.join(SOURCES)}.")
    if source.needs_path and path is None:
        raise PackError(f"Say where {source.pack.title} lies: medvint study import {name} --path DIR")
    writer = PackWriter(shelf, source.pack)
    try:
        items = make_items(writer, source.read(path or Path()), random.Random(SEED))  # noqa: S311
        report = {"flaws": [flaw.to_dict() for flaw in lint.check(items)], "blind": blind.check(items)}
        return writer.finish(items, report)
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = f"{getattr(error, 'filename', None) or path}: {type(error).__name__}"
        raise PackError(f"{source.pack.title} could not be read from {path}: {reason}.") from error
    finally:
        writer.drop()
