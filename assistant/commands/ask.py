"""`medvint ask`: one question from a shell, through the same chat turn as the page."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.commands.errors import CommandError, print_json, read_file
from assistant.commands.index_search import hit_text

if TYPE_CHECKING:
    from assistant.chat import Turn
    from assistant.uploads import CleanImage


def ask(
    words: Annotated[list[str], typer.Argument(metavar="[IMAGE] QUESTION", help="An image file, and a question.")],
    redact: Annotated[
        bool, typer.Option("--redact", help="Black out text in the image that may name a person.")
    ] = False,
    confirm_identity: Annotated[
        bool, typer.Option("--confirm-identity", help="You have looked: the image names nobody.")
    ] = False,
    region: Annotated[
        str, typer.Option(metavar="L,T,R,B", help="Left, top, right, bottom in pixels: what of the image it is about.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Answer, hits, support and timings as JSON.")] = False,
) -> None:
    """Ask about an image, or without one, and print the answer and its sources.

    An image that may name a person is not asked about before you say what to do: --redact or --confirm-identity.

    A model server has to run: `medvint up` or `medvint serve`, or one at MEDVINT_MODEL_URL. Examples:

    \b
      medvint ask chest.png "Is there a pneumothorax?"
      medvint ask slice.dcm "Which organ is abnormal?" --redact --json
      medvint ask chest.png "What is this opacity?" --region 120,80,310,260
      medvint ask "What is a pneumothorax?"
    """
    if len(words) > 2:
        raise CommandError('Give an image and a question in quotes: medvint ask chest.png "What is abnormal?"')
    image = Path(words[0]) if len(words) == 2 else None
    data = read_file(image) if image else None
    if image is None and Path(words[0]).is_file():
        raise CommandError(f'Give a question too, in quotes: medvint ask {words[0]} "What is abnormal?"')
    turn = asyncio.run(_ask(words[-1], data, image.name if image else "", redact, confirm_identity, region))
    if json:
        print_json(turn.to_dict())
    else:
        typer.echo(turn_text(turn))


async def _ask(question: str, data: bytes | None, name: str, redact: bool, confirmed: bool, region: str) -> "Turn":
    from contextlib import aclosing

    from assistant.chat import Assistant
    from assistant.figure_search import FigureSearch
    from assistant.model import ModelClient, ModelNotReadyError
    from assistant.region import read_region
    from assistant.settings import Settings
    from assistant.uploads import UploadLimits, clean_upload

    settings = Settings()
    image = clean_upload(data, name, UploadLimits(settings.max_upload_bytes, settings.max_pixels)) if data else None
    if image:
        image = _admitted(image, redact, confirmed)
    model = ModelClient(settings)
    try:
        # Before the index is loaded, which takes seconds.
        if not (await model.state()).ready:
            raise ModelNotReadyError(
                f"No model answers at {settings.model_root_url}. Start one with `medvint up` or `medvint serve`, "
                "or name one that runs elsewhere: MEDVINT_MODEL_URL=http://server:8000"
            )
        assistant = Assistant(model, FigureSearch(settings), settings)
        async with aclosing(assistant.ask(question.strip(), image, region=read_region(region))) as turns:
            async for turn in turns:
                last = turn
        return last
    finally:
        await model.close()


def _admitted(image: "CleanImage", redact: bool, confirmed: bool) -> "CleanImage":
    from assistant.uploads_privacy import IdentityFoundError, admit

    try:
        return admit(image, redact=redact, confirmed=confirmed)
    except IdentityFoundError as error:
        boxes = "".join(f"\n  {left},{top} to {right},{bottom}" for left, top, right, bottom in error.findings.places)
        ways = "" if error.findings.unread else "--redact to black it out, or "
        raise CommandError(f"{error} Ask again with {ways}--confirm-identity if it names nobody.{boxes}") from error


def turn_text(turn: "Turn") -> str:
    """The answer with its markers, how sure the model was, and the figures."""
    from assistant.evidence import mark

    lines = [mark(turn.answer, turn.support), ""]
    if turn.confidence:
        lines.append(f"confidence: {turn.confidence.words()}")
    lines += [*turn.notes, f"model: {turn.model}. A study aid, not for diagnosis.", ""]
    lines.append("Similar figures:" if turn.hits else "No similar figure is in the index.")
    lines += [hit_text(hit) for hit in turn.hits]
    return "\n".join(lines)
