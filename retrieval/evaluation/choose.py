"""What search uses, chosen on the half of the data that nothing is measured on: weights and floors.

    chosen = choose(search, captions, data, embedder, 400, progress)
    chosen["tuning"]        # {"floors": {"image": ..., "text": ..., "terms": ...}, "image_weight": ..., ...}

- `terms_weight`: captions in other words find captions of other articles; the most that have half of their concepts.
  How often the caption itself is found (`known_item.py`, the mean of recall@5 over the forms of the query) is told
  beside it and does not choose: looking for parts of a caption, exact words alone would be best.
- `image_weight`: VQA-RAD's validation images with their questions; the most captions that name the region.
- floors: questions of SLAKE's and VQA-RAD's training parts and rare words of captions against questions on anything
  else, held-out radiology against drawn nonsense; where rejections less wrong rejections (Youden's index) are most,
  in the middle of that.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retrieval.embedders import Embedder
from retrieval.evaluation.agreement import IMAGE_WEIGHTS, measure_agreement, rad_shown
from retrieval.evaluation.calibrate import concept_agreement
from retrieval.evaluation.captions import Captions
from retrieval.evaluation.known_item import TERMS_WEIGHTS, measure_known_items, sample_rows
from retrieval.evaluation.out_of_scope import FOR_CHOOSING
from retrieval.evaluation.scope import nonsense, questions, radiology, values_of_image, values_of_text
from retrieval.relevance import Tuning
from retrieval.search import Search

SEED = 2
QUESTIONS = 300
"""Of each set's training part."""
RARE_WORDS = 150
"""Captions whose rarest word is looked for alone, as one looks for a syndrome."""
NONSENSE_SEED, NONSENSE = 777, 40
STEP = 0.01

Progress = Callable[[str, int, int], None]
Values = Sequence[Mapping[str, float]]


def choose(
    search: Search, captions: Captions, data: Path, embedder: Embedder, items: int, progress: Progress
) -> dict[str, Any]:
    """The tuning without its calibrations, and the tables that it was read from."""
    known = measure_known_items(search, captions, embedder, items, SEED, progress, choosing=True)
    terms = {
        way: round(float(np.mean([one["ways"][way]["recall@5"]["value"] for one in known["forms"].values()])), 2)
        for way in ("text", "BM25", "reciprocal rank", *(f"weighted, terms {weight}" for weight in TERMS_WEIGHTS))
    }
    concepts = {}
    for weight in (0.0, *TERMS_WEIGHTS, 1.0):
        search.tuning = Tuning(terms_weight=weight)
        concepts[weight] = concept_agreement(search, captions, data, embedder)
    terms_weight = max(concepts, key=lambda weight: concepts[weight])
    search.tuning = Tuning(terms_weight=terms_weight)
    shown = rad_shown(data / "vqa-rad", "validate", embedder)
    agreement = measure_agreement(search, captions, shown, embedder, progress)
    both = {
        way: cells["region"]["value"]
        for way, cells in agreement["ways"].items()
        if way.startswith("image and question") and "product" not in way
    }
    texts, images = _values(search, captions, data, embedder)
    return {
        "tuning": {
            "floors": {**floors_of(*images, ["image"]), **floors_of(*texts, ["text", "terms"])},
            "image_weight": max(IMAGE_WEIGHTS, key=lambda weight: both[f"image and question, image weighs {weight}"]),
            "terms_weight": terms_weight,
        },
        "concepts": {str(weight): share for weight, share in concepts.items()},
        "recall@5": terms,
        "region": both,
    }


def _values(
    search: Search, captions: Captions, data: Path, embedder: Embedder
) -> tuple[tuple[Values, Values], tuple[Values, Values]]:
    """What belongs and what does not: of questions, then of images."""
    asked = [text for group in questions(data, "train").values() for text in group[:: max(1, len(group) // QUESTIONS)]]
    terms = search.generation().catalogue.terms
    asked += [terms.rarest(captions.texts[row], 1)[0] for row in sample_rows(captions, RARE_WORDS, SEED, choosing=True)]
    texts = [
        [values_of_text(search, text, vector) for text, vector in zip(some, embedder.embed_texts(some), strict=True)]
        for some in (asked, list(FOR_CHOOSING))
    ]
    held_out: list[Image.Image] = [Image.open(one.path) for one in radiology(data, choosing=True)]
    images = [
        [
            values_of_image(search, image, vector)
            for image, vector in zip(some, embedder.embed_images(some), strict=True)
        ]
        for some in (held_out, nonsense(NONSENSE_SEED, NONSENSE))
    ]
    return (texts[0], texts[1]), (images[0], images[1])


def floors_of(belongs: Values, foreign: Values, views: Sequence[str]) -> dict[str, float]:
    """A floor for each of the views, of which any one lets a query through."""
    inside, outside = (np.array([[one[view] for view in views] for one in some]) for some in (belongs, foreign))
    steps = np.arange(STEP, 1, STEP)
    grid = np.stack(np.meshgrid(*[steps] * len(views), indexing="ij"), -1).reshape(-1, len(views))
    index = np.array([(outside < floors).all(1).mean() - (inside < floors).all(1).mean() for floors in grid])
    best = grid[index >= index.max() - 1e-9]
    middle = best[np.abs(best - np.median(best, 0)).sum(1).argmin()]
    return {view: round(float(floor), 2) for view, floor in zip(views, middle, strict=True)}
