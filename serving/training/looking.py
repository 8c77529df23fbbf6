"""Stage 2 of the demo model: the projector learns to show what questions ask about.

A decoder learns to read an image slowly, at seconds a step; whether its visual embeddings hold the
answer can be taught a hundred times faster to a small reader in its place. So the projector is
trained first, with a reader that attends to the visual embeddings with the question's MiniLM
embedding and names one of the training answers. The tower rests. Stage 3 puts the decoder in the
reader's place.

    medvint train projector --data DIR

Writes `looking.safetensors` (moving averages; names `tower.`, `projector.`, `reader.`),
`checkpoint.pt`, `log.jsonl` and `curves.svg`.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from serving.evaluation.benchmarks import VqaRow, slake_rows, vqa_rad_rows
from serving.evaluation.label_questions import label_rows
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.projector import build_projector
from serving.medvint.vision import build_vision_tower
from serving.training import checkpoint
from serving.training.curves import write_curves
from serving.training.images import augment, load_squares, normalise
from serving.training.minilm import embed_questions
from serving.training.recipe import ProjectorRecipe, RecipeError, resolve
from serving.training.tower import MARGIN, cosine

LABELS_MEASURED = 0.25
"""Of the held-out questions that were made from labels, so many are asked."""


class Reader(nn.Module):
    """Stands in for the decoder: visual embeddings and a question's embedding to logits over the answers."""

    def __init__(
        self, answers: int, num_queries: int, hidden_size: int, question_dim: int = 384, width: int = 384
    ) -> None:
        super().__init__()
        self.key = nn.Linear(hidden_size, width)
        self.question = nn.Linear(question_dim, width)
        self.position = nn.Parameter(torch.randn(num_queries, width) * 0.02)
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

    def __init__(self, recipe: ProjectorRecipe, answers: int) -> None:
        super().__init__()
        config = MedVInTConfig(vision_config=recipe.vision_config, projector_config=recipe.projector_config)
        self.tower: Any = build_vision_tower(config.vision).requires_grad_(False)
        projector: Any = build_projector(config.projector, config.vision.out_channels, recipe.hidden_size)
        nn.init.normal_(projector.query_embed.weight, std=0.5)
        self.projector = projector
        self.reader = Reader(answers, config.projector.num_queries, recipe.hidden_size)

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

    def sample(self, path: Path, count: int, draw: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        """[count, 384] and [count]."""
        chosen = draw.choices(self.by_image[path], k=count)
        return torch.stack([vector for vector, _ in chosen]), torch.tensor([label for _, label in chosen])


@torch.no_grad()
def accuracy(model: Any, rows: Rows, images: dict[Path, torch.Tensor], size: int, blank: bool = False) -> float:
    """Exact match of the reader in percent."""
    model.eval()
    right: list[bool] = []
    for path, known in rows.by_image.items():
        pixels = functional.interpolate(images[path][None].float() / 255, (size, size), mode="bicubic", antialias=True)
        pixels = torch.zeros_like(pixels) if blank else pixels.clamp(0, 1)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixels, torch.stack([vector for vector, _ in known])[None])
        right += (logits[0].argmax(-1) == torch.tensor([label for _, label in known])).tolist()
    model.train()
    return round(100 * sum(right) / len(right), 1)


class Draw:
    """Images of the sets with a share, every one once before any twice; now and then one of the labelled sets."""

    def __init__(self, pool: dict[str, list[Path]], shares: dict[str, float], draw: random.Random) -> None:
        self.pool, self.shares, self.draw = pool, shares, draw
        self.order = {name: list[int]() for name in shares}
        self.others = [name for name in pool if name not in shares]

    def __call__(self) -> Path:
        point = self.draw.random()
        for name, share in self.shares.items():
            if point < share or not self.others:
                if not self.order[name]:
                    self.order[name] = self.draw.sample(range(len(self.pool[name])), len(self.pool[name]))
                return self.pool[name][self.order[name].pop()]
            point -= share
        return self.draw.choice(self.pool[self.draw.choice(self.others)])


def read_rows(data: Path, draw: random.Random) -> tuple[dict[str, list[VqaRow]], dict[str, list[VqaRow]]]:
    """Training and validation rows by set; empty sets are left out."""
    sets = {"slake": slake_rows(data / "slake", "train"), "vqa-rad": vqa_rad_rows(data / "vqa-rad", "train")}
    for row in label_rows(data, held_out=False):
        sets.setdefault(row.dataset, []).append(row)
    held_out = {
        "slake": slake_rows(data / "slake", "validate"),
        "vqa_rad": vqa_rad_rows(data / "vqa-rad", "validate"),
        "labels": [row for row in label_rows(data, held_out=True) if draw.random() < LABELS_MEASURED],
    }
    return sets, {name: rows for name, rows in held_out.items() if rows}


def train(recipe: ProjectorRecipe, data: Path, out: Path, folder: Path) -> None:
    """Train the projector with a reader, or go on with it (the shipped recipe: about 8 minutes on two cores).

    Raises:
        RecipeError: the tower's weights are not there.
    """
    tower = Path(resolve(recipe.tower, data, out))
    if not tower.is_file():
        raise RecipeError(f"There is no image tower at {tower}: it is what the stage before makes.")
    torch.manual_seed(recipe.seed)
    draw = random.Random(recipe.seed)  # noqa: S311 - reproducible, not secret
    generator = torch.Generator().manual_seed(recipe.seed)
    sets, held_out = read_rows(data, draw)
    counts = Counter(row.answer.lower() for rows in sets.values() for row in rows)
    slake_answers = {row.answer.lower() for row in sets["slake"]}
    vocabulary = {
        answer: n for n, answer in enumerate(sorted(a for a in counts if counts[a] > 1 or a in slake_answers))
    }
    texts = sorted({row.question for rows in [*sets.values(), *held_out.values()] for row in rows})
    vectors = dict(zip(texts, embed_questions(texts), strict=True))
    pool: dict[str, list[Path]] = {}
    for name, rows in sets.items():
        paths = sorted({row.image_path for row in rows})
        pool[name] = paths if name in recipe.shares else paths[:: max(1, len(paths) // recipe.images_a_set)]
    questions = Rows([row for rows in sets.values() for row in rows], vocabulary, vectors)
    validation = {name: Rows(rows, vocabulary, vectors) for name, rows in held_out.items()}
    paths = sorted(
        {path for found in pool.values() for path in found} | {p for r in validation.values() for p in r.by_image}
    )
    model = Looking(recipe, len(vocabulary))
    size = MedVInTConfig(vision_config=recipe.vision_config).vision.image_size
    images = dict(zip(paths, load_squares(paths, round(size * MARGIN)), strict=True))
    typer.echo(f"{len(images)} images of {len(pool)} sets, {len(vocabulary)} answers")

    model.tower.load_state_dict(load_file(tower))
    model.tower.to(memory_format=torch.channels_last)
    model.train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average))
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=recipe.rate, weight_decay=recipe.weight_decay)
    schedule = cosine(optimizer, recipe.warmup, recipe.steps)
    next_image = Draw(pool, recipe.shares, draw)
    first = 0
    if state := checkpoint.load(folder / "checkpoint.pt"):
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        version, internal, gauss = state["draw"]
        draw.setstate((version, tuple(internal), gauss))
        first, next_image.order = state["step"], state["order"]

    log = checkpoint.Log(folder / "log.jsonl", first, recipe.steps)
    for step in range(first, recipe.steps):
        batch = [next_image() for _ in range(recipe.batch)]
        pixels = augment(torch.stack([images[path] for path in batch]), size, generator, crop=0.2, degrees=8)
        asked, labels = zip(*(questions.sample(path, recipe.questions, draw) for path in batch), strict=True)
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
        if done % recipe.log_every == 0 or done == recipe.steps:
            measured: dict[str, float] = {}
            if done % recipe.evaluate_every == 0 or done == recipe.steps:
                measured = {name: accuracy(average.module, rows, images, size) for name, rows in validation.items()}
                measured["slake_blank"] = accuracy(average.module, validation["slake"], images, size, blank=True)
            log.write(done, loss=loss.item(), **measured)
            write_curves(folder)
        if done % recipe.save_every == 0 or done == recipe.steps:
            state = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "generator": generator.get_state(),
                "torch": torch.get_rng_state(),
                "draw": draw.getstate(),
                "step": done,
                "order": next_image.order,
            }
            checkpoint.save(folder / "checkpoint.pt", state)
            weights = {name: tensor.contiguous() for name, tensor in average.module.state_dict().items()}
            checkpoint.save_whole(folder / "looking.safetensors", lambda path: save_file(weights, path))  # noqa: B023
