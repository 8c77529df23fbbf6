"""`medvint index export|import|convert-embedder`: what goes out of the index, and what comes in."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from assistant.commands.errors import CommandError, print_json
from assistant.commands.index_progress import settings, writing


def export(
    file: Annotated[Path, typer.Argument(help="The .tar to write; it must not exist.")],
    json: Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")] = False,
) -> None:
    """Write the index's figures and vectors into one file that another machine can import.

    \b
      medvint index export figures.tar
    """
    from retrieval.upkeep import export_index

    if file.exists():
        raise CommandError(f"{file} exists already. Choose another name, or remove it first.")
    with writing(f"{file} was not made.") as show:
        figures = export_index(settings().data_dir, file, show)
    size = file.stat().st_size
    told = f"{file}: {figures:,} figures, {size / 2**20:,.1f} MB"
    _tell({"file": file, "figures": figures, "bytes": size}, told, json)


def import_(
    file: Annotated[Path, typer.Argument(help="A .tar that `medvint index export` made.")],
    json: Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")] = False,
) -> None:
    """Take the figures of an exported index into this one; every file of it is checked first.

    \b
      medvint index import figures.tar
    """
    from retrieval.upkeep import import_index

    if not file.is_file():
        raise CommandError(f"{file} is not a file.")
    chosen = settings()
    with writing("What was finished is kept; the same command again finishes it.") as show:
        report = import_index(file, chosen.data_dir, show, chroma_url=chosen.chroma_address)
    told = (
        f"{file}: {report.added:,} figures added, {report.already_there:,} were there; "
        f"{report.total:,} different ones in the index"
    )
    _tell(asdict(report), told, json)


def convert_embedder(
    source: Annotated[Path, typer.Argument(help="PMC-CLIP's checkpoint.pt, or the folder with its split files.")],
    out: Annotated[Path, typer.Option(help="The folder to make; it must not exist.")],
    text_model: Annotated[
        str | None, typer.Option(help="PubMedBERT's configuration and vocabulary: a folder, or a Hub id.")
    ] = None,
    vision_heads: Annotated[
        int | None, typer.Option(help="Heads of the attention pooling. Default: one for every 64 channels.", min=1)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")] = False,
) -> None:
    """Convert PMC-CLIP as its authors published it, to embed images and texts with it.

    \b
      medvint index convert-embedder checkpoint.pt --text-model ~/PubMedBERT --out data/models/pmc-clip
      MEDVINT_EMBEDDER=pmc-clip:data/models/pmc-clip medvint index rebuild
    """
    if not source.exists():
        raise CommandError(f"{source} does not exist.")
    if out.exists():
        raise CommandError(f"{out} exists already. Choose another --out, or remove it first.")
    from retrieval.pmc_clip_conversion import PUBMEDBERT, convert_pmc_clip

    with writing(f"{out} was not made, nothing of it is left."):
        made = convert_pmc_clip(source, out, text_model or PUBMEDBERT, vision_heads=vision_heads, progress=_share)
    told = f"{made} is ready. Embed with it: MEDVINT_EMBEDDER=pmc-clip:{made} medvint index rebuild"
    _tell({"embedder": f"pmc-clip:{made}"}, told, json)


def _share(what: str, share: float) -> None:
    print(f"{share:4.0%}  {what}", file=sys.stderr, flush=True)


def _tell(result: dict[str, Any], words: str, json: bool) -> None:
    if json:
        print_json(result)
    else:
        typer.echo(words)
