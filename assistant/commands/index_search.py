"""`medvint index search`: figures by words, by an image, by both, or like another figure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.commands.errors import CommandError, print_json, read_file
from assistant.commands.index_progress import settings

if TYPE_CHECKING:
    from retrieval.figures import Hit

Json = Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")]


def search(
    words: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[Path | None, typer.Option(help="An image to find similar figures to.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many figures.", min=1, max=100)] = 5,
    like: Annotated[str | None, typer.Option(help="Instead: the id of a figure to find similar ones to.")] = None,
    modality: Annotated[list[str] | None, typer.Option(help="Only this one, such as CT; may be repeated.")] = None,
    region: Annotated[list[str] | None, typer.Option(help="Only this one, such as chest; may be repeated.")] = None,
    licence: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    corpus: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    year_from: Annotated[int | None, typer.Option(help="Only figures of this year and later.")] = None,
    year_to: Annotated[int | None, typer.Option(help="Only figures of this year and before.")] = None,
    json: Json = False,
) -> None:
    """Find figures by words, by an image, or by both.

    Examples:

    \b
      medvint index search "left pneumothorax" -k 5
      medvint index search --image chest.png --modality X-ray --year-from 2015
      medvint index search "effusion" --image chest.dcm --json
      medvint index search --like PMC3807838/CRIM.PULMONOLOGY2013-374960.004
    """
    if not words and image is None and like is None:
        raise CommandError('Give words, an image, or both: medvint index search "pneumothorax" --image chest.png')
    if like is not None and (words or image):
        raise CommandError("--like takes neither words nor an image.")
    data = read_file(image) if image else None

    from assistant.narrowing import as_stored, unknown
    from assistant.uploads import UploadLimits, clean_upload
    from retrieval.embedders import open_embedder
    from retrieval.filters import Filters
    from retrieval.search import open_search

    chosen = settings()
    limits = UploadLimits(chosen.max_upload_bytes, chosen.max_pixels)
    picture = clean_upload(data, image.name, limits).image if data is not None and image else None
    filters = Filters(
        modalities=frozenset(modality or ()),
        regions=frozenset(region or ()),
        licences=frozenset(licence or ()),
        corpora=frozenset(corpus or ()),
        year_from=year_from,
        year_to=year_to,
    )
    opened = open_search(chosen.data_dir, chosen.chroma_address, open_embedder(chosen.embedder))
    facets = opened.facets()
    filters = as_stored(filters, facets)
    if problem := unknown(filters, facets):
        raise CommandError(problem)
    if like is None:
        hits = opened.search(words, picture, k, filters=filters)
    elif opened.figure(like) is None:
        raise CommandError(f"The index has no figure {like}.")
    else:
        hits = opened.more_like(like, k, filters=filters)
    if json:
        print_json([hit.to_dict() for hit in hits])
    elif not hits:
        typer.echo("Nothing similar is in the index.")
    for hit in hits if not json else []:
        typer.echo(hit_text(hit))


def hit_text(hit: "Hit") -> str:
    """A hit in a few short lines: place, figure, caption, licence and article, other sources."""
    from assistant.figure_cards import found_by, relevance

    figure = hit.figure
    described = " (described by us)" if figure.caption_by == "medvint" else ""
    told = f"{relevance(hit)}, " if hit.relevance is not None else ""
    lines = [
        f"{hit.rank}. {figure.figure_id}  {told}similarity {hit.score:.2f}, found by {found_by(hit)}",
        f"   {figure.caption}{described}",
        " · ".join(part for part in (f"   {figure.license}", str(figure.year or ""), figure.article_url) if part),
    ]
    lines += [f"   also {other.figure_id} ({other.license})" for other in hit.also]
    return "\n".join(lines)
