"""`medvint serve`: the model behind vLLM's OpenAI API, a MedVInT-TE behind the same of its own."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.errors import CommandError

DEMO_MODEL = "demo"


class Dtype(StrEnum):
    """Number formats that vLLM computes in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def serve(
    model: Annotated[
        str | None, typer.Option(help="A converted model's folder, or a hub id that vLLM serves (MEDVINT_MODEL).")
    ] = None,
    port: Annotated[int | None, typer.Option(help="MEDVINT_MODEL_PORT; 8000.", min=1, max=65535)] = None,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines ask.")] = "127.0.0.1",
    dtype: Annotated[Dtype, typer.Option(help="auto: what suits the machine.")] = Dtype.auto,
    lora: Annotated[
        Path | None, typer.Option(help="An adapter that was left apart, served beside the model as medvint-lora.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the server's command and do not run it.")] = False,
) -> None:
    """Serve a model through vLLM until Ctrl-C. Examples:

    \b
      medvint serve
      medvint serve --model data/models/medvint-td --port 8000 --dtype float16
      medvint serve --show
    """
    import shlex

    from assistant.preflight import check_model_folder
    from assistant.settings import Settings
    from serving import server

    settings = Settings()
    name = model or settings.model
    if name == DEMO_MODEL and not settings.model_dir.is_dir():
        raise CommandError("The demo model is not assembled yet; `medvint up` does it.")
    check_model_folder(name)
    path = settings.model_dir if name == DEMO_MODEL else Path(name).expanduser()
    if lora is not None and not lora.is_dir():
        raise CommandError(f"{lora} is not a folder.")
    model_port = port or settings.model_port
    if show:
        typer.echo(shlex.join(server.model_command(str(path), host, model_port, dtype.value, lora=lora)))
        return
    server.serve(str(path), host, model_port, dtype.value, lora=lora)
