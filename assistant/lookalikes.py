"""Look-alikes: the nearest figure with a different finding, which teaches what tells the two apart.

alike = look_alike(search, "PMC3807838/CRIM.PULMONOLOGY2013-374960.004")
alike.words()     # "Both: CT, chest. This one: pneumothorax. The other: effusion."
"""

from dataclasses import dataclass

from assistant.evidence.negation import read_polarity
from assistant.evidence.tokens import lower, sentences
from retrieval.concepts import findings_at
from retrieval.figures import Figure, Hit
from retrieval.filters import Filters
from retrieval.search import Search

FIGURES_COMPARED = 50


class NoLookAlikeError(Exception):
    """There is none; the message says why, in a sentence for the person."""


@dataclass(frozen=True)
class LookAlike:
    """A figure and the other, with what their captions find, which has nothing in common."""

    figure: Figure
    other: Figure
    here: tuple[str, ...]
    there: tuple[str, ...]

    def words(self) -> str:
        """What both share, and the difference in concept words."""
        pairs = ((self.figure.modality, self.other.modality), (self.figure.region, self.other.region))
        shared = [mine for mine, its in pairs if mine and mine == its]
        both = f"Both: {', '.join(shared)}. " if shared else ""
        return f"{both}This one: {', '.join(self.here)}. The other: {', '.join(self.there)}."


def look_alike(search: Search, figure_id: str) -> LookAlike:
    """The figure that looks and reads most like one of the index and shows another finding, in the same modality.

    Raises:
        NoLookAlikeError: no such figure, its caption names no known finding, or nothing near it shows another.
        RetrievalError: the index cannot be searched.
    """
    figure = search.figure(figure_id)
    if figure is None:
        raise NoLookAlikeError("There is no such figure in the index.")
    here = findings_of(figure)
    if not here:
        raise NoLookAlikeError("Its caption names no finding that another figure could differ in.")
    filters = Filters(modalities=frozenset({figure.modality} - {""}))
    for hit in search.more_like(figure_id, FIGURES_COMPARED, filters=filters):
        there = _differing(hit, here)
        if there:
            return LookAlike(figure, hit.figure, here, there)
    raise NoLookAlikeError("No figure near it shows another finding.")


def findings_of(figure: Figure) -> tuple[str, ...]:
    """The findings that a figure's words affirm, in their order; those that its corpus lists come first."""
    affirmed: dict[str, None] = {}
    for text in (*figure.findings, figure.words):
        for start, end in sentences(text):
            sentence = text[start:end]
            polarities = read_polarity(lower(sentence))
            for name, at in findings_at(sentence):
                reach = polarities.reach_at(at)
                if reach is None or reach.polarity == "affirmed":
                    affirmed[name] = None
    return tuple(affirmed)


def _differing(hit: Hit, here: tuple[str, ...]) -> tuple[str, ...]:
    # Its duplicates show the same picture, so what their captions find is found in it too.
    whole = {name for figure in (hit.figure, *hit.also) for name in findings_of(figure)}
    return () if whole & set(here) else findings_of(hit.figure)
