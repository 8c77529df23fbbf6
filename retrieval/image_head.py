"""The head that carries an image into the captions' space: the demo's frozen tower, then two layers.

    encoder = load_image_encoder(Path("serving/models/demo/model.safetensors"), DEMO_HEAD)
    encoder([image])        # float32 [1, 384], length 1

The tower's last map [1024, 16, 16] is averaged whole and over 2x2 quarters (what is where), 5,120
numbers a picture; the head is trained against sentences in MiniLM's space, which stays fixed
(`retrieval/train_image_head.py`).
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from retrieval.errors import WeightsMissingError
from serving.medvint.vision import PmcClipTower
from serving.original_keys import TOWER_CHILDREN, our_name

IMAGE_SIZE = 256
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

TOWER_PREFIX = "vision_tower."


class ImageHead(nn.Module):
    """Pooled features [n, 5 * channels] -> unit vectors [n, dim]."""

    def __init__(self, channels: int = 1024, hidden: int = 512, dim: int = 384, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(5 * channels)
        self.hidden = nn.Linear(5 * channels, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden = functional.gelu(self.hidden(self.dropout(self.norm(features))))
        return functional.normalize(self.out(self.dropout(hidden)), dim=-1)


def pool(grid: torch.Tensor) -> torch.Tensor:
    """The tower's map [n, c, h, w] -> [n, 5c]: the mean, then the means of the four quarters."""
    quarters = functional.adaptive_avg_pool2d(grid, 2).flatten(1)
    return torch.cat([grid.mean((2, 3)), quarters], 1)


def pixels(images: list[Image.Image]) -> torch.Tensor:
    """RGB, squashed to 256 x 256 (bicubic): float [n, 3, 256, 256] in [0, 1]."""
    squares = [
        np.asarray(image.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)) for image in images
    ]
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255


def normalise(values: torch.Tensor) -> torch.Tensor:
    """ImageNet's mean and deviation, as the tower was trained."""
    mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (values - mean[:, None, None]) / deviation[:, None, None]


def load_tower(file: Path) -> PmcClipTower:
    """The frozen tower from a converted model (`vision_model.0.weight`, ...) or from a file of its own.

    Raises:
        WeightsMissingError: no such file, or no tower of the demo's shape in it.
    """
    tower = PmcClipTower()
    try:
        with safe_open(file, "pt") as weights:
            names = {key: tower_name(key) for key in weights.keys()}  # noqa: SIM118
            state = {name: _rounded(weights.get_tensor(key)) for key, name in names.items() if name}
        tower.load_state_dict(_with_counters(state, tower))
    except FileNotFoundError:
        raise WeightsMissingError(f"{file} is missing: images cannot be searched without the demo's weights.") from None
    except (RuntimeError, SafetensorError) as error:
        raise WeightsMissingError(f"{file} holds no tower of the demo's shape: {error}") from error
    return tower.eval().requires_grad_(False)


def tower_name(key: str) -> str:
    """`vision_model.10.0.conv1.weight` (MedVInT's) and `vision_tower.layer1.0.conv1.weight` (a converted model's) ->
    `layer1.0.conv1.weight`; a tower's own names stay, others become "".
    """
    name = our_name(key) or key
    if name.startswith(TOWER_PREFIX):
        return name.removeprefix(TOWER_PREFIX)
    return key if key.split(".")[0] in TOWER_CHILDREN.values() else ""


def fingerprint(tower: PmcClipTower) -> str:
    """Of the tower's weights in bfloat16, whatever file they came from."""
    sha = hashlib.sha256()
    for key, value in sorted(tower.state_dict().items()):
        if not key.endswith("num_batches_tracked"):
            sha.update(key.encode() + value.to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes())
    return sha.hexdigest()[:16]


def _rounded(value: torch.Tensor) -> torch.Tensor:
    # The tower ships in bfloat16; the head must be trained on exactly what it will see.
    return value.to(torch.bfloat16).float() if value.is_floating_point() else value


def _with_counters(state: dict[str, torch.Tensor], tower: nn.Module) -> dict[str, torch.Tensor]:
    # Checkpoints for serving may leave out BatchNorm's step counters, which evaluation does not use.
    counters = {key: value for key, value in tower.state_dict().items() if key.endswith("num_batches_tracked")}
    return counters | state


class ImageEncoder:
    """Images -> unit vectors float32 [n, dim], in batches of 16."""

    def __init__(self, tower: PmcClipTower, head: ImageHead) -> None:
        self.tower = tower
        self.head = head

    @torch.inference_mode()
    def __call__(self, images: list[Image.Image]) -> NDArray[np.float32]:
        vectors = []
        for start in range(0, len(images), 16):
            values = normalise(pixels(images[start : start + 16]))
            # Channels last is twice as fast for convolutions on a CPU.
            values = values.contiguous(memory_format=torch.channels_last)
            vectors.append(self.head(pool(self.tower(values))).numpy())
        return np.concatenate(vectors)


def load_head(file: Path, tower: str | None = None) -> ImageHead:
    """
    Args:
        tower: the fingerprint of the tower that is to be used; None does not check it.

    Raises:
        WeightsMissingError: no such file, not a head's weights, or a head that was trained on another tower.
    """
    head = ImageHead()
    try:
        with safe_open(file, "pt") as weights:
            trained_on = (weights.metadata() or {}).get("tower", "")
        if tower is not None and trained_on != tower:
            raise WeightsMissingError(
                f"{file} was trained on another tower ({trained_on or 'unnamed'}) than the one in use ({tower}): "
                "`python -m retrieval.train_image_head` trains it anew."
            )
        head.load_state_dict({key: value.float() for key, value in load_file(file).items()})
    except FileNotFoundError:
        raise WeightsMissingError(f"{file} is missing: images cannot be searched without it.") from None
    except (RuntimeError, SafetensorError) as error:
        raise WeightsMissingError(f"{file} is not an image head: {error}") from error
    return head.eval().requires_grad_(False)


def load_image_encoder(tower: Path, head: Path) -> ImageEncoder:
    """
    Raises:
        WeightsMissingError: either file is missing, or they do not belong together.
    """
    network = load_tower(tower)
    return ImageEncoder(network, load_head(head, fingerprint(network)))
