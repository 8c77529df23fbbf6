"""Measures figure search: one command, a report with plots.

    python -m retrieval.evaluation --data ../shared/data --out data/reports/retrieval
    python -m retrieval.evaluation --data ../shared/data --out data/reports/retrieval --fit

Builds an index of all of ROCO (every licence: it is measured, not published) in its own folder, once. A run that was
stopped goes on where it was. `--fit` writes the fitted probabilities to `retrieval/models/relevance.json`.
"""

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from retrieval.build import build_index
from retrieval.corpora.licences import OPEN_LICENCES, UNKNOWN
from retrieval.embedders import DEMO_HEAD, DEMO_MODEL, DemoEmbedder
from retrieval.evaluation.agreement import measure_agreement, others_shown, slake_shown
from retrieval.evaluation.calibrate import measure_relevance
from retrieval.evaluation.captions import Captions
from retrieval.evaluation.known_item import measure_known_items
from retrieval.evaluation.page import write_page
from retrieval.evaluation.parts import Parts
from retrieval.evaluation.scope import measure_scope
from retrieval.relevance import RELEVANCE
from retrieval.search import FUSION, Search, open_search

SCHEMA = 1
ALL_LICENCES = OPEN_LICENCES | {"CC BY-NC", "CC BY-NC-SA", "CC BY-NC-ND", "CC BY-ND", UNKNOWN}
PRODUCT = "as the product"


def main(
    data: Annotated[Path, typer.Option(help="Folder with roco-captions/, slake/, vqa-rad/ and the other sets.")],
    out: Annotated[Path, typer.Option(help="report.json and report.html are written here.")],
    data_dir: Annotated[Path, typer.Option(help="The index is built here.")] = Path("data/evaluation-22k"),
    items: Annotated[int, typer.Option(help="Captions that are looked for.")] = 2000,
    fit: Annotated[bool, typer.Option(help="Write the fitted probabilities where search reads them.")] = False,
    head: Path = DEMO_HEAD,
    tower: Path = DEMO_MODEL,
) -> None:
    """Known items, agreement of images and captions, silence on other subjects, and probabilities."""
    embedder = DemoEmbedder(tower, head)
    build_index("roco", data_dir, data / "roco-captions", ALL_LICENCES, _progress, embedder=embedder)
    search = open_search(data_dir, embedder=embedder)
    generation = search.generation()
    key = f"{SCHEMA} {generation.current.generation} {items} {FUSION} {search.tuning} {embedder.image_space}"
    parts, captions = Parts(out / "parts", key), Captions(generation)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "captions": len(captions),
        "known_item": parts.get(
            "known-item", lambda: measure_known_items(search, captions, embedder, items, 1, _progress)
        ),
        "agreement": parts.get(
            "agreement",
            lambda: measure_agreement(
                search, captions, slake_shown(data / "slake", "validate", embedder), embedder, _progress
            ),
        ),
        "other_findings": parts.get(
            "other-findings",
            lambda: measure_agreement(search, captions, others_shown(data, embedder), embedder, _progress),
        ),
        "scope": parts.get("scope", lambda: measure_scope(search, data, embedder, _progress)),
        "relevance": parts.get("relevance", lambda: measure_relevance(search, captions, data, embedder, _progress)),
        "command": f"python -m retrieval.evaluation --data {data.name} --out {out.name} --items {items}",
        "made": {
            "embedder": embedder.name,
            "image_space": embedder.image_space,
            "fusion": FUSION,
            "tuning": str(search.tuning),
            **{name: importlib.metadata.version(name) for name in ("chromadb", "bm25s", "numpy")},
        },
    }
    report["goals"] = goals(report)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    write_page(report, out / "report.html")
    for goal in report["goals"]:
        typer.echo(f"{goal['name']:60} wanted {goal['wanted']:>6}  measured {goal['measured']:6.1f}")
    if fit:
        write_calibrations(search, report, RELEVANCE)


def goals(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What was set out to reach, beside what is."""
    forms, image = report["known_item"]["forms"], report["agreement"]["ways"]["image, as the product"]
    texts, images = report["scope"]["texts"], report["scope"]["images"]
    rows = [
        ("caption by two thirds of it, recall@5", ">= 97", forms["two thirds"]["ways"][PRODUCT]["recall@5"]["value"]),
        ("caption by five of its words, recall@5", ">= 75", forms["five words"]["ways"][PRODUCT]["recall@5"]["value"]),
        ("image: captions that name the modality", ">= 96", image["modality"]["value"]),
        ("image: captions that name the region", ">= 90", image["region"]["value"]),
    ]
    for name, part in (("questions", texts), ("images", images)):
        n, rejected = part["n"], part["rejected_by_product"]
        for title, wanted, groups in (
            ("out of scope, rejected", ">= 95", "foreign"),
            ("wrongly rejected", "<= 5", "belongs"),
        ):
            total = sum(n[group] for group in part[groups])
            value = sum(n[group] * rejected[group] for group in part[groups]) / total
            rows.append((f"{name} {title}", wanted, round(value, 1)))
    return [
        {
            "name": name,
            "wanted": wanted,
            "measured": value,
            "reached": value >= float(wanted[3:]) if wanted.startswith(">=") else value <= float(wanted[3:]),
        }
        for name, wanted, value in rows
    ]


def write_calibrations(search: Search, report: dict[str, Any], file: Path) -> None:
    """Put the fitted numbers, and what made them, beside the floors and weights that `file` holds already."""
    known = json.loads(file.read_text(encoding="utf-8"))
    fitted = {
        kind: {name: one[name] for name in ("bias", "weights", "n_fit", "n_measured", "ece")}
        for kind, one in report["relevance"].items()
    }
    name = report["made"]["embedder"]
    known[name] = {**known.get(name, {}), "calibrations": fitted, "made_by": report["command"]}
    file.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def _progress(stage: str, done: int, total: int) -> None:
    if done == total or (total >= 10 and done % (total // 10) == 0):
        print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
