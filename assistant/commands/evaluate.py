"""`medvint evaluate`: a benchmark against a running model, through the product's own chat turn."""

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.commands.errors import CommandError, print_json

if TYPE_CHECKING:
    from PIL import Image

    from assistant.settings import Settings
    from retrieval.figures import Hit
    from serving.evaluation.run import Answered

TRIES = 4


def evaluate(
    benchmark: Annotated[str, typer.Argument(help="slake or vqa-rad.")],
    data: Annotated[Path, typer.Option(help="The folder that holds the benchmark's files.")],
    split: Annotated[str, typer.Option(help="Which part of it.")] = "validate",
    out: Annotated[
        Path | None, typer.Option(help="Where answers and report go (DATA_DIR/reports/BENCHMARK-SPLIT).")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many questions.", min=1)] = None,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on standard output.")] = False,
) -> None:
    """Score the running model, beside the same questions with a blank image and beside a question-only baseline.

    Answers are kept as they come: a run that was stopped goes on. Examples:

    \b
      medvint evaluate slake --data ~/slake
      medvint evaluate vqa-rad --data ~/vqa-rad --limit 100 --json
    """
    if not data.is_dir():
        raise CommandError(f"The folder {data} does not exist.")
    from assistant.settings import Settings

    settings = Settings()
    folder = out or settings.data_dir / "reports" / f"{benchmark}-{split}"
    report = asyncio.run(_evaluate(settings, benchmark, data, folder, split, limit))
    if json:
        print_json(report)
    else:
        typer.echo(f"{benchmark} {split}, {report['n']} questions, {report['scoring']}:")
        for name in ("image", "blank", "question_only"):
            whole = report[name]["all"]
            typer.echo(f"   {name.replace('_', ' ')}: {whole['exact_match']} ({whole['low']}-{whole['high']})")
        typer.echo(f"Report: {folder / 'report.json'}")


async def _evaluate(
    settings: "Settings", benchmark: str, data: Path, out: Path, split: str, limit: int | None
) -> dict[str, Any]:
    from assistant.model import ModelClient, ModelNotReadyError
    from serving.evaluation.run import evaluate as run_benchmark

    model = ModelClient(settings)
    said = 0

    def tell(done: int, total: int) -> None:
        nonlocal said
        if 20 * done // total > said:
            said = 20 * done // total
            print(f"{done} of {total}", file=sys.stderr, flush=True)

    try:
        if not (await model.state()).ready:
            raise ModelNotReadyError(
                f"No model answers at {settings.model_root_url}. Start one with `medvint up` or `medvint serve`."
            )
        return await run_benchmark(
            benchmark, data, _asker(settings, model), out, split=split, model=model.name, limit=limit, progress=tell
        )
    finally:
        await model.close()


def _asker(settings: "Settings", model: Any) -> "Callable[[str, Image.Image], Awaitable[Answered]]":
    """The chat turn as a benchmark needs it: without figures, whose captions could hold the answer."""
    from assistant.chat import Assistant
    from assistant.figure_search import FigureSearch
    from assistant.model import ModelNotReadyError, ModelTimeoutError
    from assistant.uploads import UploadLimits, clean_upload
    from serving.evaluation.run import Answered

    class NoFigures(FigureSearch):
        async def search(self, text: str, image: "Image.Image | None", k: int) -> "tuple[Sequence[Hit], str]":
            return [], ""

    assistant = Assistant(model, NoFigures(settings), settings)
    limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)

    async def ask(question: str, image: "Image.Image") -> Answered:
        png = io.BytesIO()
        image.save(png, "PNG")
        clean = clean_upload(png.getvalue(), "image.png", limits)
        # One broken connection among thousands must not end a run of an hour; a dead server still does.
        for attempt in range(TRIES):
            try:
                async for turn in assistant.ask(question, clean):
                    last = turn
                break
            except (ModelNotReadyError, ModelTimeoutError):
                if attempt + 1 == TRIES:
                    raise
                await asyncio.sleep(5 * (attempt + 1))
        return Answered(last.answer, last.confidence.value if last.confidence else None)

    return ask
