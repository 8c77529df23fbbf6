"""`medvint convert`: a MedVInT checkpoint and its language model to one folder that is served."""

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from assistant.commands.errors import CommandError, print_json

INTERRUPTED_STATUS = 130


class WeightType(StrEnum):
    """Number formats of the converted weights."""

    float16 = "float16"
    bfloat16 = "bfloat16"
    float32 = "float32"


def convert(
    source: Annotated[
        str, typer.Argument(help="The checkpoint: .bin, .safetensors, an index of shards, a folder, or a Hub id.")
    ],
    llm: Annotated[
        str,
        typer.Option(
            help="The LLaMA that it was trained on (of a MedVInT-TE its text encoder): a folder, a Hub id, a GGUF file."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to make; it must not exist.")],
    subfolder: Annotated[str | None, typer.Option(help="Of SOURCE, where it holds several checkpoints.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Where the tokenizer is, if not with the LLaMA.")] = None,
    heads: Annotated[
        int | None,
        typer.Option(help="Heads of the projector. Default: 8 on PMC-CLIP, 12 on CLIP; of a MedVInT-TE 4.", min=1),
    ] = None,
    vision_heads: Annotated[
        int | None, typer.Option(help="Heads of a CLIP tower. Default: one for every 64 of its width.", min=1)
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels of the image that PMC-CLIP sees. Default: 512.", min=32)
    ] = None,
    lora_alpha: Annotated[float | None, typer.Option(help="LoRA's alpha. Default: 32.", min=0.001)] = None,
    separate_lora: Annotated[
        bool,
        typer.Option(
            "--separate-lora", help="Leave LoRA apart, in OUT/lora, instead of merging it. Not of a MedVInT-TE."
        ),
    ] = False,
    dtype: Annotated[
        WeightType | None, typer.Option(help="Of the converted weights. Default: that of the word embeddings.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Then run source and result, and compare answers; also of an OUT that is there."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")] = False,
) -> None:
    """Convert a checkpoint of MedVInT-TD or MedVInT-TE to one Hugging Face folder that is served.

    Which of the two it is, its tensors' names tell. What the weights do not say (heads, alpha, image size) is the
    original's, unless an option or a config.json beside them says otherwise. A path of this machine is taken before a
    Hub id of the same name. Examples:

    \b
      medvint convert ~/checkpoint-1382 --llm ~/PMC_LLAMA_7B --out data/models/td --check
      medvint convert xmcmic/MedVInT-TD --llm chaoyi-wu/PMC_LLAMA_7B \\
          --subfolder VQA_lora_PMC_LLaMA_PMCCLIP/choice/checkpoint-4000 --out data/models/td
      medvint convert ~/LLaMA_PMCCLIP/checkpoint-13500 --llm ~/llama-7b --out data/models/te --check
      MEDVINT_MODEL=data/models/td medvint up
    """
    from serving.hub import is_hub_id

    for what, path in (("checkpoint", source), ("language model", llm), ("tokenizer", tokenizer)):
        if path and not Path(path).exists() and not is_hub_id(path):
            raise CommandError(f"The {what} {path} does not exist.")
    if out.exists() and not check:
        raise CommandError(f"{out} exists already. Choose another --out, or remove it first.")
    made: dict[str, Any] = {"model": out}
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        if not out.exists():
            _convert(
                source, llm, out, subfolder=subfolder, tokenizer=tokenizer, num_heads=heads, vision_heads=vision_heads,
                image_size=image_size, lora_alpha=lora_alpha, merge_lora=not separate_lora, dtype=dtype,
            )  # fmt: skip
        if check:
            made["check"] = _check(source, llm, out, subfolder)
    except KeyboardInterrupt:
        state = "is whole; only its check was left" if out.exists() else "was not made, nothing of it is left"
        typer.echo(f"medvint: Interrupted. {out} {state}.", err=True)
        raise typer.Exit(INTERRUPTED_STATUS) from None
    if json:
        print_json(made)
    else:
        typer.echo(f"{out} is ready. Serve it: MEDVINT_MODEL={out} medvint up")


def _convert(source: str, llm: str, out: Path, *, dtype: WeightType | None, **options: Any) -> None:
    import json

    import torch

    from serving.checkpoints import SOURCES, convert

    convert(source, llm, out, dtype=getattr(torch, dtype) if dtype else None, progress=_tell, **options)
    record = json.loads((out / SOURCES).read_text())
    not_needed = len(record["not_needed"])
    typer.echo(
        f"{record['tensors']} tensors read, {not_needed} of them not needed"
        f"{f' (named in {SOURCES})' if not_needed else ''}.",
        err=True,
    )
    if record["assumed"]:
        assumed = ", ".join(f"{name} {value}" for name, value in record["assumed"].items())
        typer.echo(f"Not in the weights, so the original's values were taken: {assumed}.", err=True)


def _check(source: str, llm: str, out: Path, subfolder: str | None) -> dict[str, Any]:
    from dataclasses import asdict

    from serving.conversion_check import check

    found = check(source, llm, out, subfolder=subfolder, progress=_tell)
    typer.echo(
        f"{found.equal_tokens} of {found.tokens} most probable tokens are equal (the others near ties), in "
        f"{found.prompts} answers about random images; largest |difference of log-probability| "
        f"{found.largest_difference:.1e} in {found.dtype}.",
        err=True,
    )
    return asdict(found)


def _tell(what: str, share: float) -> None:
    print(f"{share:4.0%}  {what}", file=sys.stderr, flush=True)
