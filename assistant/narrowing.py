"""Filters as a person writes them, brought to the names that the index has.

as_stored(Filters(modalities=frozenset({"mri"})), search.facets())     # Filters(modalities=frozenset({"MRI"}))
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from retrieval.corpora.licences import wanted_licences
from retrieval.filters import Filters


def as_stored(filters: Filters, facets: Mapping[str, Collection[str]]) -> Filters:
    """The same filters in the index's own writing, whatever their case; a name that it does not have stays.

    Args:
        facets: see `Search.facets`.

    Raises:
        CorpusError: a licence is none.
    """
    return replace(
        filters,
        modalities=_written(filters.modalities, facets["modality"]),
        regions=_written(filters.regions, facets["region"]),
        corpora=_written(filters.corpora, facets["source"]),
        licences=frozenset(wanted_licences(filters.licences)),
    )


def _written(values: Collection[str], known: Collection[str]) -> frozenset[str]:
    names = {name.lower(): name for name in known}
    return frozenset(names.get(value.strip().lower(), value.strip()) for value in values)


def unknown(filters: Filters, facets: Mapping[str, Collection[str]]) -> str:
    """A sentence on a name that no figure of the index has; "" where all are known. Takes what `as_stored` gave."""
    asked = (("modality", "modality", filters.modalities), ("region", "region", filters.regions))
    for name, facet, values in (*asked, ("corpus", "source", filters.corpora)):
        for value in sorted(values - set(facets[facet])):
            there = ", ".join(sorted(facets[facet])) or "none"
            return f'No figure of the index has the {name} "{value}"; there are: {there}.'
    return ""
