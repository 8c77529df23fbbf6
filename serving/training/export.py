"""What the demo's training made, as a MedVInT checkpoint: the original's key names, bfloat16.

    python -m serving.training.export --out serving/models/demo

Tower, projector and LoRA only: the decoder's own weights stay in their package, and
`medvint convert` (or the first `medvint up`) puts both together.
"""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file, save_file

from serving.medvint.configuration import MedVInTConfig
from serving.training.decoder import load_smollm2
from serving.training.names import original_name
from serving.training.projector import PROJECTOR, VISION
from serving.training.vqa import LORA_ALPHA, LORA_RANK


def main(
    trained: Annotated[Path, typer.Option(help="Stage 3's weights.")] = Path("data/training/vqa/trained.safetensors"),
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint.")] = Path("serving/models/demo"),
) -> None:
    """Write `model.safetensors` and `config.json`."""
    state = load_file(trained)
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        original_name(name): tensor.to(torch.bfloat16).contiguous()
        for name, tensor in sorted(state.items())
        if not name.endswith("num_batches_tracked")
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    base, _ = load_smollm2()
    config = MedVInTConfig(
        vision_config=VISION, projector_config=PROJECTOR, text_config=base.config.to_dict(), stop_token_id=2
    )
    (out / "config.json").write_text(
        json.dumps(
            {
                "model_type": "medvint",
                "vision_config": config.vision_config,
                "projector_config": config.projector_config,
                "stop_token_id": config.stop_token_id,
                "lora_rank": LORA_RANK,
                "lora_alpha": LORA_ALPHA,
            },
            indent=1,
        )
        + "\n"
    )
    size = (out / "model.safetensors").stat().st_size
    typer.echo(f"{len(weights)} tensors, {size / 1e6:.1f} MB in {out}")


if __name__ == "__main__":
    typer.run(main)
