"""From scores to the probability that a figure is relevant, fitted on a development set that is made from data.

What is relevant, by the kind of query:
- words: the query is a ROCO caption in other words, its own article left out; a caption is relevant where it has
  half of the concepts (UMLS, weighted by rarity) that ROCO gives the query's caption. Questions on other subjects
  have no relevant captions.
- image, alone or with a question: held-out images of the labelled sets; a caption is relevant where it names the
  image's modality and region. Nonsense has no relevant captions.
- look: pairs of these images; relevant where modality and region are the same.

One half of the queries, chosen by hash, fits; the other measures. A logistic function of one to three scores cannot
learn more of the halves than that.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression

from retrieval.embedders import Embedder
from retrieval.evaluation.agreement import REGIONS
from retrieval.evaluation.captions import Captions
from retrieval.evaluation.halves import chooses, image_key
from retrieval.evaluation.out_of_scope import FOR_CHOOSING
from retrieval.evaluation.queries import LEAST_WORDS, paraphrase
from retrieval.evaluation.scope import nonsense
from retrieval.fusion import fuse
from retrieval.generation import Query
from retrieval.image_sentences import Picture, described_pictures
from retrieval.relevance import Logistic, Tuning, View
from retrieval.search import POOL, Search
from retrieval.words import content_words
from serving.evaluation.benchmarks import slake_rows, vqa_rad_rows

K = 8
TEXT_QUERIES = 600
MOST_WORDS = 12
HALF_OF_THE_CONCEPTS = 0.5
FIT_NONSENSE = 777
BINS = 10
ALL_REGIONS = {**REGIONS, "knee": {"limbs"}, "skin": {"skin"}, "blood": {"blood"}}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Judged:
    """One hit of one query: its scores, whether it is relevant, and in which half the query is."""

    scores: Mapping[View, float]
    relevant: bool
    fits: bool


def measure_relevance(
    search: Search, captions: Captions, data: Path, embedder: Embedder, progress: Progress
) -> dict[str, Any]:
    """The calibration of each kind of query, and how well it holds on the half that it was not fitted on."""
    pictures = [
        one
        for one in described_pictures(data, "validate", per_set=40, openstax=0)
        if one.modality and one.region in ALL_REGIONS
    ]
    vectors = embedder.embed_images([Image.open(one.path) for one in pictures])
    progress("relevance", 1, 4)
    judged: dict[str, tuple[tuple[View, ...], list[Judged]]] = {
        "image": (("image",), _image_hits(search, captions, pictures, vectors, embedder)),
        "look": (("look",), _look_alikes(pictures, vectors)),
    }
    progress("relevance", 2, 4)
    both = _question_hits(search, captions, pictures, vectors, data, embedder)
    judged["both"] = (("image", "text", "terms"), both)
    progress("relevance", 3, 4)
    text = _text_hits(search, captions, data, embedder)
    judged["text"] = (("text", "terms"), text)
    progress("relevance", 4, 4)
    return {kind: _fit(views, rows) for kind, (views, rows) in judged.items()}


def _fit(views: Sequence[View], rows: Sequence[Judged]) -> dict[str, Any]:
    values = np.array([[row.scores[view] for view in views] for row in rows])
    relevant = np.array([row.relevant for row in rows])
    fits = np.array([row.fits for row in rows])
    model = LogisticRegression(C=1e6, max_iter=1000).fit(values[fits], relevant[fits])
    bias, weights = float(model.intercept_[0]), model.coef_[0].tolist()
    logistic = Logistic(bias, dict(zip(views, weights, strict=True)))
    said = logistic.probability({view: values[~fits, place] for place, view in enumerate(views)})
    return {
        "bias": round(bias, 4),
        "weights": {view: round(weight, 4) for view, weight in logistic.weights.items()},
        "n_fit": int(fits.sum()),
        "n_measured": int((~fits).sum()),
        "relevant_percent": round(100 * float(relevant[~fits].mean()), 1),
        **reliability(said, relevant[~fits]),
    }


def reliability(said: np.ndarray, relevant: np.ndarray) -> dict[str, Any]:
    """Expected calibration error over ten bins, Brier score, and the bins."""
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    bins = [
        {
            "probability": round(float(said[place == b].mean()), 4),
            "right": round(float(relevant[place == b].mean()), 4),
            "n": int((place == b).sum()),
        }
        for b in range(BINS)
        if (place == b).any()
    ]
    ece = sum(one["n"] * abs(one["probability"] - one["right"]) for one in bins) / len(said)
    return {"ece": round(ece, 4), "brier": round(float(((said - relevant) ** 2).mean()), 4), "bins": bins}


def _judge(
    search: Search, query: Query, relevant: Callable[[int], bool], key: str, mask: np.ndarray | None = None
) -> list[Judged]:
    pool = search.generation().pool(query, POOL, mask)
    views = {view: values for view, values in pool.views.items() if view != "look"}
    tuning = Tuning(image_weight=search.tuning.image_weight, terms_weight=search.tuning.terms_weight)
    places = {int(row): place for place, row in enumerate(pool.rows)}
    return [
        Judged(
            {view: float(values[places[one.row]]) for view, values in views.items()}, relevant(one.row), chooses(key)
        )
        for one in fuse(pool, tuning)[:K]
    ]


def _says_the_same(captions: Captions, picture: Picture) -> Callable[[int], bool]:
    regions = ALL_REGIONS[picture.region]
    return lambda row: picture.modality in captions.modalities[row] and bool(regions & captions.regions[row])


def _image_hits(
    search: Search, captions: Captions, pictures: Sequence[Picture], vectors: np.ndarray, embedder: Embedder
) -> list[Judged]:
    rows = []
    for picture, vector in zip(pictures, vectors, strict=True):
        rows += _judge(search, Query(image=vector), _says_the_same(captions, picture), image_key(picture.path))
    drawn = embedder.embed_images(nonsense(FIT_NONSENSE, 40))
    for number, vector in enumerate(drawn):
        rows += _judge(search, Query(image=vector), lambda row: False, f"nonsense/{number}")
    return rows


def _question_hits(
    search: Search,
    captions: Captions,
    pictures: Sequence[Picture],
    vectors: np.ndarray,
    data: Path,
    embedder: Embedder,
) -> list[Judged]:
    asked: dict[Path, list[str]] = defaultdict(list)
    for row in [*slake_rows(data / "slake", "validate"), *vqa_rad_rows(data / "vqa-rad", "validate")]:
        if len(asked[row.image_path]) < 3:
            asked[row.image_path].append(row.question)
    texts = sorted({question for group in asked.values() for question in group})
    embedded = dict(zip(texts, embedder.embed_texts(texts), strict=True))
    rows = []
    for picture, vector in zip(pictures, vectors, strict=True):
        for question in asked[picture.path]:
            query = Query(image=vector, text=embedded[question], words=question)
            rows += _judge(search, query, _says_the_same(captions, picture), image_key(picture.path))
    return rows


def _look_alikes(pictures: Sequence[Picture], vectors: np.ndarray) -> list[Judged]:
    rows = []
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    for number, picture in enumerate(pictures):
        for other in np.argsort(-cosines[number])[:K]:
            same = (picture.modality, picture.region) == (pictures[other].modality, pictures[other].region)
            rows.append(Judged({"look": float(cosines[number, other])}, same, chooses(image_key(picture.path))))
    return rows


def concept_agreement(search: Search, captions: Captions, data: Path, embedder: Embedder) -> float:
    """The percent of the first 8 captions that are relevant to words, own article left out, on the half that fits."""
    rows = [row.relevant for row in _text_hits(search, captions, data, embedder) if row.fits]
    return round(100 * float(np.mean(rows)), 2)


def _text_hits(search: Search, captions: Captions, data: Path, embedder: Embedder) -> list[Judged]:
    concepts = roco_concepts(data / "roco-captions")
    counts = Counter(concept for some in concepts.values() for concept in some)
    rarity = {concept: float(np.log(len(concepts) / count)) for concept, count in counts.items()}
    usable = [
        row
        for row, text in enumerate(captions.texts)
        if LEAST_WORDS <= len(content_words(text)) <= MOST_WORDS and len(concepts.get(text, ())) >= 2
    ]
    chosen = random.Random(5).sample(usable, min(TEXT_QUERIES, len(usable)))  # noqa: S311
    texts = [paraphrase(captions.texts[row]) for row in chosen]
    articles = captions.catalogue.columns["article"].codes
    rows = []
    for row, text, vector in zip(chosen, texts, embedder.embed_texts(texts), strict=True):
        mine = concepts[captions.texts[row]]
        most = sum(rarity[concept] for concept in mine)

        def relevant(other: int, mine: frozenset[str] = mine, most: float = most) -> bool:
            shared = mine & concepts.get(captions.texts[other], frozenset())
            return sum(rarity[concept] for concept in shared) >= HALF_OF_THE_CONCEPTS * most

        rows += _judge(search, Query(text=vector, words=text), relevant, text, articles != articles[row])
    for text, vector in zip(FOR_CHOOSING, embedder.embed_texts(list(FOR_CHOOSING)), strict=True):
        rows += _judge(search, Query(text=vector, words=text), lambda row: False, text)
    return rows


def roco_concepts(folder: Path) -> dict[str, frozenset[str]]:
    """Of each caption of ROCO the UMLS concepts that the corpus gives it."""
    found: dict[str, frozenset[str]] = {}
    for file in sorted(folder.glob("**/captions.txt")):
        with file.with_name("cuis.txt").open(encoding="utf-8") as lines:
            concepts = {key: frozenset(rest.split()) for key, _, rest in (line.partition("\t") for line in lines)}
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, caption = line.partition("\t")
                found[" ".join(caption.split())] = concepts.get(key, frozenset())
    return found
