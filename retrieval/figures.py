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
    """One figure of one open-access article.

    `figure_id` is `{pmcid}/{graphic}` and the same in every corpus. `caption` is the article's own
    (`caption_by="article"`) or a description of ours (`"medvint"`), which a screen must mark.
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
        return figure


@dataclass(frozen=True, slots=True)
class Hit:
    """A figure that a query found: `score` in [0, 1], `rank` from 1, `found_by` of {"image", "text"}."""

    figure: Figure
    score: float
    rank: int
    found_by: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "figure": self.figure.to_dict(),
            "score": round(self.score, 4),
            "rank": self.rank,
            "found_by": list(self.found_by),
        }


def article_url(pmcid: str) -> str:
    return f"https://pmc.ncbi.nlm.nih.gov/articles/{pmcid}/"


def graphic_name(file_name: str) -> str:
    """The graphic's name without its image suffix: JATS names it so, file lists add the suffix."""
    return _IMAGE_SUFFIX.sub("", file_name.strip())
