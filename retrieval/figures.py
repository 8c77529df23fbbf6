"""What travels through retrieval: a figure of an article, and a hit that found it.

figure = Figure("PMC5665693/cureus-i01", "PMC5665693", "cureus-i01", "", "Axial image ...", "CC BY",
                article_url("PMC5665693"), "roco")
Figure.from_dict(figure.to_dict()) == figure
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

CaptionBy = Literal["article", "medvint"]

_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|png|gif|tiff?)$", re.IGNORECASE)


class FigureError(ValueError):
    """A row lacks what a figure needs, or holds it in another form."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one open-access article, or one image of a set that is not PMC's.

    `figure_id` is `{pmcid}/{graphic}` and the same in every corpus; outside PMC it is `{source}/{key}`, `pmcid` is
    "" and `article_url` the source's page. `caption` is the article's own (`caption_by="article"`) or a description
    of ours (`"medvint"`), which a screen must mark. `description` is the source's longer text about the same image
    (alternative text, long description), searched with the caption. `year` is the article's.
    """

    figure_id: str
    pmcid: str
    graphic: str
    label: str
    caption: str
    license: str
    article_url: str
    source: str
    image_path: str | None = None
    image_url: str | None = None
    caption_by: CaptionBy = "article"
    modality: str = ""
    region: str = ""
    findings: tuple[str, ...] = ()
    year: int | None = None
    description: str = ""

    @property
    def words(self) -> str:
        """What is embedded and searched: the caption and, where there is one, the description."""
        return f"{self.caption} {self.description}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, `findings` as a list: fit for JSON, Parquet and an API answer."""
        return asdict(self) | {"findings": list(self.findings)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Figure":
        """The inverse of `to_dict`; absent optional fields take their defaults.

        Raises:
            FigureError: a field is missing, unknown or a string is not one.
        """
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise FigureError(f"A figure has no field {sorted(unknown)[0]!r}.")
        try:
            figure = cls(**{**values, "findings": tuple(values.get("findings") or ())})
        except TypeError as error:
            raise FigureError(f"Not a figure: {error}") from None
        if not (isinstance(figure.caption, str) and isinstance(figure.figure_id, str) and figure.figure_id):
            raise FigureError("A figure needs an id and a caption, both strings.")
        if not isinstance(figure.description, str) or not isinstance(figure.year, int | None):
            raise FigureError("A figure's description is a string and its year a number.")
        return figure


@dataclass(frozen=True, slots=True)
class Hit:
    """A figure that a query found: `score` in [0, 1], `rank` from 1, `found_by` of
    {"image", "look", "text", "terms"} (`retrieval/fusion.py`).

    `relevance` is the calibrated probability that the figure is relevant, None where nothing was calibrated;
    `also` holds the near-duplicates that the hit stands for.
    """

    figure: Figure
    score: float
    rank: int
    found_by: tuple[str, ...]
    relevance: float | None = None
    also: tuple[Figure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "figure": _public(self.figure),
            "score": round(self.score, 4),
            "rank": self.rank,
            "found_by": list(self.found_by),
            "relevance": None if self.relevance is None else round(self.relevance, 4),
            "also": [_public(figure) for figure in self.also],
        }


def _public(figure: Figure) -> dict[str, Any]:
    """Without the place of its image on this machine, which is nobody's business elsewhere."""
    return {name: value for name, value in figure.to_dict().items() if name != "image_path"}


def article_url(pmcid: str) -> str:
    return f"https://pmc.ncbi.nlm.nih.gov/articles/{pmcid}/"


def graphic_name(file_name: str) -> str:
    """The graphic's name without its image suffix: JATS names it so, file lists add the suffix."""
    return _IMAGE_SUFFIX.sub("", file_name.strip())
