"""`medvint index`: build the index of figures, and search it."""

import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.commands.errors import CommandError, print_json, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID

    from assistant.settings import Settings
    from retrieval.build import BuildReport, Progress
    from retrieval.figures import Hit

app = typer.Typer(no_args_is_help=True, help="Build the index of PubMed Central figures, and search it.")


@app.command()
def build(
    corpus: Annotated[str, typer.Argument(help="Its name; `medvint index corpora` lists them.")],
    path: Annotated[
        Path | None, typer.Option(help="The corpus's folder or ZIP; the sample comes along, ROCO can be downloaded.")
    ] = None,
    licences: Annotated[
        list[str] | None,
        typer.Option(help='A licence to take, such as "CC BY-NC"; may be repeated. Without it: the open ones.'),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on standard output.")] = False,
) -> None:
    """Add a corpus to the index; running it again goes on where it stopped.

    Malformed rows are counted and reported. Examples:

    \b
      medvint index build sample
      medvint index build roco --path ~/roco-dataset
      medvint index build roco --licences "CC BY" --licences "CC BY-NC"
      medvint index build own --path lecture.zip
    """
    from retrieval.build import build_index

    settings = _settings()
    taken = set(licences) if licences else None
    with _progress() as show:
        report = build_index(corpus, settings.data_dir, path, taken, show, chroma_url=_chroma_url(settings))
    _tell(report, json)


@app.command()
def corpora() -> None:
    """Every corpus that there is a reader for, and what to give as --path.

    \b
      medvint index corpora
    """
    from retrieval.corpora.registry import CORPORA

    for corpus in CORPORA.values():
        typer.echo(f"{corpus.name:<18}{corpus.title}: {corpus.help}")


@app.command()
def rebuild(
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on standard output.")] = False,
) -> None:
    """Make the search database anew from the figures that are kept, after a change of embedder or a damaged file.

    \b
      medvint index rebuild
    """
    from retrieval.build import rebuild_index

    settings = _settings()
    with _progress() as show:
        report = rebuild_index(settings.data_dir, show, chroma_url=_chroma_url(settings))
    _tell(report, json)


@app.command()
def search(
    words: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[Path | None, typer.Option(help="An image to find similar figures to.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many figures.", min=1, max=100)] = 5,
    json: Annotated[bool, typer.Option("--json", help="The hits as JSON on standard output.")] = False,
) -> None:
    """Find figures by words, by an image, or by both. Examples:

    \b
      medvint index search "left pneumothorax" -k 5
      medvint index search --image chest.png
      medvint index search "effusion" --image chest.dcm --json
    """
    if not words and image is None:
        raise CommandError('Give words, an image, or both: medvint index search "pneumothorax" --image chest.png')
    data = read_file(image) if image else None

    from assistant.uploads import UploadLimits, clean_upload
    from retrieval.search import open_search

    settings = _settings()
    limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)
    picture = clean_upload(data, image.name, limits).image if data is not None and image else None
    hits = open_search(settings.data_dir, _chroma_url(settings)).search(words, picture, k)
    if json:
        print_json([hit.to_dict() for hit in hits])
    elif not hits:
        typer.echo("Nothing similar is in the index.")
    for hit in hits if not json else []:
        typer.echo(hit_text(hit))


def _settings() -> "Settings":
    from assistant.settings import Settings

    return Settings()


def _chroma_url(settings: "Settings") -> str | None:
    return str(settings.chroma_url) if settings.chroma_url else None


@contextmanager
def _progress() -> "Iterator[Progress]":
    """Bars on a terminal, else a line for each tenth: into a log, or to `medvint up`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}
        said: dict[str, int] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)
            tenth = 10 * done // max(total, 1)
            if not console.is_terminal and said.get(stage) != tenth:
                said[stage] = tenth
                print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)

        yield show


def _tell(report: "BuildReport", json: bool) -> None:
    if json:
        print_json(asdict(report))
        return
    typer.echo(
        f"{report.corpus}: {report.added} figures added, {report.already_there} were there; "
        f"{report.total} in the index ({report.seconds:.0f} s)"
    )
    for reason, count in sorted(report.skipped.items(), key=lambda item: -item[1]):
        typer.echo(f"   left out: {count} ({reason})")


def hit_text(hit: "Hit") -> str:
    """A hit as four short lines: place, figure, caption, licence and article."""
    figure = hit.figure
    described = " (described by us)" if figure.caption_by == "medvint" else ""
    return (
        f"{hit.rank}. {figure.figure_id}  {hit.score:.2f}, found by {' and '.join(hit.found_by)}\n"
        f"   {figure.caption}{described}\n"
        f"   {figure.license} · {figure.article_url}"
    )
