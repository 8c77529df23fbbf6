"""What scores mean: floors, weights, and the probability that a figure is relevant, as measured for one embedder.

    tuning = load_tuning("all-MiniLM-L6-v2")
    tuning.relevance({"text": cosines, "terms": shares}, ["text", "terms"])      # probabilities

`retrieval/models/relevance.json` holds the numbers and what made them (`python -m retrieval.evaluation`); an
embedder that was not measured has no floors and no probabilities.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

View = Literal["image", "look", "text", "terms"]
Views = Mapping[View, NDArray[np.float32]]
Kind = Literal["image", "look", "text", "both"]

RELEVANCE = Path(__file__).parent / "models" / "relevance.json"


@dataclass(frozen=True)
class Logistic:
    """A probability from the values of some views."""

    bias: float
    weights: Mapping[View, float]

    def probability(self, views: Views) -> NDArray[np.float64]:
        logit = self.bias + sum(weight * np.nan_to_num(views[view]) for view, weight in self.weights.items())
        return 1 / (1 + np.exp(-np.asarray(logit, np.float64)))


@dataclass(frozen=True)
class Tuning:
    """What was measured for one embedder.

    `floors` are the values under which a view has found nothing. `image_weight` is the image's part where image and
    words both tell something, `terms_weight` that of exact words beside their meaning. `calibrations` give the
    probability of relevance for each kind of query.
    """

    floors: Mapping[View, float] = field(default_factory=dict)
    image_weight: float = 0.5
    terms_weight: float = 0.0
    calibrations: Mapping[Kind, Logistic] = field(default_factory=dict)

    def floor(self, view: View) -> float:
        """Without a measured one every cosine counts, and any word in common."""
        return self.floors.get("image" if view == "look" else view, 1e-6 if view == "terms" else -1.0)

    def comparable(self, views: Views) -> dict[View, NDArray[np.float32]]:
        """The views with `look` on the scale of `image`: the cosine of image and caption of the same relevance."""
        out = dict(views)
        if "look" in out and {"image", "look"} <= self.calibrations.keys():
            image, look = self.calibrations["image"], self.calibrations["look"]
            logits = look.bias + look.weights["look"] * out["look"]
            out["look"] = np.asarray((logits - image.bias) / image.weights["image"], np.float32)
        return out

    def relevance(self, views: Views, telling: Sequence[View]) -> NDArray[np.float64] | None:
        """The probability of each candidate, `views` being `comparable`; None where it was not measured."""
        calibration = self.calibrations.get(_kind(telling))
        if calibration is None:
            return None
        looks = [views[view] for view in ("image", "look") if view in views]
        known: dict[View, NDArray[np.float32]] = dict(views)
        if looks:
            known["image"] = np.fmax.reduce(looks)
        nobody = np.zeros(len(next(iter(views.values()))), np.float32)
        return calibration.probability({view: known.get(view, nobody) for view in calibration.weights})


def _kind(telling: Sequence[View]) -> Kind:
    by_image = "image" in telling or "look" in telling
    by_words = "text" in telling or "terms" in telling
    return "both" if by_image and by_words else "image" if by_image else "text"


@lru_cache(maxsize=8)
def load_tuning(embedder: str, file: Path = RELEVANCE) -> Tuning:
    """What was measured for an embedder, by its name."""
    return tuning_of(json.loads(file.read_text(encoding="utf-8")).get(embedder, {}))


def tuning_of(values: Mapping[str, Any]) -> Tuning:
    """A tuning from what JSON holds of it."""
    known = {name: values[name] for name in ("floors", "image_weight", "terms_weight") if name in values}
    fitted = {kind: Logistic(one["bias"], one["weights"]) for kind, one in values.get("calibrations", {}).items()}
    return Tuning(**known, calibrations=fitted)
