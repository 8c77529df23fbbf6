"""Licence names, one spelling each, close to SPDX: "CC BY 4.0", "CC BY-NC-ND 3.0 IGO", "CC0 1.0", "public domain".

    normalise_licence("http://creativecommons.org/licenses/by-nc/4.0/")       # "CC BY-NC 4.0"
    normalise_licence("the Creative Commons Attribution License, which ...")  # "CC BY"
    is_wanted("CC BY 4.0", {"CC BY"})                                         # True

Versions are kept where a source gives them, the country of a ported version ("UK") is not.
"""

import re
from collections.abc import Collection, Iterator

from retrieval.errors import CorpusError

PUBLIC_DOMAIN = "public domain"
OPEN_LICENCES = frozenset({"CC BY", "CC BY-SA", "CC0", PUBLIC_DOMAIN})
UNKNOWN = "unknown"
MAX_PROSE = 20_000

_TERM = r"(?:non[\s-]*commercial|no[\s-]*deriv[a-z]*(?:\s+works?)?|share[\s-]*alike|nc|nd|sa)"
_TERMS = rf"((?:[\s,/_–—-]*(?:and\s+)?{_TERM})*)(?![a-z])"
_IGO = r"(?:[\s/-]*(igo)\b)?"
_PATTERNS = (
    re.compile(rf"creativecommons\.org/licen[sc]es?/(by){_TERMS}(?:/(\d\.\d))?{_IGO}"),
    re.compile(r"creativecommons\.org/(?:publicdomain|licen[sc]es?)/(zero|cc0|mark|publicdomain)()(?:/(\d\.\d))?()"),
    re.compile(rf"\bcc[\s-]*(by|0){_TERMS}(?:[\s-]*(\d\.\d))?{_IGO}"),
    re.compile(r"\bcc[\s-]*(by|0)((?:nc|nd|sa)*)licen[sc]e()()"),
    re.compile(rf"creative\s+commons[^.;]{{0,40}}?(attribution){_TERMS}(?:[^.;\d]{{0,40}}(\d\.\d))?{_IGO}"),
    re.compile(r"creative\s+commons\s+(zero|public\s+domain\s+dedication)()(?:[^.;\d]{0,10}(\d\.\d))?()"),
    re.compile(r"(?<!not in the )(public[\s-]*domain)()()()"),
)
_HEADS = {"by": "CC BY", "attribution": "CC BY", "0": "CC0", "zero": "CC0", "cc0": "CC0"}
_VERSION = re.compile(r" \d\.\d(?: IGO)?$")


def normalise_licence(text: str) -> str:
    """The licence that a name, an address or a passage of prose states; `unknown` where it states none.

    Where it states several, the most restrictive counts: articles under CC BY often add that their *data* are CC0,
    and prose is sometimes laxer than the address beside it.
    """
    return max(_stated(" ".join(text[:MAX_PROSE].lower().split())), default=((), UNKNOWN))[1]


def _stated(text: str) -> Iterator[tuple[tuple[object, ...], str]]:
    """Every licence named in a lower-case text, as (restrictiveness, name)."""
    for pattern in _PATTERNS:
        for head, terms, version, igo in (match.groups(default="") for match in pattern.finditer(text)):
            name = _HEADS.get(head, "CC0" if "dedication" in head else PUBLIC_DOMAIN)
            found = re.findall(_TERM, re.sub(r"\band\b", " ", terms))
            nc = any(term == "nc" or "commercial" in term for term in found)
            nd = any(term == "nd" or "deriv" in term for term in found)
            sa = any(term == "sa" or "share" in term for term in found)
            parts = [part for part, there in (("NC", nc), ("ND", nd), ("SA", sa)) if there]
            full = "-".join([name, *parts]) if name == "CC BY" else name
            if version and name != PUBLIC_DOMAIN:
                full += f" {version}" + (" IGO" if igo else "")
            yield (nd, nc, sa, name == "CC BY", name == "CC0", version), full


def licence_family(name: str) -> str:
    """A normalised name without its version: `CC BY 4.0` -> `CC BY`."""
    return _VERSION.sub("", name)


def is_open(name: str) -> bool:
    """Whether a normalised licence, in any version, lets anyone use the figure, commercially too."""
    return licence_family(name) in OPEN_LICENCES


def is_wanted(name: str, wanted: Collection[str]) -> bool:
    """Whether `wanted` (normalised) names this licence: "CC BY" stands for all its versions."""
    return name in wanted or licence_family(name) in wanted


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
