"""Several views on one query become one ranking.

    fuse(pool, tuning)                              # best first; [] where no view reaches its floor
    fuse(pool, tuning, "reciprocal rank")

Views: `image` compares the query's image with captions, `look` with the figures' own images, `text` compares the
question with captions by meaning, `terms` by exact words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.catalogue import Rows
from retrieval.relevance import Tuning, View, Views

Fusion = Literal["weighted", "reciprocal rank"]

RANK_CONSTANT = 60
"""Of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""


@dataclass(frozen=True)
class Pool:
    """Candidates [n]: rows of the catalogue, and how well each fits by each view; NaN where a view cannot tell."""

    rows: Rows
    views: Mapping[View, NDArray[np.float32]]


@dataclass(frozen=True)
class Ranked:
    """One candidate with its place among them: score and relevance in [0, 1], relevance None where not calibrated."""

    row: int
    score: float
    relevance: float | None
    found_by: tuple[View, ...]


def fuse(pool: Pool, tuning: Tuning, fusion: Fusion = "weighted") -> list[Ranked]:
    """Candidates as one ranking; [] where nothing is similar enough.

    A side of the query (its image, its words) whose best candidate stays under the floor is left out: "What is
    shown here?" says nothing about a figure, and must not push the image's finds down. A candidate that no view
    carries over its floor goes.
    """
    if not len(pool.rows):
        return []
    views = tuning.comparable(pool.views)
    over = {view: np.nan_to_num(values, nan=-2) >= tuning.floor(view) for view, values in views.items()}
    sides = [side for side in (("image", "look"), ("text", "terms")) if any(over[v].any() for v in side if v in over)]
    telling: list[View] = [view for view in views if any(view in side for side in sides)]
    if not telling:
        return []
    scores = _weighted(views, telling, tuning) if fusion == "weighted" else _reciprocal(views, telling, tuning)
    relevance = tuning.relevance(views, telling)
    found = [tuple(view for view in telling if over[view][place]) for place in range(len(pool.rows))]
    kept = [place for place in np.lexsort((pool.rows, -scores)).tolist() if found[place]]
    return [
        Ranked(
            int(pool.rows[place]),
            float(min(max(scores[place], 0.0), 1.0)),
            None if relevance is None else float(relevance[place]),
            found[place],
        )
        for place in kept
    ]


def _weighted(views: Views, telling: list[View], tuning: Tuning) -> NDArray[np.float64]:
    """The mean of image and words. The image speaks by the caption or by the figure's look, whichever says more; the
    words by their meaning and, as far as they are told, by themselves."""
    parts = []
    if "image" in telling or "look" in telling:
        looks = [views[view] for view in ("image", "look") if view in telling]
        parts.append((tuning.image_weight, np.fmax.reduce(looks)))
    if "text" in telling or "terms" in telling:
        words = {"text": 1 - tuning.terms_weight, "terms": tuning.terms_weight}
        parts += [((1 - tuning.image_weight) * part, views[view]) for view, part in words.items() if view in telling]
    total = sum(weight for weight, _ in parts) or 1.0
    return sum((weight / total * values for weight, values in parts), np.zeros(len(next(iter(views.values())))))


def _reciprocal(views: Views, telling: list[View], tuning: Tuning) -> NDArray[np.float64]:
    """The sum over views of 1 / (60 + place), as a share of what the first of all would get."""
    weights = {view: tuning.image_weight if view in ("image", "look") else 1 - tuning.image_weight for view in telling}
    total = np.zeros(len(next(iter(views.values()))))
    for view, weight in weights.items():
        values = np.nan_to_num(views[view], nan=-2)
        absent = values <= (0 if view == "terms" else -2)
        places = np.empty(len(values))
        places[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
        total += np.where(absent, 0, weight / (RANK_CONSTANT + places))
    return total * (RANK_CONSTANT + 1) / sum(weights.values())
