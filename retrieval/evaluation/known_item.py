"""Is a caption found again by two thirds of it, by other words for it, by a few words of it?

Each way of searching ranks the same candidates. Captions of the same words count as the same item.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from retrieval.embedders import Embedder
from retrieval.evaluation.captions import Captions
from retrieval.evaluation.halves import chooses
from retrieval.evaluation.queries import LEAST_WORDS, paraphrase, some_words, two_thirds
from retrieval.fusion import Pool, fuse
from retrieval.generation import Query
from retrieval.relevance import Tuning
from retrieval.search import POOL, Search
from retrieval.words import content_words
from serving.evaluation.intervals import interval

DEPTH = 10
TERMS_WEIGHTS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8)
FORMS: dict[str, Callable[[str, random.Random], str]] = {
    "two thirds": lambda caption, rng: two_thirds(caption),
    "paraphrase": lambda caption, rng: paraphrase(caption),
    "five words": lambda caption, rng: some_words(caption, 5, rng),
    "three words": lambda caption, rng: some_words(caption, 3, rng),
}

Progress = Callable[[str, int, int], None]


def sample_rows(captions: Captions, count: int, seed: int, choosing: bool = False) -> list[int]:
    """Rows of captions that say enough to be looked for, drawn at random from one of the halves."""
    enough = [
        row
        for row, text in enumerate(captions.texts)
        if chooses(text) == choosing and len(content_words(text)) >= LEAST_WORDS
    ]
    return random.Random(seed).sample(enough, min(count, len(enough)))  # noqa: S311


def measure_known_items(
    search: Search,
    captions: Captions,
    embedder: Embedder,
    count: int,
    seed: int,
    progress: Progress,
    choosing: bool = False,
) -> dict[str, Any]:
    """By form of the query and way of searching: recall at 1, 5 and 10 in percent, and the mean reciprocal rank."""
    rows = sample_rows(captions, count, seed, choosing)
    forms = {}
    for form, make in FORMS.items():
        rng = random.Random(f"{seed}/{form}")  # noqa: S311
        texts = [make(captions.texts[row], rng) for row in rows]
        vectors = embedder.embed_texts(texts)
        places: dict[str, list[int]] = {}
        for number, (row, text, vector) in enumerate(zip(rows, texts, vectors, strict=True)):
            progress(form, number, len(rows))
            for way, ranking in _rankings(search, captions, Query(text=vector, words=text)).items():
                places.setdefault(way, []).append(_place(captions, ranking, row))
        progress(form, len(rows), len(rows))
        forms[form] = {"example": texts[0], "ways": {way: _summary(found) for way, found in places.items()}}
    return {"captions": len(captions), "queries": len(rows), "forms": forms}


def _rankings(search: Search, captions: Captions, query: Query) -> dict[str, Sequence[int]]:
    pool = search.generation().pool(query, POOL)
    common = captions.words_in_common(query.words)
    rankings: dict[str, Sequence[int]] = {
        "words in common": np.argsort(-common, kind="stable")[:DEPTH].tolist(),
        "BM25": _by(pool, pool.views["terms"]),
        "text": _by(pool, pool.views["text"]),
        "reciprocal rank": [one.row for one in fuse(pool, Tuning(), "reciprocal rank")[:DEPTH]],
    }
    for weight in TERMS_WEIGHTS:
        ranked = fuse(pool, Tuning(terms_weight=weight), "weighted")[:DEPTH]
        rankings[f"weighted, terms {weight}"] = [one.row for one in ranked]
    hits = search.find(query, DEPTH)
    rankings["as the product"] = captions.catalogue.rows([hit.figure.figure_id for hit in hits]).tolist()
    return rankings


def _by(pool: Pool, values: np.ndarray) -> list[int]:
    return pool.rows[np.argsort(-values, kind="stable")[:DEPTH]].tolist()


def _place(captions: Captions, ranking: Sequence[int], row: int) -> int:
    """From 1; 0 where it is not among the first."""
    wanted = captions.keys[row]
    return next((place for place, found in enumerate(ranking, 1) if captions.keys[found] == wanted), 0)


def _summary(places: Sequence[int]) -> dict[str, Any]:
    items = [str(number) for number in range(len(places))]
    recall = {
        f"recall@{depth}": interval([float(0 < place <= depth) for place in places], items) for depth in (1, 5, 10)
    }
    return {**recall, "mrr": round(float(np.mean([1 / place if place else 0 for place in places])), 4)}
