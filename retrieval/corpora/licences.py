"""Licence names, one spelling each: "CC BY", "CC BY-SA", "CC0", with the version where the source gives it."""

import re
from collections.abc import Collection

from retrieval.errors import CorpusError

OPEN_LICENCES = frozenset({"CC BY", "CC BY-SA", "CC0"})
UNKNOWN = "unknown"

_CREATIVE_COMMONS = re.compile(r"CC[ -]?(0|BY)((?:[ -](?:NC|ND|SA))*)(?:[ -]?(\d\.\d))?", re.IGNORECASE)


def normalise_licence(text: str) -> str:
    """`cc-by-nc-4.0` -> `CC BY-NC 4.0`; `CC0 1.0` -> `CC0 1.0`; anything that is no licence -> `unknown`."""
    match = _CREATIVE_COMMONS.fullmatch(text.strip())
    if match is None:
        return UNKNOWN
    head, terms, version = match.groups()
    parts = re.findall("NC|ND|SA", terms.upper())
    name = "CC0" if head == "0" else "CC BY" + "".join(f"-{part}" for part in parts)
    return f"{name} {version}" if version else name


def is_open(name: str) -> bool:
    """Whether a normalised licence, in any version, lets anyone use the figure, commercially too."""
    return name.partition(" ")[0] == "CC0" or re.sub(r" \d\.\d$", "", name) in OPEN_LICENCES


def wanted_licences(names: Collection[str]) -> set[str]:
    """Names as a person writes them ("cc-by-nc"), normalised; "unknown" takes figures without a stated licence.

    Raises:
        CorpusError: a name is no licence.
    """
    wanted = set()
    for name in names:
        licence = normalise_licence(name)
        if licence == UNKNOWN and name.strip().lower() != UNKNOWN:
            raise CorpusError(f'"{name}" is no licence: write it as in "CC BY", "CC BY-NC", "CC0" or "{UNKNOWN}".')
        wanted.add(licence)
    return wanted
