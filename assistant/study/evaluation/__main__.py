"""Measure what tutor mode promises and write report.json; what is missing on this machine is left out and named.

python -m assistant.study.evaluation --data ../shared/data --out data/reports/study \
    --answers data/reports/slake/answers.jsonl
python -m assistant.study.evaluation --data ../shared/data --out data/reports/study --only grader items
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from assistant.study import blank, blind, lint
from assistant.study.evaluation import learners, mutations, played, reveals
from assistant.study.gate import Gate
from assistant.study.log import Log
from assistant.study.packs import Shelf
from assistant.study.sources import SOURCES, import_pack

FOLDERS = {
    "phantoms": "", "slake": "slake", "vqa-rad": "vqa-rad", "kermany": "kermany-chest-xray",
    "hannover": "hannover-covid-cxr",
    "skin": "isic-2017", "blood": "pbc-blood-cells", "knee": "knee-oa-xray", "tumours": "brain-tumour-mri",
}  # fmt: skip
GOALS = {
    "leaks": 0, "false accept of swaps": 0, "false accept": 0.5, "false reject": 3, "not graded": 5, "flaws": 0,
    "unmarked contradictions": 0, "better than random order": 10, "lost or doubled": 0, "next p95 ms": 150,
    "commit p95 ms": 200,
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    data: Path
    out: Path
    answers: Path | None
    items: int
    browser: int
    chromium: str
    kills: int
    learners: int
    rounds: int


def main() -> None:
    """Run the parts that were asked for, print a table, write `OUT/report.json`."""
    parser = argparse.ArgumentParser(description="What tutor mode promises, measured.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the public sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for report.json and the packs")
    parser.add_argument("--answers", type=Path, help="answers.jsonl of `medvint evaluate slake`")
    parser.add_argument("--items", type=int, default=500, help="items that the crawler plays over the API")
    parser.add_argument("--browser", type=int, default=0, help="items that it plays in a browser as well")
    parser.add_argument("--chromium", default="chromium", help="the browser's program")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--learners", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=200, help="rounds that are timed")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    told = vars(parser.parse_args())
    only = told.pop("only")
    options = Options(**told)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "report.json"
    report: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for name in only:
        found = PARTS[name](options)
        report[name] = found
        print(
            f"\n{name}\n"
            + json.dumps({key: _short(value) for key, value in found.items()}, ensure_ascii=False, indent=1)
        )
        file.write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
    print("\n" + table(report))


def _short(value: Any) -> Any:
    return value[:5] if isinstance(value, list) and len(value) > 8 else value


def _shelf(options: Options) -> Shelf:
    """Every set that is there, imported once."""
    shelf = Shelf(options.out / "packs")
    for name, folder in FOLDERS.items():
        path = options.data / folder
        if name not in shelf.names() and path.is_dir():
            import_pack(shelf.folder, name, path)
    return shelf


def _gate(options: Options, folder: str) -> Gate:
    return Gate(_shelf(options), Log(Path(folder) / "study.db"))


def leaks(options: Options) -> dict[str, Any]:
    from fastapi import FastAPI

    from assistant.api import add_error_handlers
    from assistant.chat import Assistant
    from assistant.figure_search import FigureSearch
    from assistant.model import ModelClient
    from assistant.settings import Settings
    from assistant.study.api import add_study

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        # A minute later, so that hints are given at once.
        gate = Gate(_shelf(options), Log(Path(folder) / "study.db"), lambda: time.time() + 60)
        app = FastAPI()
        add_study(app, gate, Assistant(ModelClient(settings), FigureSearch(settings), settings), settings)
        add_error_handlers(app)
        found = {"api": asyncio.run(played.crawl_api(app, gate, options.items))}
        if options.browser:
            found["browser"] = _in_browser(options, Path(folder))
    return found


def _in_browser(options: Options, folder: Path) -> dict[str, Any]:
    """The real web process, without a model."""
    from playwright.sync_api import sync_playwright

    shutil.copytree(options.out / "packs", folder / "study" / "packs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = {"MEDVINT_DATA_DIR": str(folder), "MEDVINT_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "assistant", "web"], env={**os.environ, **told})
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                httpx.get(f"{address}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.5)
        gate = Gate(Shelf(folder / "study" / "packs"), Log(folder / "study" / "study.db"))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
            return played.crawl_browser(browser.new_page(), address, gate, options.browser)
    finally:
        process.terminate()
        process.wait(20)


def grader(options: Options) -> dict[str, Any]:
    return mutations.measure(options.data)


def grader_held_out(options: Options) -> dict[str, Any]:
    return mutations.measure(options.data, held_out=True)


def items(options: Options) -> dict[str, Any]:
    found = {}
    for one in _shelf(options).all():
        flaws, checked = lint.check(one.items), blind.check(one.items)
        found[one.pack.name] = {
            "items": len(one.items),
            "images": len({item.case for item in one.items}),
            "show nothing wrong": round(one.normal_share, 3),
            "flaws": [flaw.to_dict() for flaw in flaws],
            "blind checks": checked,
            "fails": blind.fails(checked),
        }
    missing = sorted(set(SOURCES) - set(found))
    return {**found, **({"left out": missing} if missing else {})}


def blank_image(options: Options) -> dict[str, Any]:
    """Every pack's questions with a black picture, by the model that the settings name."""
    from assistant.model import ModelClient, ModelError
    from assistant.settings import Settings

    settings, found = Settings(), {}

    async def ask() -> dict[str, Any]:
        model = ModelClient(settings)
        try:
            return {one.pack.name: await blank.check(model, one.items, settings) for one in _shelf(options).all()}
        finally:
            await model.close()

    try:
        found = {name: one[blank.NAME] for name, one in asyncio.run(ask()).items() if one}
    except ModelError as error:
        return {"left out": str(error)}
    return found


def reveal(options: Options) -> dict[str, Any]:
    if options.answers is None:
        return {"left out": "no --answers"}
    return reveals.measure(options.data, options.answers)


def simulated(options: Options) -> dict[str, Any]:
    return learners.measure(options.learners)


def kills(options: Options) -> dict[str, Any]:
    shelf = _shelf(options)
    return played.kills(shelf, options.kills)


def latency(options: Options) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return played.latencies(_gate(options, folder), options.rounds)


PARTS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "grader": grader,
    "grader, held out": grader_held_out,
    "items": items,
    "blank image": blank_image,
    "leaks": leaks,
    "reveal": reveal,
    "simulated learners": simulated,
    "kills": kills,
    "latency": latency,
}


def table(report: dict[str, Any]) -> str:
    """The README's rows of what was measured."""
    rows: list[tuple[str, Any, str]] = []
    for where, found in report.get("leaks", {}).items():
        if "leaks" in found:
            rows.append((f"leaks in {found['items']} items, {where}", len(found["leaks"]), "0"))
    for part in ("grader", "grader, held out"):
        for name, one in report.get(part, {}).get("judges", {}).items():
            n = sum(one["n"])
            rows.append(
                (f"{part}: {name}, {n:,} answers, false accept of swaps", f"{one['false accept of swaps']} %", "0")
            )
            for figure in ("false accept", "false reject", "not graded"):
                rows.append((f"{part}: {name}, {figure}", f"{one[figure]} %", f"<= {GOALS[figure]} %"))
    packs = {name: one for name, one in report.get("items", {}).items() if name != "left out"}
    if packs:
        total = sum(one["items"] for one in packs.values())
        rows.append(
            (
                f"lint flaws in {total:,} items of {len(packs)} packs",
                sum(len(one["flaws"]) for one in packs.values()),
                "0",
            )
        )
        rows.append(("packs that fail a blind check", sum(bool(one["fails"]) for one in packs.values()), "0"))
    asked = {name: one for name, one in report.get("blank image", {}).items() if name != "left out"}
    if asked:
        over = sum(not one["passes"] for one in asked.values())
        worst = max(one["score"] - one["chance"] for one in asked.values())
        name = f"packs of {len(asked)} that the model answers without the picture, chance + 5 points"
        rows.append((f"{name} (most: {100 * worst:+.1f} points)", over, "0"))
    if "agrees in other words" in (told := report.get("reveal", {})):
        name = f"model sentences called agreeing in other words than the key, {told['rows']:,} rows"
        rows.append((name, len(told["agrees in other words"]), "0"))
        rows.append(("... and the model differs from the key in", told["model differs from the key"], ""))
    if told := report.get("simulated learners"):
        better = told["better than, percent"]["random order"]
        rows.append(
            (f"{told['learners']} simulated learners, day 30, against random order", f"{better:+.1f} %", ">= +10 %")
        )
    if told := report.get("kills"):
        rows.append((f"kill -9 at commit, {told['times']} times: lost or doubled", told["lost"] + told["doubled"], "0"))
    if told := report.get("latency"):
        rows.append(("next question, p95", f"{told['next']['p95_ms']} ms", "<= 150 ms"))
        rows.append(("verdict, p95", f"{told['commit']['p95_ms']} ms", "<= 200 ms"))
    return "\n".join(f"| {name} | {value} | {goal} |" for name, value, goal in rows)


if __name__ == "__main__":
    main()
