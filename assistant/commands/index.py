"""`medvint index`: build the index of figures, look into it, search it, and keep it whole."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.commands import index_files, index_search
from assistant.commands.errors import CommandError, print_json
from assistant.commands.index_progress import settings, writing

if TYPE_CHECKING:
    from retrieval.build import BuildReport
    from retrieval.upkeep import IndexStats

app = typer.Typer(no_args_is_help=True, help="The index of figures: build it, search it, keep it whole.")

KEPT = "What was finished is kept; the same command goes on from there."
Json = Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")]


def _known_corpus(name: str) -> str:
    from retrieval.corpora.registry import CORPORA

    if name not in CORPORA:
        raise typer.BadParameter(f"there is no corpus {name!r}; there are {', '.join(CORPORA)}.")
    return name


@app.command()
def corpora(json: Json = False) -> None:
    """List the corpora that can be built.

    \b
      medvint index corpora
    """
    from retrieval.corpora.registry import CORPORA

    if json:
        print_json(
            [
                {
                    "name": corpus.name,
                    "title": corpus.title,
                    "help": corpus.help,
                    "needs_path": corpus.needs_path,
                    "has_images": corpus.has_images,
                }
                for corpus in CORPORA.values()
            ]
        )
        return
    for corpus in CORPORA.values():
        needs = "  needs --path" if corpus.needs_path else ""
        typer.echo(f"{corpus.name:<18} {corpus.title}{needs}\n{'':<18} {corpus.help}")


@app.command()
def build(
    corpus: Annotated[
        str, typer.Argument(parser=_known_corpus, metavar="CORPUS", help="See `medvint index corpora`; such as sample.")
    ],
    path: Annotated[
        Path | None, typer.Option(help="The corpus's folder or ZIP; the sample comes along, ROCO can be downloaded.")
    ] = None,
    licences: Annotated[
        list[str] | None,
        typer.Option(help='A licence to take, such as "CC BY-NC"; may be repeated. Without it: the open ones.'),
    ] = None,
    json: Json = False,
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
    from retrieval.embedders import open_embedder

    chosen = settings()
    with writing(KEPT) as show:
        report = build_index(
            corpus,
            chosen.data_dir,
            path,
            set(licences) if licences else None,
            show,
            chroma_url=chosen.chroma_address,
            embedder=open_embedder(chosen.embedder),
        )
    _tell_build(report, json)


@app.command()
def rebuild(json: Json = False) -> None:
    """Make the search database anew from the figures that are kept: for another embedder, or after damage.

    \b
      medvint index rebuild
      MEDVINT_EMBEDDER=pmc-clip:data/models/pmc-clip medvint index rebuild
    """
    from retrieval.build import rebuild_index
    from retrieval.embedders import open_embedder

    chosen = settings()
    with writing(KEPT) as show:
        report = rebuild_index(
            chosen.data_dir, show, chroma_url=chosen.chroma_address, embedder=open_embedder(chosen.embedder)
        )
    if json:
        print_json(asdict(report))
    else:
        typer.echo(
            f"{report.added:,} figures embedded anew; {report.total:,} different ones in the index "
            f"({report.seconds:.0f} s)"
        )


@app.command()
def stats(json: Json = False) -> None:
    """Count what is in the index: figures, licences, modalities and years of each corpus, and bytes on disk.

    \b
      medvint index stats
      medvint index stats --json
    """
    from retrieval.upkeep import stats as counted

    found = counted(settings().data_dir)
    if json:
        print_json({**vars(found), "corpora": {name: vars(corpus) for name, corpus in found.corpora.items()}})
    else:
        typer.echo(_stats_text(found))


@app.command()
def verify(json: Json = False) -> None:
    """Check that the index is whole: every file readable, no figure twice, the search database in step.

    The exit status is 1 where it is not. Example:

    \b
      medvint index verify || medvint index rebuild
    """
    from retrieval.upkeep import verify as checked

    chosen = settings()
    with writing("Nothing was changed.") as show:
        report = checked(chosen.data_dir, chosen.chroma_address, show)
    if json:
        print_json(asdict(report) | {"ok": report.ok})
    else:
        typer.echo("\n".join(report.problems) or "The index is whole.")
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def delete(
    corpus: Annotated[list[str] | None, typer.Option(help="All figures of this corpus; may be repeated.")] = None,
    licence: Annotated[list[str] | None, typer.Option(help="All figures under it; may be repeated.")] = None,
    article: Annotated[list[str] | None, typer.Option(help="All figures of this PMCID; may be repeated.")] = None,
    figure: Annotated[list[str] | None, typer.Option(help="The figure with this id; may be repeated.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete figures from the index: all that any option names. Files outside the data folder stay.

    Examples:

    \b
      medvint index delete --corpus own
      medvint index delete --licence "CC BY-NC-ND 4.0" --yes
      medvint index delete --article PMC3807838 --article PMC4191680
    """
    if not any((corpus, licence, article, figure)):
        raise CommandError("Say what to delete: --corpus, --licence, --article or --figure.")
    named = ", ".join([*(corpus or ()), *(licence or ()), *(article or ()), *(figure or ())])
    if not yes and not typer.confirm(f"The index loses all figures of {named}. Go on?", err=True):
        raise typer.Exit(1)
    from retrieval.corpora.registry import forget_unpacked
    from retrieval.upkeep import delete as removed

    chosen = settings()
    with writing("The same command again finishes it.") as show:
        gone = removed(
            chosen.data_dir,
            pmcids=article or (),
            figure_ids=figure or (),
            licences=licence or (),
            corpora=corpus or (),
            chroma_url=chosen.chroma_address,
            progress=show,
        )
        forget_unpacked(corpus or (), chosen.data_dir)
    if json:
        print_json({"deleted": gone})
    else:
        typer.echo(f"{gone:,} figures deleted from the index")


def _tell_build(report: "BuildReport", json: bool) -> None:
    if json:
        print_json(asdict(report))
        return
    typer.echo(
        f"{report.corpus}: {report.added} figures added, {report.already_there} were there; "
        f"{report.total:,} different ones in the index ({report.seconds:.0f} s)"
    )
    for reason, count in sorted(report.skipped.items(), key=lambda item: -item[1]):
        typer.echo(f"   left out: {count:,} ({reason}), such as {report.examples[reason][0]}")


def _stats_text(found: "IndexStats") -> str:
    lines = [f"{found.figures:,} figures, embedded by {found.embedder}"]
    for name, corpus in found.corpora.items():
        years = sorted(year for year in corpus.years if year)
        span = f", {years[0]}" if years else ""
        span += f" to {years[-1]}" if years and years[-1] > years[0] else ""
        lines.append(f"{name}: {corpus.figures:,} figures{span}, {corpus.images:,} with a picture here")
        for what in (corpus.licences, corpus.modalities):
            counted = sorted(what.items(), key=lambda item: -item[1])
            lines.append("   " + ", ".join(f"{key or 'not named'} {count:,}" for key, count in counted))
    disk = (("figures", found.bytes_parquet), ("search database", found.bytes_chroma))
    sizes = (*disk, ("pictures", found.bytes_thumbnails))
    lines.append("on disk: " + ", ".join(f"{what} {size / 2**20:,.1f} MB" for what, size in sizes))
    if not found.in_step:
        lines.append("The search database is behind the figures: `medvint index rebuild` makes it anew.")
    return "\n".join(lines)


app.command("search")(index_search.search)
app.command("export")(index_files.export)
app.command("import")(index_files.import_)
app.command("convert-embedder")(index_files.convert_embedder)
