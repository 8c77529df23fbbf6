"""Stage 2 of the demo model: the projector learns to show what questions ask about.

A decoder learns to read an image slowly, at seconds a step; whether its visual embeddings hold the
answer can be taught a hundred times faster to a small reader in its place. So the projector is
trained first, with a reader that attends to the visual embeddings with the question's MiniLM
embedding and names one of the training answers. The tower rests. Stage 3 puts the decoder in the
reader's place.

    python -m serving.training.projector --data ../shared/data --tower data/training/tower/tower.safetensors
    # interrupt at any time, the same command goes on from the last checkpoint

Writes `looking.safetensors` (moving averages; names `tower.`, `projector.`, `reader.`),
`checkpoint.pt` and `log.jsonl`.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from serving.evaluation.benchmarks import VqaRow, slake_rows, vqa_rad_rows
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.projector import build_projector
from serving.medvint.vision import build_vision_tower
from serving.training import checkpoint
from serving.training.distill import minilm, normalise
from serving.training.images import augment, load_squares
from serving.training.label_questions import label_rows

VISION = {"kind": "pmc_clip", "image_size": 256, "layers": [3, 4, 6], "width": 64}
PROJECTOR: dict[str, Any] = {
    "kind": "transformer",
    "num_queries": 16,
    "num_layers": 2,
    "num_heads": 8,
    "hidden_size": 640,
    "intermediate_size": 1280,
    "patch_norm": True,
    "position": "sine2d",
    "output_norm": True,
}
HIDDEN_SIZE = 576
"""Of SmolLM2-135M's embeddings."""
SHARES = {"slake": 0.85, "vqa-rad": 0.1}
"""How often an image comes from the two sets with questions of their own; the labelled sets share the rest."""
IMAGES_A_SET = 250
BATCH, QUESTIONS_AN_IMAGE = 16, 12
LEARNING_RATE = 5e-4
AVERAGE = 0.99


class Reader(nn.Module):
    """Stands in for the decoder: visual embeddings and a question's embedding to logits over the answers."""

    def __init__(self, answers: int, question_dim: int = 384, width: int = 384) -> None:
        super().__init__()
        self.key = nn.Linear(HIDDEN_SIZE, width)
        self.question = nn.Linear(question_dim, width)
        self.position = nn.Parameter(torch.randn(PROJECTOR["num_queries"], width) * 0.02)
        self.attention = nn.MultiheadAttention(width, 6, dropout=0.1, batch_first=True)
        self.classify = nn.Sequential(
            nn.LayerNorm(3 * width), nn.Linear(3 * width, 512), nn.ReLU(), nn.Dropout(0.4), nn.Linear(512, answers)
        )

    def forward(self, image_embeds: torch.Tensor, questions: torch.Tensor) -> torch.Tensor:
        """`image_embeds` [n, num_queries, hidden_size], `questions` [n, q, question_dim] -> [n, q, answers]."""
        keys = self.key(image_embeds) + self.position
        # MiniLM's vectors have length one: eight times that is about a normal activation.
        query = self.question(questions * 8)
        seen, _ = self.attention(query, keys, keys, need_weights=False)
        return self.classify(torch.cat([seen, query, torch.tanh(seen) * torch.tanh(query)], -1))


class Looking(nn.Module):
    """Tower (at rest, always in evaluation mode), projector and reader."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        config = MedVInTConfig(vision_config=VISION, projector_config=PROJECTOR)
        self.tower: Any = build_vision_tower(config.vision).requires_grad_(False)
        projector: Any = build_projector(config.projector, config.vision.out_channels, HIDDEN_SIZE)
        nn.init.normal_(projector.query_embed.weight, std=0.5)
        self.projector = projector
        self.reader = Reader(answers)

    def forward(self, pixels: torch.Tensor, questions: torch.Tensor) -> torch.Tensor:
        patches = self.tower.patches(normalise(pixels).to(memory_format=torch.channels_last))
        return self.reader(self.projector(patches), questions)

    def train(self, mode: bool = True) -> "Looking":
        super().train(mode)
        self.tower.eval()
        return self


class Rows:
    """Questions by image: MiniLM embedding and number of the answer, -1 for one that training lacks."""

    def __init__(self, rows: Sequence[VqaRow], vocabulary: dict[str, int], vectors: dict[str, torch.Tensor]) -> None:
        self.by_image: dict[Path, list[tuple[torch.Tensor, int]]] = defaultdict(list)
        for row in rows:
            self.by_image[row.image_path].append((vectors[row.question], vocabulary.get(row.answer.lower(), -1)))

    def sample(self, path: Path, draw: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        """[QUESTIONS_AN_IMAGE, 384] and [QUESTIONS_AN_IMAGE]."""
        chosen = draw.choices(self.by_image[path], k=QUESTIONS_AN_IMAGE)
        return torch.stack([vector for vector, _ in chosen]), torch.tensor([label for _, label in chosen])


@torch.no_grad()
def accuracy(model: Any, rows: Rows, images: dict[Path, torch.Tensor], blank: bool = False) -> float:
    """Exact match of the reader in percent."""
    model.eval()
    right: list[bool] = []
    for path, known in rows.by_image.items():
        pixels = functional.interpolate(images[path][None].float() / 255, (256, 256), mode="bicubic", antialias=True)
        pixels = torch.zeros_like(pixels) if blank else pixels.clamp(0, 1)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixels, torch.stack([vector for vector, _ in known])[None])
        right += (logits[0].argmax(-1) == torch.tensor([label for _, label in known])).tolist()
    model.train()
    return round(100 * sum(right) / len(right), 1)


def main(
    data: Annotated[Path, typer.Option(help="Folder of the image sets.")] = Path("../shared/data"),
    tower: Annotated[Path, typer.Option(help="Stage 1's weights.")] = Path("data/training/tower/tower.safetensors"),
    out: Annotated[Path, typer.Option(help="Checkpoints and log.")] = Path("data/training/projector"),
    steps: int = 480,
    seed: int = 1,
) -> None:
    """Train the projector with a reader (about 1 s a step on two cores)."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    generator = torch.Generator().manual_seed(seed)
    sets = {
        "slake": slake_rows(data / "slake", "train"),
        "vqa-rad": vqa_rad_rows(data / "vqa-rad", "train"),
    }
    held_out = {
        "slake": slake_rows(data / "slake", "validate"),
        "vqa_rad": vqa_rad_rows(data / "vqa-rad", "validate"),
        "labels": [row for row in label_rows(data, held_out=True) if draw.random() < 0.25],
    }
    for row in label_rows(data, held_out=False):
        sets.setdefault(row.dataset, []).append(row)
    counts = Counter(row.answer.lower() for rows in sets.values() for row in rows)
    slake_answers = {row.answer.lower() for row in sets["slake"]}
    vocabulary = {
        answer: n for n, answer in enumerate(sorted(a for a in counts if counts[a] > 1 or a in slake_answers))
    }
    texts = sorted({row.question for rows in [*sets.values(), *held_out.values()] for row in rows})
    vectors = dict(zip(texts, minilm(texts), strict=True))
    pool: dict[str, list[Path]] = {}
    for name, rows in sets.items():
        paths = sorted({row.image_path for row in rows})
        pool[name] = paths if name in SHARES else paths[:: max(1, len(paths) // IMAGES_A_SET)]
    questions = Rows([row for rows in sets.values() for row in rows], vocabulary, vectors)
    validation = {name: Rows(rows, vocabulary, vectors) for name, rows in held_out.items()}
    paths = sorted(
        {path for found in pool.values() for path in found} | {p for r in validation.values() for p in r.by_image}
    )
    images = dict(zip(paths, load_squares(paths, 288), strict=True))
    labelled = [name for name in pool if name not in SHARES]
    typer.echo(f"{len(images)} images of {len(pool)} sets, {len(vocabulary)} answers")

    model = Looking(len(vocabulary))
    model.tower.load_state_dict(load_file(tower))
    model.tower.to(memory_format=torch.channels_last)
    model.train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 40) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
    )
    first, order = 0, {name: list[int]() for name in SHARES}
    if state := checkpoint.load(out / "checkpoint.pt"):
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        version, internal, gauss = state["draw"]
        draw.setstate((version, tuple(internal), gauss))
        first, order = state["step"], state["order"]

    def next_image() -> Path:
        point = draw.random()
        for name, share in SHARES.items():
            if point < share:
                # Every image once before any twice: 450 of them are all there is.
                if not order[name]:
                    order[name] = draw.sample(range(len(pool[name])), len(pool[name]))
                return pool[name][order[name].pop()]
            point -= share
        return draw.choice(pool[draw.choice(labelled)])

    log = checkpoint.Log(out / "log.jsonl", first, steps)
    for step in range(first, steps):
        batch = [next_image() for _ in range(BATCH)]
        pixels = augment(torch.stack([images[path] for path in batch]), 256, generator, crop=0.2, degrees=8)
        asked, labels = zip(*(questions.sample(path, draw) for path in batch), strict=True)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixels, torch.stack(asked))
        loss = functional.cross_entropy(
            logits.float().flatten(0, 1), torch.cat(labels), ignore_index=-1, label_smoothing=0.05
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        done = step + 1
        if done % 25 == 0 or done == steps:
            measured: dict[str, float] = {}
            if done % 200 == 0 or done == steps:
                measured = {name: accuracy(average.module, rows, images) for name, rows in validation.items()}
                measured["slake_blank"] = accuracy(average.module, validation["slake"], images, blank=True)
            log.write(done, loss=loss.item(), **measured)
        if done % 100 == 0 or done == steps:
            checkpoint.save(
                out / "checkpoint.pt",
                {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "generator": generator.get_state(),
                    "torch": torch.get_rng_state(),
                    "draw": draw.getstate(),
                    "step": done,
                    "order": order,
                },
            )
            weights = average.module.state_dict()
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, out / "looking.safetensors")


if __name__ == "__main__":
    typer.run(main)
