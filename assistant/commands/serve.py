"""`medvint serve`: the model behind vLLM's OpenAI API."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.errors import CommandError


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
    show: Annotated[bool, typer.Option("--show", help="Print vLLM's command and do not run it.")] = False,
) -> None:
    """Serve a model through vLLM until Ctrl-C. Examples:

    \b
      medvint serve
      medvint serve --model data/models/medvint-td --port 8000 --dtype float16
      medvint serve --show
    """
    import shlex

    from serving.server import vllm_command, vllm_environment

    from assistant.settings import Settings

    settings = Settings()
    name = model or settings.model
    path = str(settings.model_dir) if name == "demo" else str(Path(name).expanduser())
    if not Path(path).is_dir() and (name == "demo" or path.startswith((".", "/"))):
        raise CommandError(
            "The demo model is not assembled yet; `medvint up` does it."
            if name == "demo"
            else f"{path} is not a folder. `medvint convert --help` says how one is made."
        )
    command = vllm_command(path, host, port or settings.model_port, dtype.value)
    environment = vllm_environment()
    if show:
        typer.echo(" ".join([*(f"{key}={value}" for key, value in environment.items()), shlex.join(command)]))
        return
    # In place of this process, so that whoever stops it stops vLLM.
    os.execvpe(command[0], command, {**os.environ, **environment})  # noqa: S606
