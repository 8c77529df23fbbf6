"""Filters as a person writes them, brought to the names that the index has.

as_stored(Filters(modalities=frozenset({"mri"})), search.facets())     # Filters(modalities=frozenset({"MRI"}))
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from retrieval.corpora.licences import wanted_licences
from retrieval.filters import Filters

FIELDS = {"modality": "modalities", "region": "regions", "source": "corpora"}
"""A facet of the index to the filter's field. Licences have rules of their own."""


def as_stored(filters: Filters, facets: Mapping[str, Collection[str]]) -> Filters:
    """The same filters in the index's own writing, whatever their case; a name that it does not have stays.

    Args:
        facets: see `Search.facets`.

    Raises:
        CorpusError: a licence is none.
    """
    written = {field: _written(getattr(filters, field), facets[facet]) for facet, field in FIELDS.items()}
    return replace(filters, **written, licences=frozenset(wanted_licences(filters.licences)))


def _written(values: Collection[str], known: Collection[str]) -> frozenset[str]:
    names = {name.lower(): name for name in known}
    return frozenset(names.get(value.strip().lower(), value.strip()) for value in values)


def unknown(filters: Filters, facets: Mapping[str, Collection[str]]) -> str:
    """A sentence on a name that no figure of the index has; "" where all are known. Takes what `as_stored` gave."""
    for facet, field in FIELDS.items():
        for value in sorted(getattr(filters, field) - set(facets[facet])):
            there = ", ".join(sorted(facets[facet])) or "none"
            return f'No figure of the index has the {_PLAIN.get(facet, facet)} "{value}"; there are: {there}.'
    return ""


_PLAIN = {"source": "corpus"}
