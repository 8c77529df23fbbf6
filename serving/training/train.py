"""The stages that make the demo model, by name, for `medvint train`."""

from pathlib import Path
from typing import Literal

from serving.training import distill, projector, vqa

Stage = Literal["tower", "projector", "vqa"]
STAGES: tuple[Stage, ...] = ("tower", "projector", "vqa")


def train(stage: Stage, data: Path, out: Path, seed: int = 1) -> None:
    """Run one stage, or go on with it: checkpoints lie in `out/{stage}`, where the next one looks for them.

    `tower` distils the image tower; `projector` teaches projector and tower with a small reader;
    `vqa` puts the decoder in the reader's place.
    """
    match stage:
        case "tower":
            distill.main(data, out / "tower", seed)
        case "projector":
            projector.main(data, out / "tower" / "tower.safetensors", out / "projector", seed=seed)
        case "vqa":
            vqa.main(data, out / "projector" / "looking.safetensors", out / "vqa", seed=seed)
