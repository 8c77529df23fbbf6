"""`medvint evaluate`: a benchmark against a running model, through the chat turn; and two runs compared."""

import asyncio
import shlex
import sys
import time
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.commands.errors import CommandError, print_json
from serving.evaluation.readers import BENCHMARKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistant.settings import Settings
    from serving.evaluation.run import Progress

app = typer.Typer(
    no_args_is_help=True,
    help="""Score the running model, with controls that show what it looks at; compare two runs.

    Examples:

    \b
      medvint evaluate slake --data ~/slake
      medvint evaluate pmc-vqa-choice --data ~/PMC-VQA --split test_clean
      medvint evaluate own --data cases.csv
      medvint evaluate compare data/reports/a data/reports/b
    """,
)


class Control(StrEnum):
    """The names of `serving.evaluation.controls.CONTROLS`, and none of them."""

    none = "none"
    blank = "blank"
    other_image = "other-image"
    shuffled = "shuffled"
    captions = "captions"
    wrong_captions = "wrong-captions"


def run(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="The folder that holds the benchmark's files; for `own` also a CSV.")],
    split: Annotated[str | None, typer.Option(help="Which part of it, as its file is named.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where answers and report go (DATA_DIR/reports/BENCHMARK-SPLIT).")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many questions.", min=1)] = None,
    controls: Annotated[
        list[Control] | None, typer.Option(help="Only this control; may be repeated. The report is marked then.")
    ] = None,
    instruction: Annotated[
        str, typer.Option(help="A sentence behind every question, for models that else answer at length.")
    ] = "",
    concurrency: Annotated[int | None, typer.Option(help="Questions under way at once (16).", min=1)] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Write the fitted calibration.json into this folder, the model's.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on standard output.")] = False,
) -> None:
    """Run one benchmark. Answers are kept as they come: a run that was stopped goes on."""
    name = str(context.info_name)
    if not data.exists():
        raise CommandError(f"{data} does not exist.")
    if calibration and not calibration.is_dir():
        raise CommandError(f"{calibration} is not a folder.")
    from assistant.settings import Settings
    from serving.evaluation.controls import CONTROLS
    from serving.evaluation.run import CONCURRENCY

    settings = Settings()
    folder = out or settings.data_dir / "reports" / f"{name}-{split or BENCHMARKS[name].split}"
    chosen = [control.value for control in controls if control != Control.none] if controls else list(CONTROLS)
    options = {
        "split": split,
        "controls": chosen,
        "limit": limit,
        "concurrency": concurrency or CONCURRENCY,
        "instruction": instruction,
    }
    report = asyncio.run(_evaluate(settings, name, data, folder, options))
    if json:
        print_json(report)
    else:
        typer.echo(_in_words(report))
        typer.echo(f"Report: {folder / 'report.html'}")
    if calibration:
        typer.echo(f"Calibration: {_write_calibration(report, calibration)}", err=json)


for _benchmark in BENCHMARKS.values():
    _help = f"{_benchmark.about}\n\n\b\n  medvint evaluate {_benchmark.name} --data PATH --split {_benchmark.split}"
    app.command(_benchmark.name, help=_help)(run)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="The folder of a run.")],
    b: Annotated[Path, typer.Argument(help="The folder of another run on the same questions.")],
    json: Annotated[bool, typer.Option("--json", help="With the questions that flipped, as JSON.")] = False,
) -> None:
    """B minus A, question by question: differences with intervals, flips both ways, exact McNemar test.

    \b
      medvint evaluate compare data/reports/slake-old data/reports/slake-new
    """
    from serving.evaluation.comparison import compare as compare_runs
    from serving.evaluation.comparison import in_words

    found = compare_runs(a, b)
    if json:
        print_json(found)
    else:
        typer.echo(in_words(found))


async def _evaluate(
    settings: "Settings", benchmark: str, data: Path, out: Path, options: dict[str, Any]
) -> dict[str, Any]:
    from assistant.commands.asking import Asker, Finder, served_model
    from assistant.confidence import stored_calibration
    from assistant.model import ModelClient, ModelNotReadyError
    from serving.evaluation.controls import NEED_SEARCH
    from serving.evaluation.run import evaluate

    stored = stored_calibration(settings)
    model = ModelClient(settings)
    try:
        if not (await model.state()).ready:
            raise ModelNotReadyError(
                f"No model answers at {settings.model_root_url}. Start one with `medvint up` or `medvint serve`."
            )
        finder = Finder(settings)
        problem = await finder.problem() if set(options["controls"]) & set(NEED_SEARCH) else ""
        with _progress() as show:
            return await evaluate(
                benchmark,
                data,
                Asker(settings, model).ask,
                out,
                model=await served_model(settings, model),
                find=None if problem else finder.find,
                no_search=problem,
                captions=settings.figures_shown,
                stored=stored,
                command=shlex.join(["medvint", *sys.argv[1:]]),
                progress=show,
                **options,
            )
    finally:
        await model.close()


def _write_calibration(report: dict[str, Any], folder: Path) -> Path:
    from serving.evaluation.calibration import Calibration

    fitted = report["calibration"].get("fitted") or report["calibration"]
    if "not_run" in fitted:
        raise CommandError(f"No calibration was written: {fitted['not_run']}.")
    measured = {name: report[name] for name in ("benchmark", "file", "split", "model")} | {
        "answers": report["hashes"]["answers"],
        "n_fit": fitted["n_fit"],
        "n_measured": fitted["n_measured"],
        "ece_before": fitted["before"]["ece"],
        "ece_after": fitted["after"]["ece"],
    }
    return Calibration(fitted["temperature"], fitted["bias"], measured).save(folder)


@contextmanager
def _progress() -> "Iterator[Progress]":
    """A bar on a terminal, else a line for each twentieth, both with the rate and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("", total=None, rate="")
        began = time.monotonic()
        before = said = -1

        def show(done: int, total: int) -> None:
            nonlocal before, said
            # The first call tells what an earlier run has answered, which says nothing of this one's pace.
            before = done if before < 0 else before
            minutes = max(time.monotonic() - began, 1e-6) / 60
            rate = (done - before) / minutes
            bars.update(task, completed=done, total=total, rate=f"{rate:.0f} a minute")
            twentieth = 20 * done // max(total, 1)
            if not console.is_terminal and twentieth > said:
                said = twentieth
                left = f", {rate:.0f} a minute, {(total - done) / rate:.0f} min left" if rate else ""
                print(f"{done} of {total}{left}", file=sys.stderr, flush=True)

        yield show


def _in_words(report: dict[str, Any]) -> str:
    from serving.evaluation.tables import METRICS

    plain = report["conditions"]["image"]
    lines = [
        f"{report['benchmark']}, {report['file']}, split {report['split']}: {report['n']:,} questions about "
        f"{report['images']:,} images. {report['scoring']}."
    ]
    for group in ("all", "open", "closed"):
        if group in plain:
            told = "; ".join(
                f"{METRICS[name]} {plain[group][name]['value']}"
                f" ({plain[group][name]['low']} to {plain[group][name]['high']})"
                for name in report["metrics"]
            )
            lines.append(f"   {group} (n = {plain[group]['n']:,}): {told}")
    baseline = report["question_only"]
    lines.append(
        f"   question only: {baseline['all']['accuracy']['value']}"
        if baseline
        else "   question only: no training answers"
    )
    for told in report["controls"].values():
        lost = told["accuracy_lost"]
        lines.append(f"   {told['in_words']} (accuracy lost: {lost['low']} to {lost['high']})")
    lines += [f"   not run: {name} ({reason})" for name, reason in report["controls_not_run"].items()]
    calibration = report["calibration"]
    if "raw" in calibration:
        after = (calibration["fitted"].get("after") or {}).get("ece")
        fitted = "" if after is None else f", after temperature {calibration['fitted']['temperature']}: {after}"
        lines.append(f"   expected calibration error: {calibration['raw']['ece']}{fitted}")
    return "\n".join(lines)
