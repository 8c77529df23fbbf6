"""The stages that make the demo model, by name, for `medvint train`."""

from pathlib import Path
from typing import Literal

from serving.training import distill, vqa

Stage = Literal["tower", "vqa"]
STAGES: tuple[Stage, ...] = ("tower", "vqa")


def train(stage: Stage, data: Path, out: Path, seed: int = 1) -> None:
    """Run one stage, or go on with it: checkpoints lie in `out/{stage}`.

    `tower` distils the image tower; `vqa` trains projector and LoRA on its result.
    """
    if stage == "tower":
        distill.main(data, out / "tower", seed)
    else:
        vqa.main(data, out / "tower" / "tower.safetensors", out / "vqa", seed=seed)
