"""Measures figure search: one command, a report with plots.

    python -m retrieval.evaluation --data ../shared/data --out data/reports/retrieval
    python -m retrieval.evaluation --data ../shared/data --out data/reports/retrieval --fit

Builds an index of all of ROCO (every licence: it is measured, not published) in its own folder, once. A run that was
stopped goes on where it was. `--fit` first chooses floors and weights, fits the probabilities and writes them to
`retrieval/models/relevance.json`, on the half of the data that the measurement leaves out.
"""

import importlib.metadata
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from retrieval.build import build_index
from retrieval.corpora.licences import OPEN_LICENCES, UNKNOWN
from retrieval.embedders import DEMO_HEAD, DEMO_MODEL, DemoEmbedder, Embedder
from retrieval.evaluation.agreement import measure_agreement, others_shown, slake_shown
from retrieval.evaluation.calibrate import measure_relevance
from retrieval.evaluation.captions import Captions
from retrieval.evaluation.choose import choose
from retrieval.evaluation.exact import ExactIndex, measure_exact
from retrieval.evaluation.known_item import measure_known_items, sample_rows
from retrieval.evaluation.page import write_page
from retrieval.evaluation.parts import Parts
from retrieval.evaluation.queries import two_thirds
from retrieval.evaluation.scope import measure_scope
from retrieval.relevance import RELEVANCE, Tuning, tuning_of
from retrieval.search import FUSION, Search, open_search

SCHEMA = 1
ALL_LICENCES = OPEN_LICENCES | {"CC BY-NC", "CC BY-NC-SA", "CC BY-NC-ND", "CC BY-ND", UNKNOWN}
PRODUCT = "as the product"
EXACT_TEXTS = 300

Progress = Callable[[str, int, int], None]


def main(
    data: Annotated[Path, typer.Option(help="Folder with roco-captions/, slake/, vqa-rad/ and the other sets.")],
    out: Annotated[Path, typer.Option(help="report.json and report.html are written here.")],
    data_dir: Annotated[Path, typer.Option(help="The index is built here.")] = Path("data/evaluation-22k"),
    items: Annotated[int, typer.Option(help="Captions that are looked for.")] = 1000,
    fit: Annotated[
        bool, typer.Option(help="Choose what search uses first, and write it where search reads it.")
    ] = False,
    head: Path = DEMO_HEAD,
    tower: Path = DEMO_MODEL,
) -> None:
    """Known items, agreement of images and captions, silence on other subjects, and probabilities."""
    embedder, progress = DemoEmbedder(tower, head), _Progress()
    build_index("roco", data_dir, data / "roco-captions", ALL_LICENCES, progress, embedder=embedder)
    search = open_search(data_dir, embedder=embedder)
    captions = Captions(search.generation())
    command = f"python -m retrieval.evaluation --data {data.name} --out {out.name} --items {items}"
    if fit:
        tuning = fit_tuning(search, captions, data, embedder, out, items, progress)
        write_tuning(embedder.name, tuning, f"{command} --fit", RELEVANCE)
        search.tuning = tuning_of(tuning)
    parts = Parts(out / "parts", _key(search, embedder, items))
    exact = ExactIndex(data_dir)
    slake = slake_shown(data / "slake", "validate", embedder)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "captions": len(captions),
        "known_item": parts.get(
            "known-item", lambda: measure_known_items(search, captions, embedder, items, 1, progress)
        ),
        "agreement": parts.get("agreement", lambda: measure_agreement(search, captions, slake, embedder, progress)),
        "other_findings": parts.get(
            "other-findings",
            lambda: measure_agreement(search, captions, others_shown(data, embedder), embedder, progress),
        ),
        "scope": parts.get("scope", lambda: measure_scope(search, data, embedder, progress)),
        "relevance": parts.get("relevance", lambda: measure_relevance(search, captions, data, embedder, progress)),
        "exact": parts.get(
            "exact",
            lambda: measure_exact(
                search,
                exact,
                {
                    "two thirds of a caption": embedder.embed_texts(
                        [two_thirds(captions.texts[row]) for row in sample_rows(captions, EXACT_TEXTS, 1)]
                    ),
                    "SLAKE validate images": np.stack([one.vector for one in slake]),
                },
            ),
        ),
        "command": command,
        "made": {
            "embedder": embedder.name,
            "image_space": embedder.image_space,
            "fusion": FUSION,
            "tuning": asdict(search.tuning),
            **{name: importlib.metadata.version(name) for name in ("chromadb", "bm25s", "numpy")},
        },
    }
    report["goals"] = goals(report)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    write_page(report, out / "report.html")
    for goal in report["goals"]:
        typer.echo(f"{goal['name']:60} wanted {goal['wanted']:>6}  measured {goal['measured']:6.1f}")


def fit_tuning(
    search: Search, captions: Captions, data: Path, embedder: Embedder, out: Path, items: int, progress: Progress
) -> dict[str, Any]:
    """What `retrieval/models/relevance.json` holds for this embedder, and the tables that it was chosen by.

    First weights and floors, then the probabilities of what these weights rank.
    """
    search.tuning = Tuning()
    parts = Parts(out / "parts", _key(search, embedder, items))
    chosen = parts.get("chosen", lambda: choose(search, captions, data, embedder, items // 2, progress))
    search.tuning = tuning_of(chosen["tuning"])
    parts = Parts(out / "parts", _key(search, embedder, items))
    fitted = parts.get("fitted", lambda: measure_relevance(search, captions, data, embedder, progress))
    calibrations = {
        kind: {name: one[name] for name in ("bias", "weights", "n_fit", "n_measured", "ece")}
        for kind, one in fitted.items()
    }
    tables = {name: table for name, table in chosen.items() if name != "tuning"}
    return {**chosen["tuning"], "calibrations": calibrations, "chosen_by": tables}


def _key(search: Search, embedder: Embedder, items: int) -> str:
    generation = search.generation().current.generation
    return f"{SCHEMA} {generation} {items} {FUSION} {search.tuning} {embedder.image_space}"


def goals(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What was set out to reach, beside what is."""
    forms, ways = report["known_item"]["forms"], report["agreement"]["ways"]
    image, alike = ways["image, as the product"], ways["random of modality and region"]
    texts, images = report["scope"]["texts"], report["scope"]["images"]
    rows = [
        ("caption by two thirds of it, recall@5", ">= 97", forms["two thirds"]["ways"][PRODUCT]["recall@5"]["value"]),
        ("caption by five of its words, recall@5", ">= 75", forms["five words"]["ways"][PRODUCT]["recall@5"]["value"]),
        ("image: captions that name the modality", ">= 96", image["modality"]["value"]),
        ("image: captions that name the region", ">= 90", image["region"]["value"]),
        (
            "image: captions that name the finding (wanted: random of its modality and region)",
            f">= {alike['finding']['value']}",
            image["finding"]["value"],
        ),
        (
            "recall@8 of the index against exact search",
            ">= 99",
            min(ways["search"]["value"] for ways in report["exact"]["recall"].values()),
        ),
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


def write_tuning(embedder: str, tuning: dict[str, Any], made_by: str, file: Path) -> None:
    """Put what was chosen and fitted, and the command that did, beside what `file` holds of other embedders."""
    known = json.loads(file.read_text(encoding="utf-8"))
    known[embedder] = {**tuning, "made_by": made_by}
    file.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


class _Progress:
    """Says every tenth of a stage, once; how much there is to read is not known before the end."""

    def __init__(self) -> None:
        self._said: tuple[str, int] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = (stage, done // 10_000 if stage == "read" else 10 * done // max(total, 1))
        if now != self._said:
            self._said = now
            print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
