"""Do the captions that an image finds name its modality, its region and its finding?

Images of SLAKE's validate split, and held-out images of two other sets with a finding each, are the queries. A
caption that names no modality counts as wrong. Beside the image: its question, both fused in the ways that search
could do it, captions drawn at random, and captions drawn from those that name the same modality (and region).
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retrieval.embedders import Embedder, Vectors
from retrieval.evaluation.captions import Captions
from retrieval.evaluation.findings import finding_pattern, slake_findings
from retrieval.fusion import fuse
from retrieval.generation import Query
from retrieval.image_sentences import Picture, slake_pictures, vqa_rad_pictures
from retrieval.relevance import Tuning
from retrieval.search import POOL, Search
from serving.evaluation.benchmarks import VqaRow, slake_rows, vqa_rad_rows
from serving.evaluation.intervals import interval
from serving.evaluation.labelled_images import labelled_images

K = 8
QUESTIONS = 5
IMAGE_WEIGHTS = (0.5, 0.6, 0.7, 0.8, 0.9)
REGIONS = {
    "chest": {"chest", "heart"},
    "abdomen": {"abdomen"},
    "pelvis": {"pelvis"},
    "brain": {"head"},
    "head": {"head", "teeth and jaw", "eye"},
    "neck": {"neck"},
}
"""Regions of the labels as the names that captions are read for."""
OTHER_SETS = {"brain-tumour-mri": ("MRI", "brain"), "kermany-chest-xray": ("X-ray", "chest")}
PER_SET = 40

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Shown:
    """One image with its vector, what its labels say, and what is asked about it."""

    path: Path
    dataset: str
    vector: Vectors
    modality: str
    regions: frozenset[str]
    finding: re.Pattern[str] | None
    questions: tuple[str, ...] = ()


def slake_shown(folder: Path, split: str, embedder: Embedder) -> list[Shown]:
    """SLAKE's images of a split, each with some of its questions."""
    return _shown(slake_pictures(folder, split), slake_rows(folder, split), embedder)


def rad_shown(folder: Path, split: str, embedder: Embedder) -> list[Shown]:
    """VQA-RAD's images of a split, each with some of its questions; the modality is "" where nothing tells it."""
    return _shown(vqa_rad_pictures(folder, split), vqa_rad_rows(folder, split), embedder)


def _shown(pictures: Sequence[Picture], rows: Sequence[VqaRow], embedder: Embedder) -> list[Shown]:
    asked: dict[Path, list[str]] = defaultdict(list)
    for row in rows:
        if len(asked[row.image_path]) < QUESTIONS:
            asked[row.image_path].append(row.question)
    vectors = embedder.embed_images([Image.open(picture.path) for picture in pictures])
    return [
        Shown(
            picture.path,
            picture.dataset,
            vector,
            picture.modality,
            frozenset(REGIONS[picture.region]),
            finding_pattern(slake_findings(picture.path)) if picture.dataset == "slake" else None,
            tuple(asked[picture.path]),
        )
        for picture, vector in zip(pictures, vectors, strict=True)
    ]


def others_shown(data: Path, embedder: Embedder) -> list[Shown]:
    """Held-out images of the other sets whose class is a finding; sets that are not there are left out."""
    shown = []
    for name, (modality, region) in OTHER_SETS.items():
        if not (data / name / "rows.jsonl").exists():
            continue
        images = [
            one for one in labelled_images(data / name) if one.held_out and finding_pattern([one.labels["class"]])
        ]
        images = images[:: max(1, len(images) // PER_SET)][:PER_SET]
        vectors = embedder.embed_images([Image.open(one.path) for one in images])
        shown += [
            Shown(one.path, name, vector, modality, frozenset(REGIONS[region]), finding_pattern([one.labels["class"]]))
            for one, vector in zip(images, vectors, strict=True)
        ]
    return shown


def measure_agreement(
    search: Search, captions: Captions, shown: Sequence[Shown], embedder: Embedder, progress: Progress
) -> dict[str, Any]:
    """By way of searching: the share of the first 8 captions that agree, in percent with 95 % intervals."""
    rng = np.random.default_rng(1)
    texts = sorted({question for one in shown for question in one.questions})
    vectors = dict(zip(texts, embedder.embed_texts(texts), strict=True))
    counted: dict[str, list[tuple[Shown, Sequence[int]]]] = defaultdict(list)
    for number, one in enumerate(shown):
        progress("agreement", number, len(shown))
        for way, some in (
            ("random captions", np.arange(len(captions))),
            ("random of the modality", captions.naming(one.modality)),
            ("random of modality and region", captions.naming(one.modality, one.regions)),
        ):
            counted[way].append((one, rng.choice(some, K).tolist() if len(some) else []))
        for way, rows in _by_image(search, one).items():
            counted[way].append((one, rows))
        for question in one.questions:
            for way, rows in _by_both(search, one, question, vectors[question]).items():
                counted[way].append((one, rows))
    progress("agreement", len(shown), len(shown))
    return {
        "captions": len(captions),
        "k": K,
        "images": len(shown),
        "ways": {way: _summary(captions, found) for way, found in counted.items()},
        "by_modality": {
            modality: _summary(captions, [(one, rows) for one, rows in counted["image"] if one.modality == modality])
            for modality in sorted({one.modality for one in shown})
        },
    }


def _by_image(search: Search, one: Shown) -> dict[str, Sequence[int]]:
    query = Query(image=one.vector)
    pool = search.generation().pool(query, POOL)
    return {"image": [r.row for r in fuse(pool, Tuning())[:K]], "image, as the product": _product(search, query)}


def _by_both(search: Search, one: Shown, question: str, vector: Vectors) -> dict[str, Sequence[int]]:
    query = Query(image=one.vector, text=vector, words=question)
    pool = search.generation().pool(query, POOL)
    rows = {
        "question by text": pool.rows[np.argsort(-pool.views["text"])[:K]].tolist(),
        "question by BM25": pool.rows[np.argsort(-pool.views["terms"])[:K]].tolist(),
        "image and question, reciprocal rank": [r.row for r in fuse(pool, Tuning(), "reciprocal rank")[:K]],
    }
    for weight in IMAGE_WEIGHTS:
        tuning = Tuning(image_weight=weight, terms_weight=search.tuning.terms_weight)
        rows[f"image and question, image weighs {weight}"] = [r.row for r in fuse(pool, tuning)[:K]]
    rows["image and question, as the product"] = _product(search, query)
    return rows


def _product(search: Search, query: Query) -> list[int]:
    found = [hit.figure.figure_id for hit in search.find(query, K)]
    return search.generation().catalogue.rows(found).tolist()


def _summary(captions: Captions, found: Sequence[tuple[Shown, Sequence[int]]]) -> dict[str, Any]:
    def share(agrees: Callable[[Shown, int], bool], some: Sequence[tuple[Shown, Sequence[int]]]) -> Any:
        values = [float(agrees(one, row)) for one, rows in some for row in rows]
        images = [str(one.path) for one, rows in some for _ in rows]
        return interval(values, images) if values else None

    with_finding = [(one, rows) for one, rows in found if one.finding]
    return {
        "n": len(found),
        "captions_per_query": round(float(np.mean([len(rows) for _, rows in found])), 2),
        "modality": share(lambda one, row: one.modality in captions.modalities[row], found),
        "region": share(lambda one, row: bool(one.regions & captions.regions[row]), found),
        "finding": share(lambda one, row: bool(one.finding and one.finding.search(captions.texts[row])), with_finding),
        "n_finding": len(with_finding),
    }
