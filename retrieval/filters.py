"""What a search is limited to: facets of figures, and articles that must not be found.

Filters(modalities=frozenset({"CT"}), year_from=2015)
"""

from collections.abc import Collection
from dataclasses import dataclass

from retrieval.catalogue import Catalogue, Mask
from retrieval.corpora.licences import is_wanted


@dataclass(frozen=True)
class Filters:
    """Empty sets and None do not limit. "CC BY" takes all its versions; years leave out figures without one.

    Licences are written as `normalise_licence` does.
    """

    modalities: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    licences: frozenset[str] = frozenset()
    corpora: frozenset[str] = frozenset()
    year_from: int | None = None
    year_to: int | None = None


def allowed(catalogue: Catalogue, filters: Filters | None, exclude_pmcids: Collection[str]) -> Mask | None:
    """Which rows may be found; None where all may."""
    filters = filters or Filters()
    masks = [
        catalogue.columns[column].where(values.__contains__)
        for column, values in (
            ("modality", filters.modalities),
            ("region", filters.regions),
            ("source", filters.corpora),
        )
        if values
    ]
    if filters.licences:
        masks.append(catalogue.columns["license"].where(lambda name: is_wanted(name, filters.licences)))
    if filters.year_from is not None or filters.year_to is not None:
        masks.append(catalogue.years > 0)
    if filters.year_from is not None:
        masks.append(catalogue.years >= filters.year_from)
    if filters.year_to is not None:
        masks.append(catalogue.years <= filters.year_to)
    if exclude_pmcids:
        masks.append(~catalogue.columns["article"].among(exclude_pmcids))
    if not masks:
        return None
    together = masks[0]
    for mask in masks[1:]:
        together = together & mask
    return together
