"""Trains the image head: the demo's frozen tower sees, MiniLM's space is the goal.

    python -m retrieval.train_image_head --data ../shared/data --tower serving/models/demo/model.safetensors

The tower's features of every training picture, augmented, are computed once and kept beside `--cache`; the head
is trained on them in about a minute. Its goal: the picture's sentence nearer than those of other pictures
(soft targets, so that two pictures of the same thing are no contradiction), and near in itself (cosine).
Pictures of nothing medical (noise, gradients, shapes, drawn here) learn to say so, or every photograph would
look like some radiograph.
"""

import json
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch.nn import functional

from retrieval.embedders import DEMO_HEAD, DEMO_MODEL, MiniLmEmbedder
from retrieval.image_head import IMAGE_SIZE, ImageHead, fingerprint, load_tower, normalise, pool
from retrieval.image_sentences import Picture, described_pictures
from retrieval.nonsense import nonsense_picture
from serving.medvint.vision import PmcClipTower
from serving.training.images import augment, load_squares

WITH_VIEWS = ("slake", "vqa-rad")
"""Sets whose pictures are also seen augmented; the others are many, and their plain views do."""
NONSENSE = 120
NOTHING_MEDICAL = ("A picture without medical content.", "Not a medical image.", "A random pattern of colours.")
TEMPERATURE = 0.07
STEPS, BATCH, LEARNING_RATE, DROPOUT = 900, 128, 1e-3, 0.4


@torch.inference_mode()
def view_features(tower: PmcClipTower, squares: torch.Tensor) -> torch.Tensor:
    """Pixels in [0, 1], [n, 3, 256, 256] -> pooled features [n, 5120] in half precision."""
    parts = []
    for start in range(0, len(squares), 16):
        values = normalise(squares[start : start + 16]).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            grid = tower(values)
        parts.append(pool(grid.float()).half())
    return torch.cat(parts)


def picture_features(
    tower: PmcClipTower, pictures: list[Picture], views: int, seed: int, folder: Path
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of every view, and which picture each row is of; kept in `folder`, chunk by chunk."""
    generator = torch.Generator().manual_seed(seed)
    features, owners = [], []
    started = time.monotonic()
    for start in range(0, len(pictures), 50):
        chunk = pictures[start : start + 50]
        squares = load_squares([picture.path for picture in chunk], IMAGE_SIZE)
        pixels = [squares.float() / 255]
        numbers = [torch.arange(start, start + len(chunk))]
        rows = torch.tensor([i for i, picture in enumerate(chunk) if picture.dataset in WITH_VIEWS], dtype=torch.long)
        for _ in range(views if len(rows) else 0):
            pixels.append(augment(squares[rows], IMAGE_SIZE, generator, crop=0.25))
            numbers.append(rows + start)
        file = folder / f"chunk-{start:05d}.safetensors"
        if not file.exists():
            save_file({"features": view_features(tower, torch.cat(pixels)), "owners": torch.cat(numbers)}, file)
        kept = load_file(file)
        features.append(kept["features"])
        owners.append(kept["owners"])
        typer.echo(f"features: {start + len(chunk)} of {len(pictures)} pictures, {time.monotonic() - started:.0f} s")
    return torch.cat(features), torch.cat(owners)


def train(
    features: torch.Tensor, owners: torch.Tensor, targets: list[torch.Tensor], datasets: list[str], seed: int
) -> ImageHead:
    """
    Args:
        features: [views, 5120].
        owners: [views], the picture of each view.
        targets: of each picture the vectors [sentences, 384] of what is said of it.
        datasets: of each picture the set; sets are drawn by the square root of their size.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    counts = {name: datasets.count(name) for name in set(datasets)}
    views_of = torch.bincount(owners, minlength=len(targets)).float()
    chance = torch.tensor([counts[datasets[o]] ** -0.5 for o in owners.tolist()]) / views_of[owners]
    head = ImageHead(dropout=DROPOUT)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS)
    for _ in range(STEPS):
        rows = torch.multinomial(chance, BATCH, generator=generator)
        picks = torch.rand(BATCH, generator=generator)
        wanted = torch.stack(
            [targets[o][int(p * len(targets[o]))] for o, p in zip(owners[rows].tolist(), picks.tolist(), strict=True)]
        )
        found = head(features[rows].float())
        alike = (wanted @ wanted.T / TEMPERATURE).softmax(-1)
        likeness = found @ wanted.T / TEMPERATURE
        contrast = functional.cross_entropy(likeness, alike) + functional.cross_entropy(likeness.T, alike)
        loss = contrast / 2 + (1 - (found * wanted).sum(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head.eval()


def main(
    data: Annotated[Path, typer.Option(help="Folder of the image sets.")] = Path("../shared/data"),
    tower: Annotated[Path, typer.Option(help="The frozen tower's weights.")] = DEMO_MODEL,
    out: Annotated[Path, typer.Option(help="The head's weights.")] = DEMO_HEAD,
    cache: Annotated[Path, typer.Option(help="Features are kept here.")] = Path("data/training/image-head"),
    views: Annotated[int, typer.Option(help="Augmented views of each picture of SLAKE and VQA-RAD.")] = 3,
    per_set: Annotated[int, typer.Option(help="Pictures of each other set.")] = 80,
    openstax: Annotated[int, typer.Option(help="Textbook figures.")] = 300,
    seed: int = 1,
) -> None:
    """Train the head (minutes on two cores, most of it the tower's features)."""
    started = time.monotonic()
    network = load_tower(tower)
    seen_by = fingerprint(network)
    folder = cache / f"{seen_by}-{views}-{per_set}-{openstax}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    pictures = described_pictures(data, "train", per_set, openstax)
    features, owners = picture_features(network, pictures, views, seed, folder)

    rng = np.random.default_rng(seed)
    nonsense = np.stack([np.asarray(nonsense_picture(rng).resize((IMAGE_SIZE, IMAGE_SIZE))) for _ in range(NONSENSE)])
    drawn = view_features(network, torch.from_numpy(nonsense).permute(0, 3, 1, 2).float() / 255)
    features = torch.cat([features, drawn])
    owners = torch.cat([owners, torch.arange(len(pictures), len(pictures) + NONSENSE)])

    said = [picture.sentences for picture in pictures] + [NOTHING_MEDICAL] * NONSENSE
    sentences = sorted({sentence for group in said for sentence in group})
    vectors = dict(zip(sentences, torch.from_numpy(MiniLmEmbedder().embed_texts(sentences)), strict=True))
    targets = [torch.stack([vectors[sentence] for sentence in group]) for group in said]
    datasets = [picture.dataset for picture in pictures] + ["nonsense"] * NONSENSE

    head = train(features, owners, targets, datasets, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.to(torch.bfloat16).contiguous() for key, value in head.state_dict().items()}
    save_file(state, out, metadata={"tower": seen_by, "seed": str(seed), "pictures": str(len(pictures))})
    counts = {name: datasets.count(name) for name in sorted(set(datasets))}
    typer.echo(f"{len(features)} views of {json.dumps(counts)}; {out} written in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    typer.run(main)
