"""`medvint feedback`: what people said about answers, as rows."""

from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.errors import CommandError

app = typer.Typer(no_args_is_help=True, help="What people said about answers.")


# With one command only, Typer would leave out its name.
@app.callback()
def feedback() -> None:
    """What people said about answers."""


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The CSV; the images go into the folder `images` beside it.")],
    with_answer: Annotated[
        bool, typer.Option("--with-answer", help="Only answers that were corrected or found good, about an image.")
    ] = False,
) -> None:
    """Write every judged answer with its image, question, judgement, sentence and why; who said it is left out.

    \b
      medvint feedback export --out judged/feedback.csv
      medvint feedback export --out judged/right.csv --with-answer
      medvint evaluate own --data judged/right.csv
    """
    from assistant.conversations import Conversations
    from assistant.feedback_export import judged_rows, write_rows
    from assistant.settings import Settings

    path = Settings().conversations_file
    if not path.is_file():
        raise CommandError(f"No conversations are kept here: there is no {path}.")
    count = write_rows(judged_rows(Conversations(path)), out, with_answer=with_answer)
    typer.echo(f"{count} judged {'answer' if count == 1 else 'answers'}: {out}")
