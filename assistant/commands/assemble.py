"""`medvint assemble`: the demo model from its trained parts and its decoder; `medvint up` runs it once."""

from pathlib import Path
from typing import Annotated

import typer


def assemble(
    out: Annotated[Path | None, typer.Option(help="The folder to make (DATA_DIR/models/demo).")] = None,
) -> None:
    """Assemble the demo model, or keep the one that is there if it came from the same files."""
    from assistant.settings import Settings
    from serving.demo import assemble as assemble_demo

    def tell(what: str, share: float) -> None:
        print(f"{share:4.0%}  {what}", flush=True)

    folder = assemble_demo(out or Settings().model_dir, tell)
    typer.echo(f"The demo model is in {folder}")
