"""`medvint convert`: a MedVInT checkpoint and its LLaMA to one folder that vLLM serves."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.errors import CommandError, print_json


def convert(
    source: Annotated[Path, typer.Argument(help="The checkpoint: .bin, .safetensors, an index of shards, a folder.")],
    llm: Annotated[Path, typer.Option(help="The folder (or GGUF file) of the LLaMA that it was trained on.")],
    out: Annotated[Path, typer.Option(help="The folder to make; it must not exist.")],
    heads: Annotated[
        int | None, typer.Option(help="Heads of the projector, where no config.json says it; else 8.", min=1)
    ] = None,
    separate_lora: Annotated[
        bool, typer.Option("--separate-lora", help="Leave LoRA apart, in OUT/lora, instead of merging it.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")] = False,
) -> None:
    """Convert a MedVInT-TD checkpoint to one Hugging Face folder that vLLM serves. Example:

    \b
      medvint convert ~/MedVInT-TD --llm ~/PMC_LLAMA_7B --out data/models/medvint-td
      MEDVINT_MODEL=data/models/medvint-td medvint up
    """
    for what, path in (("checkpoint", source), ("language model", llm)):
        if not path.exists():
            raise CommandError(f"The {what} {path} does not exist.")
    if out.exists():
        raise CommandError(f"{out} exists already. Choose another --out, or remove it first.")
    from serving.checkpoints import convert as convert_checkpoint

    def tell(what: str, share: float) -> None:
        print(f"{share:4.0%}  {what}", file=sys.stderr, flush=True)

    made = convert_checkpoint(source, llm, out, num_heads=heads, merge_lora=not separate_lora, progress=tell)
    if json:
        print_json({"model": made})
    else:
        typer.echo(f"Converted to {made}. Serve it: MEDVINT_MODEL={made} medvint up")
