"""Pictures for training: the pool without held-out images, tensors of them, and fast augmentation."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional

from serving.evaluation.benchmarks import slake_rows, vqa_rad_rows
from serving.evaluation.labelled_images import GROUPS, labelled_images
from serving.medvint.processing import IMAGENET_MEAN, IMAGENET_STD


def unlabelled_pool(data: Path, per_set: int = 400) -> dict[str, list[Path]]:
    """Training images by set for distillation; held-out images and validation splits stay out."""
    pool = {
        "slake": sorted({row.image_path for row in slake_rows(data / "slake", "train")}),
        "vqa-rad": sorted({row.image_path for row in vqa_rad_rows(data / "vqa-rad", "train")}),
    }
    for name in GROUPS:
        if (data / name / "rows.jsonl").exists():
            paths = [image.path for image in labelled_images(data / name) if not image.held_out]
            step = max(1, len(paths) // per_set)
            pool[name] = paths[::step][:per_set]
    return {name: paths for name, paths in pool.items() if paths}


def load_square(path: Path, size: int) -> torch.Tensor:
    """RGB, squashed to a square as MedVInT does it: uint8 [3, size, size]."""
    with Image.open(path) as image:
        square = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    return torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).view(size, size, 3).permute(2, 0, 1)


def load_squares(paths: list[Path], size: int) -> torch.Tensor:
    """[n, 3, size, size], uint8."""
    with ThreadPoolExecutor(2) as threads:
        return torch.stack(list(threads.map(lambda path: load_square(path, size), paths)))


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """[..., 3, h, w] in [0, 1] -> ImageNet's mean 0 and deviation 1, as every tower here wants it."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (pixels - mean[:, None, None]) / std[:, None, None]


def augment(
    images: torch.Tensor, size: int, generator: torch.Generator, crop: float = 0.3, degrees: float = 10.0
) -> torch.Tensor:
    """Random crop, rotation, brightness and contrast in one resampling, never a mirror image.

    Args:
        images: uint8 [n, 3, h, w].
        crop: at most this share of each side is cut away.

    Returns:
        float [n, 3, size, size] in [0, 1].
    """
    count = len(images)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle = uniform(-degrees, degrees) * torch.pi / 180
    scale_x, scale_y = uniform(1 - crop, 1.05), uniform(1 - crop, 1.05)
    room_x, room_y = (1 - scale_x).clamp(min=0), (1 - scale_y).clamp(min=0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = scale_x * angle.cos(), -scale_y * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = scale_x * angle.sin(), scale_y * angle.cos()
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-1, 1) * room_x, uniform(-1, 1) * room_y
    grid = functional.affine_grid(theta, [count, 3, size, size], align_corners=False)
    pixels = functional.grid_sample(images.float() / 255, grid, align_corners=False)
    contrast, brightness = uniform(0.8, 1.25), uniform(-0.1, 0.1)
    return (pixels * contrast[:, None, None, None] + brightness[:, None, None, None]).clamp(0, 1)
