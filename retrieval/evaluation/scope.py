"""Does search stay silent where it should? Queries that belong beside queries that do not.

What belongs: questions and images of SLAKE's and VQA-RAD's validation parts, and held-out images of the other
medical sets. What does not: questions on anything else, photographs and drawings that other packages carry, and
drawn nonsense. For each way of telling them apart: the share of out-of-scope queries that are rejected where 5 % of
the others are; and what the product rejects as it is.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retrieval.concepts import named_modalities, named_regions
from retrieval.embedders import Embedder
from retrieval.evaluation.halves import chooses, image_key
from retrieval.evaluation.out_of_scope import OUT_OF_SCOPE_TEXTS
from retrieval.fusion import fuse
from retrieval.generation import Query
from retrieval.image_sentences import Picture, described_pictures
from retrieval.nonsense import nonsense_picture
from retrieval.search import FUSION, POOL, Search
from serving.evaluation.benchmarks import slake_rows, vqa_rad_rows

FALSE_REJECTIONS = 0.05
NONSENSE_SEED, NONSENSE = 4242, 40
PHOTOGRAPHS = {"sklearn": "datasets/images", "gradio": "media_assets/images", "networkx": "drawing/tests/baseline"}
RADIOLOGY = ("slake", "vqa-rad", "brain-tumour-mri", "iq-oth-nccd-ct", "hannover-covid-cxr", "kermany-chest-xray")
OTHERS = ("knee-oa-xray", "isic-2017", "bccd", "chula-rbc", "pbc-blood-cells")
PER_SET = 20

Progress = Callable[[str, int, int], None]
Values = dict[str, list[float]]


def package_pictures() -> list[Path]:
    """Photographs and drawings that have nothing to do with medicine, from packages that happen to be there."""
    files: list[Path] = []
    for package, folder in PHOTOGRAPHS.items():
        found = importlib.util.find_spec(package)
        if found is not None and found.origin:
            place = Path(found.origin).parent / folder
            files += [f for f in sorted(place.glob("*")) if f.suffix in (".jpg", ".jpeg", ".png")]
    return files


def nonsense(seed: int, count: int) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [nonsense_picture(rng) for _ in range(count)]


def questions(data: Path, split: str) -> dict[str, list[str]]:
    """What is asked of SLAKE's and VQA-RAD's images of a split, each question once."""
    return {
        "SLAKE questions": sorted({row.question for row in slake_rows(data / "slake", split)}),
        "VQA-RAD questions": sorted({row.question for row in vqa_rad_rows(data / "vqa-rad", split)}),
    }


def radiology(data: Path, choosing: bool) -> list[Picture]:
    """One half of the held-out radiology."""
    pictures = described_pictures(data, "validate", per_set=2 * PER_SET, openstax=0)
    return [one for one in pictures if one.dataset in RADIOLOGY and chooses(image_key(one.path)) == choosing]


def measure_scope(search: Search, data: Path, embedder: Embedder, progress: Progress) -> dict[str, Any]:
    """Questions and images apart."""
    asked = questions(data, "validate")
    texts = {
        name: [
            values_of_text(search, text, vector)
            for text, vector in zip(group, embedder.embed_texts(group), strict=True)
        ]
        for name, group in {**asked, "out of scope": list(OUT_OF_SCOPE_TEXTS)}.items()
    }
    progress("scope", 1, 2)
    others = described_pictures(data, "validate", per_set=PER_SET, openstax=0)
    groups: dict[str, list[Image.Image]] = {
        "radiology": [Image.open(one.path) for one in radiology(data, choosing=False)],
        "knee, skin, blood": [Image.open(one.path) for one in others if one.dataset in OTHERS],
        "photographs, drawings": [Image.open(path) for path in package_pictures()],
        "nonsense": nonsense(NONSENSE_SEED, NONSENSE),
    }
    images = {
        name: [
            values_of_image(search, image, vector)
            for image, vector in zip(group, embedder.embed_images(group), strict=True)
        ]
        for name, group in groups.items()
    }
    progress("scope", 2, 2)
    return {
        "texts": _table(texts, list(asked), ["out of scope"]),
        "images": _table(images, ["radiology"], ["photographs, drawings", "nonsense"]),
    }


def values_of_text(search: Search, text: str, vector: np.ndarray) -> dict[str, float]:
    """How much a question seems to belong, in several ways; the simplest: it names a modality or a region."""
    query = Query(text=vector, words=text)
    return {"names a concept": float(bool(named_modalities(text) or named_regions(text))), **_values(search, query)}


def values_of_image(search: Search, image: Image.Image, vector: np.ndarray) -> dict[str, float]:
    """How much an image seems to belong; the simplest: it has no colours."""
    small = np.asarray(image.convert("RGB").resize((64, 64)), np.float32)
    return {"grey": -float((small.max(2) - small.min(2)).mean()), **_values(search, Query(image=vector))}


def _values(search: Search, query: Query) -> dict[str, float]:
    pool = search.generation().pool(query, POOL)
    ranked = fuse(pool, search.tuning, FUSION)
    values = {str(view): float(np.nanmax(scores)) for view, scores in pool.views.items()}
    views = search.tuning.comparable(pool.views)
    relevance = search.tuning.relevance(views, list(views))
    if relevance is not None:
        values["relevance"] = float(relevance.max())
    return {**values, "found": float(bool(ranked))}


def _table(groups: dict[str, list[dict[str, float]]], belongs: Sequence[str], foreign: Sequence[str]) -> dict[str, Any]:
    ways = [way for way in next(iter(groups.values()))[0] if way != "found"]
    found = {name: np.array([one["found"] for one in group]) for name, group in groups.items()}
    inside, outside = [one for n in belongs for one in groups[n]], [one for n in foreign for one in groups[n]]
    return {
        "n": {name: len(group) for name, group in groups.items()},
        "rejected_by_product": {name: round(100 * float(1 - some.mean()), 1) for name, some in found.items()},
        "belongs": list(belongs),
        "foreign": list(foreign),
        "rejected_at_5": {way: rejected_at([o[way] for o in inside], [o[way] for o in outside]) for way in ways},
        "curves": {way: curve([o[way] for o in inside], [o[way] for o in outside]) for way in ways},
    }


def rejected_at(inside: Sequence[float], outside: Sequence[float], share: float = FALSE_REJECTIONS) -> dict[str, float]:
    """The highest floor that rejects at most `share` of what belongs, and the percent of the rest that it rejects."""
    ordered = np.sort(np.asarray(inside, float))
    floor = float(ordered[int(share * len(ordered))])
    return {"floor": floor, "rejected": round(100 * float((np.asarray(outside) < floor).mean()), 1)}


def curve(inside: Sequence[float], outside: Sequence[float]) -> list[tuple[float, float]]:
    """(share of what belongs that is rejected, share of the rest that is rejected) as the floor rises."""
    floors = np.unique(np.concatenate([inside, outside]))
    floors = floors[:: max(1, len(floors) // 60)]
    points = [(float((np.asarray(inside) < f).mean()), float((np.asarray(outside) < f).mean())) for f in floors]
    return [(round(x, 4), round(y, 4)) for x, y in [*points, (1.0, 1.0)]]
