"""`medvint up`: everything a newcomer needs, from nothing to the address of the page."""

from pathlib import Path
from typing import Annotated, Any

import typer


def up(
    port: Annotated[int | None, typer.Option(help="Where the page is (MEDVINT_PORT; 7860).", min=1, max=65535)] = None,
    model_port: Annotated[
        int | None, typer.Option(help="Where vLLM is (MEDVINT_MODEL_PORT; 8000).", min=1, max=65535)
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where all state is kept (MEDVINT_DATA_DIR; data).")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what model and web print.")] = False,
) -> None:
    """Start model and web, and print the address when a question has been answered.

    The first start assembles the demo model and builds the index of sample figures; later ones find both.
    Ctrl-C stops everything. Examples:

    \b
      medvint up
      medvint up --port 8080
      MEDVINT_MODEL=data/models/medvint-td medvint up      # a model that `medvint convert` made
      MEDVINT_MODEL_URL=http://gpu-server:8000 medvint up  # a model server that runs elsewhere
    """
    from assistant.settings import Settings
    from assistant.up import run

    given: dict[str, Any] = {"port": port, "model_port": model_port, "data_dir": data_dir}
    try:
        status = run(Settings(**{name: value for name, value in given.items() if value is not None}), verbose)
    except KeyboardInterrupt:
        typer.echo("\nStopped.")
        status = 130
    raise typer.Exit(status)
