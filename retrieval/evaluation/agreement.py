"""Do the captions that an image finds name its modality and its region?

    python -m retrieval.evaluation.agreement --data ../shared/data

Images of SLAKE's validate split are the queries, ROCO's openly licensed captions (radiology and other figures) the
index, exact search. A caption that names no modality counts as wrong. Beside the image: the same with its question
fused in, in the ways that search could do it, and captions drawn at random.
"""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from retrieval.build import build_index
from retrieval.concepts import named_modalities, named_regions
from retrieval.embedders import DEMO_HEAD, DEMO_MODEL, DemoEmbedder, Vectors
from retrieval.evaluation.exact import ExactIndex
from retrieval.image_sentences import slake_pictures
from serving.evaluation.benchmarks import slake_rows

K = 8
POOL = 50
REGIONS = {
    "chest": {"chest", "heart"},
    "abdomen": {"abdomen"},
    "pelvis": {"pelvis"},
    "brain": {"head"},
    "head": {"head", "teeth and jaw", "eye"},
    "neck": {"neck"},
}
"""Regions of the labels as the names that captions are read for."""


@dataclass(frozen=True)
class Query:
    """One validate image (and question) with its vectors and its truth."""

    image: Vectors
    text: Vectors | None
    modality: str
    regions: frozenset[str]


Ranking = Callable[[Query], list[int]]


def reciprocal_rank(index: ExactIndex, constant: int = 60) -> Ranking:
    def rank(query: Query) -> list[int]:
        scores: dict[int, float] = defaultdict(float)
        for vector in (query.image, query.text):
            if vector is not None:
                for place, (number, _) in enumerate(index.top(vector, POOL)):
                    scores[number] += 1 / (constant + place + 1)
        return sorted(scores, key=lambda number: -scores[number])[:K]

    return rank


def weighted(index: ExactIndex, image_weight: float) -> Ranking:
    """The mean of the cosines over the candidates of both queries."""

    def rank(query: Query) -> list[int]:
        if query.text is None:
            return [number for number, _ in index.top(query.image, K)]
        pool = {n for vector in (query.image, query.text) for n, _ in index.top(vector, POOL)}
        mixed = image_weight * query.image + (1 - image_weight) * query.text
        return sorted(pool, key=lambda number: -float(index.vectors[number] @ mixed))[:K]

    return rank


def agreement(index: ExactIndex, queries: list[Query], ranking: Ranking) -> tuple[float, float]:
    """Percent of the top 8 that name the modality, and the region."""
    modality = region = count = 0
    for query in queries:
        for number in ranking(query):
            caption = index.figures[number].caption
            modality += query.modality in named_modalities(caption)
            region += bool(query.regions & named_regions(caption))
            count += 1
    return 100 * modality / count, 100 * region / count


def slake_queries(folder: Path, embedder: DemoEmbedder, questions: int) -> list[Query]:
    """Validate images, each alone (`questions=0`) or with up to so many of its questions."""
    pictures = slake_pictures(folder, "validate")
    images = embedder.embed_images([Image.open(picture.path) for picture in pictures])
    asked: dict[Path, list[str]] = defaultdict(list)
    for row in slake_rows(folder, "validate"):
        if len(asked[row.image_path]) < questions:
            asked[row.image_path].append(row.question)
    texts = sorted({question for group in asked.values() for question in group})
    vectors = dict(zip(texts, embedder.embed_texts(texts), strict=True))
    queries = []
    for picture, image in zip(pictures, images, strict=True):
        truth = picture.modality, frozenset(REGIONS[picture.region])
        if questions:
            queries += [Query(image, vectors[question], *truth) for question in asked[picture.path]]
        else:
            queries.append(Query(image, None, *truth))
    return queries


def main(
    data: Annotated[Path, typer.Option(help="Folder with slake/ and roco-captions/.")] = Path("../shared/data"),
    data_dir: Annotated[Path, typer.Option(help="The index of ROCO is built here.")] = Path("data/evaluation"),
    tower: Path = DEMO_MODEL,
    head: Path = DEMO_HEAD,
    json_out: Annotated[Path | None, typer.Option(help="The figures as JSON.")] = None,
) -> None:
    """Print the agreement of image queries, fusions and random captions."""
    build_index("roco", data_dir, data / "roco-captions", progress=lambda *step: typer.echo(step, err=True))
    index, embedder = ExactIndex(data_dir, "roco"), DemoEmbedder(tower, head)
    alone = slake_queries(data / "slake", embedder, 0)
    asked = slake_queries(data / "slake", embedder, 5)
    rng = np.random.default_rng(1)
    rows: list[tuple[str, list[Query], Ranking]] = [
        ("random captions", alone, lambda query: rng.integers(len(index.figures), size=K).tolist()),
        ("image", alone, weighted(index, 1.0)),
        ("question alone", asked, weighted(index, 0.0)),
        ("image and question, reciprocal rank", asked, reciprocal_rank(index)),
    ]
    rows += [
        (f"image and question, image weighs {weight}", asked, weighted(index, weight))
        for weight in (0.5, 0.6, 0.7, 0.8)
    ]
    typer.echo(f"SLAKE validate images query {len(index.figures)} ROCO captions; top {K}")
    report = {}
    for name, queries, ranking in rows:
        modality, region = agreement(index, queries, ranking)
        report[name] = {"n": len(queries), "modality": round(modality, 1), "region": round(region, 1)}
        typer.echo(f"{name:42} n={len(queries):4}  modality {modality:5.1f} %  region {region:5.1f} %")
    if json_out:
        json_out.write_text(json.dumps({"captions": len(index.figures), "k": K, "rows": report}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
