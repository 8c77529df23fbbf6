"""Where must the floors lie? Scores of queries that belong, beside those of queries that do not.

    python -m retrieval.evaluation.floors --data ../shared/data --data-dir data

Of each query the best cosine that the index has for it. What belongs: validate images and questions of SLAKE and
VQA-RAD, and held-out images of the other medical sets. What does not: questions on anything else, photographs and
drawings that other packages carry, and drawn nonsense; none of them was trained on. Printed for a row of floors:
the share of out-of-scope queries that are rejected, and of in-scope queries that are rejected wrongly.
"""

import importlib.util
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from retrieval.embedders import DEMO_HEAD, DEMO_MODEL, DemoEmbedder, Vectors
from retrieval.evaluation.exact import ExactIndex
from retrieval.evaluation.out_of_scope import OUT_OF_SCOPE_TEXTS
from retrieval.image_sentences import described_pictures
from retrieval.nonsense import nonsense_picture
from serving.evaluation.benchmarks import slake_rows, vqa_rad_rows

FLOORS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
PHOTOGRAPHS = {"sklearn": "datasets/images", "gradio": "media_assets/images", "networkx": "drawing/tests/baseline"}
NONSENSE_SEED, NONSENSE = 4242, 40
RADIOLOGY = ("slake", "vqa-rad", "brain-tumour-mri", "iq-oth-nccd-ct", "hannover-covid-cxr", "kermany-chest-xray")
OTHERS = ("knee-oa-xray", "isic-2017", "bccd", "chula-rbc", "pbc-blood-cells")


def package_pictures() -> list[Path]:
    """Photographs and drawings that have nothing to do with medicine, from packages that happen to be there."""
    files: list[Path] = []
    for package, folder in PHOTOGRAPHS.items():
        found = importlib.util.find_spec(package)
        if found is not None and found.origin:
            place = Path(found.origin).parent / folder
            files += [f for f in sorted(place.glob("*")) if f.suffix in (".jpg", ".jpeg", ".png")]
    return files


def best(index: ExactIndex, queries: Vectors) -> np.ndarray:
    """Of each query the best cosine."""
    return (queries @ index.vectors.T).max(1)


def table(title: str, belongs: dict[str, np.ndarray], foreign: dict[str, np.ndarray]) -> dict:
    typer.echo(f"\n{title}")
    groups = {**belongs, **foreign}
    for name, scores in groups.items():
        low, middle, high = np.quantile(scores, [0.05, 0.5, 0.95])
        typer.echo(f"  {name:34} n={len(scores):4}  5 % {low:.2f}  median {middle:.2f}  95 % {high:.2f}")
    typer.echo("  floor   " + "  ".join(f"{name[:22]:>22}" for name in groups))
    rows = {}
    for floor in FLOORS:
        rejected = {name: 100 * float((scores < floor).mean()) for name, scores in groups.items()}
        rows[floor] = rejected
        typer.echo(f"  {floor:.2f}    " + "  ".join(f"{value:20.1f} %" for value in rejected.values()))
    return {"n": {name: len(scores) for name, scores in groups.items()}, "rejected_percent": rows}


def main(
    data: Annotated[Path, typer.Option(help="Folder of the labelled image sets.")] = Path("../shared/data"),
    data_dir: Annotated[Path, typer.Option(help="The index at `data_dir/index` is searched.")] = Path("data"),
    tower: Path = DEMO_MODEL,
    head: Path = DEMO_HEAD,
    json_out: Annotated[Path | None, typer.Option(help="The figures as JSON.")] = None,
) -> None:
    """Print rejection rates by floor, for text and for images."""
    index, embedder = ExactIndex(data_dir), DemoEmbedder(tower, head)
    questions = {
        "SLAKE questions": sorted({row.question for row in slake_rows(data / "slake", "validate")}),
        "VQA-RAD questions": sorted({row.question for row in vqa_rad_rows(data / "vqa-rad", "validate")}),
    }
    texts = table(
        f"Questions, {len(index.figures)} figures",
        {name: best(index, embedder.embed_texts(group)) for name, group in questions.items()},
        {"out of scope": best(index, embedder.embed_texts(list(OUT_OF_SCOPE_TEXTS)))},
    )
    held_out = described_pictures(data, "validate", per_set=20, openstax=0)

    def scores(names: tuple[str, ...]) -> np.ndarray:
        paths = [picture.path for picture in held_out if picture.dataset in names]
        return best(index, embedder.embed_images([Image.open(path) for path in paths]))

    rng = np.random.default_rng(NONSENSE_SEED)
    images = table(
        f"Images, {len(index.figures)} figures",
        {
            "SLAKE, VQA-RAD": scores(RADIOLOGY[:2]),
            "other radiology": scores(RADIOLOGY[2:]),
            "knee, skin, blood": scores(OTHERS),
        },
        {
            "photographs, drawings": best(index, embedder.embed_images([Image.open(p) for p in package_pictures()])),
            "nonsense": best(index, embedder.embed_images([nonsense_picture(rng) for _ in range(NONSENSE)])),
        },
    )
    if json_out:
        json_out.write_text(
            json.dumps({"figures": len(index.figures), "texts": texts, "images": images}, indent=2) + "\n"
        )


if __name__ == "__main__":
    typer.run(main)
