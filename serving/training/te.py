"""Trains MedVInT-TE by masked answers: on PMC-VQA as the paper does, or on SLAKE, VQA-RAD and labelled images.

    python -m serving.training.te small --data ../shared/data --out data/training/te
    python -m serving.training.te pmc-vqa-choice --start data/models/te --data DATA --out data/training/te-choice
    # interrupt at any time, the same command goes on from the last checkpoint

Leaves `model/`, the folder that `medvint serve` takes, `checkpoint.pt` and `log.jsonl`.
"""

import math
import random
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from serving.evaluation.benchmarks import VqaRow, slake_rows, vqa_rad_rows
from serving.evaluation.label_questions import label_rows
from serving.evaluation.pmc_vqa import pmc_vqa_rows
from serving.medvint.processing import MedVInTImageProcessor
from serving.medvint_te.answering import Answerer, Asked
from serving.medvint_te.beginning import small_model
from serving.medvint_te.modeling import MedVInTTEForMaskedLM
from serving.medvint_te.text import QuestionText
from serving.training import checkpoint
from serving.training.images import augment, load_squares, normalise
from serving.training.te_batch import Example, collate, example

Read = Callable[[Path], list[VqaRow]]
TRAIN: dict[str, Read] = {
    "slake": lambda data: slake_rows(data / "slake", "train"),
    "vqa-rad": lambda data: vqa_rad_rows(data / "vqa-rad", "train"),
    "labels": partial(label_rows, held_out=False),
    "pmc-vqa-blank": lambda data: pmc_vqa_rows(data / "pmc-vqa", "train", choices_shown=False),
    "pmc-vqa-choice": lambda data: pmc_vqa_rows(data / "pmc-vqa", "train", choices_shown=True),
}
VALIDATE: dict[str, Read] = {
    "slake": lambda data: slake_rows(data / "slake", "validate"),
    "vqa-rad": lambda data: vqa_rad_rows(data / "vqa-rad", "validate"),
}
PARTS = {"tower": "vision_tower.", "projector": "projector.", "encoder": "text_encoder."}
"""All else is `fresh`."""
BEGIN = "small"
LORA_MODULES = ["q_proj", "v_proj", "query", "value"]


@dataclass(frozen=True)
class TERecipe:
    """One run.

    Args:
        sets: of `TRAIN`, and the share of its images that an epoch takes.
        images, questions: of one step: so many images, and of each at most so many questions.
        rates: by part (tower, projector, encoder, fresh); a part without one rests.
        lora: rank of LoRA on the encoder (alpha 32, as the original); None trains the encoder whole.
        epochs: where `steps` is None.
        crop, degrees: of the augmentation.
        average: decay of the moving average of the weights, which is what is kept; None: the last.
        validate: of `VALIDATE`, measured half-way and at the end.
    """

    sets: dict[str, float]
    images: int
    questions: int
    rates: dict[str, float]
    lora: int | None = None
    steps: int | None = None
    epochs: int = 5
    warmup: float = 0.03
    weight_decay: float = 0.0
    crop: float = 0.15
    degrees: float = 7
    average: float | None = None
    validate: tuple[str, ...] = ()


_PAPER = {"tower": 2e-5, "projector": 2e-5, "encoder": 2e-5, "fresh": 2e-5}
RECIPES = {
    "small": TERecipe(
        sets={"slake": 1.0, "vqa-rad": 0.5, "labels": 0.015},
        images=8,
        questions=8,
        rates={"encoder": 2e-4, "fresh": 5e-4},
        steps=500,
        warmup=0.05,
        weight_decay=0.02,
        average=0.99,
        validate=("slake", "vqa-rad"),
    ),
    "pmc-vqa-choice": TERecipe({"pmc-vqa-choice": 1.0}, 128, 1, _PAPER, lora=8, crop=0.5, degrees=10),
    "pmc-vqa-blank": TERecipe({"pmc-vqa-blank": 1.0}, 128, 1, _PAPER, lora=8, crop=0.5, degrees=10),
    "slake": TERecipe({"slake": 1.0}, 16, 8, _PAPER, lora=8, epochs=100, crop=0.0, degrees=0, validate=("slake",)),
    "vqa-rad": TERecipe(
        {"vqa-rad": 1.0}, 16, 8, _PAPER, lora=8, epochs=100, crop=0.0, degrees=0, validate=("vqa-rad",)
    ),
}


class TETrainer:
    """A model on its way: batches, steps, checkpoints."""

    def __init__(
        self,
        recipe: TERecipe,
        model: MedVInTTEForMaskedLM,
        tokenizer: PreTrainedTokenizerBase,
        rows: dict[str, list[VqaRow]],
        seed: int = 1,
    ) -> None:
        self.recipe, self.model, self.tokenizer = recipe, model, tokenizer
        self.text = QuestionText(tokenizer, model.config)
        self.processor = MedVInTImageProcessor(model.config.vision.image_size)
        self.questions = self._grouped(rows)
        self.share = {
            path: recipe.sets[name] for name, of_set in rows.items() for path in {r.image_path for r in of_set}
        }
        self.draw, self.generator = random.Random(seed), torch.Generator().manual_seed(seed)  # noqa: S311 - reproducible
        model.requires_grad_(False)
        if recipe.lora is not None:
            lora = LoraConfig(r=recipe.lora, lora_alpha=32, lora_dropout=0.1, target_modules=LORA_MODULES)
            model.text_encoder = get_peft_model(model.text_encoder, lora)
        self.trained = {
            name: parameter.requires_grad_()
            for name, parameter in model.named_parameters()
            if _part(name) in recipe.rates and (recipe.lora is None or _part(name) != "encoder" or "lora_" in name)
        }
        self.steps = recipe.steps or recipe.epochs * max(1, len(self.questions) // recipe.images)
        self.optimizer = torch.optim.AdamW(
            [{"params": [p for name, p in self.trained.items() if _part(name) == part], "lr": rate}
             for part, rate in recipe.rates.items()],
            weight_decay=recipe.weight_decay,
        )  # fmt: skip
        warmup = max(1, round(recipe.warmup * self.steps))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min(1.0, (step + 1) / warmup) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / self.steps))),
        )
        self.average = {name: p.detach().clone() for name, p in self.trained.items()} if recipe.average else None
        self.order: list[Path] = []
        self.done = 0

    def step(self) -> float:
        """One change of the weights; its loss."""
        self.model.train()
        # Batch statistics of a few images would spoil a tower that has learned from many; what rests has no dropout.
        self.model.vision_tower.eval()
        self.model.projector.train("projector" in self.recipe.rates)
        paths = self._next_images()
        chosen = [
            self.draw.sample(self.questions[p], min(self.recipe.questions, len(self.questions[p]))) for p in paths
        ]
        batch = collate([each for of_image in chosen for each in of_image], self.text)
        index = torch.tensor([number for number, of_image in enumerate(chosen) for _ in of_image])
        size = self.model.config.vision.image_size
        pixels = augment(
            load_squares(paths, size * 9 // 8), size, self.generator, crop=self.recipe.crop, degrees=self.recipe.degrees
        )
        device = self.model.device
        looks = "tower" in self.recipe.rates or "projector" in self.recipe.rates
        with torch.autocast(device.type, torch.bfloat16):
            with torch.set_grad_enabled(looks):
                seen = self.model.get_image_features(normalise(pixels).to(device))
            loss = self.model(**{k: v.to(device) for k, v in batch.items()}, image_features=seen[index]).loss
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.done += 1
        if self.average is not None and self.recipe.average is not None:
            rate = 1 - min(self.recipe.average, self.done / (self.done + 10))
            with torch.no_grad():
                for name, p in self.trained.items():
                    self.average[name].lerp_(p, rate)
        return loss.item()

    def exact_match(self, rows: list[VqaRow], blank: bool = False) -> float:
        """Share of answers whose tokens are the true ones', in percent; `blank`: without the image."""
        answerer = Answerer(self.model, self.tokenizer, self.processor)
        by_image: dict[Path, list[VqaRow]] = defaultdict(list)
        for row in rows:
            by_image[row.image_path].append(row)
        right = 0
        size = self.model.config.vision.image_size
        for path, of_image in sorted(by_image.items()):
            pixels = load_squares([path], size).float() / 255
            pixels = torch.zeros_like(pixels) if blank else pixels
            with torch.inference_mode(), torch.autocast(self.model.device.type, torch.bfloat16):
                seen = self.model.get_image_features(normalise(pixels).to(self.model.device))[0]
                told = answerer.answer([Asked(seen, row.question) for row in of_image])
            true = (self.text.words(self.text.answer(row.answer)) for row in of_image)
            right += sum(answer.text == wanted for answer, wanted in zip(told, true, strict=True))
        return round(100 * right / len(rows), 1)

    def save(self, path: Path) -> None:
        checkpoint.save(
            path,
            {
                "trained": {name: p.detach() for name, p in self.trained.items()},
                "average": self.average,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "generator": self.generator.get_state(),
                "draw": self.draw.getstate(),
                "torch": torch.get_rng_state(),
                "order": [str(each) for each in self.order],
                "step": self.done,
            },
        )

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one."""
        state = checkpoint.load(path)
        if state is None:
            return
        self.put(state["trained"])
        self.average, self.done = state["average"], state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.draw.setstate(state["draw"])
        torch.set_rng_state(state["torch"])
        self.order = [Path(each) for each in state["order"]]

    def put(self, weights: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, p in self.trained.items():
                p.copy_(weights[name])

    def export(self, folder: Path) -> None:
        """The trained model as the product loads it. Ends training: LoRA is merged, the average put in place."""
        if self.average is not None:
            self.put(self.average)
        if self.recipe.lora is not None:
            self.model.text_encoder = self.model.text_encoder.merge_and_unload()
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        self.model.eval().to(torch.bfloat16).save_pretrained(unfinished)
        self.tokenizer.save_pretrained(unfinished)
        self.processor.save_pretrained(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)

    def _grouped(self, rows: dict[str, list[VqaRow]]) -> dict[Path, list[Example]]:
        by_image: dict[Path, list[Example]] = defaultdict(list)
        for of_set in rows.values():
            for row in of_set:
                if made := example(row, self.text):
                    by_image[row.image_path].append(made)
        return dict(by_image)

    def _next_images(self) -> list[Path]:
        while len(self.order) < self.recipe.images:
            epoch = [path for path in sorted(self.questions) if self.draw.random() < self.share[path]]
            self.draw.shuffle(epoch)
            self.order += epoch
        chosen, self.order = self.order[: self.recipe.images], self.order[self.recipe.images :]
        return chosen


def _part(name: str) -> str:
    return next((part for part, prefix in PARTS.items() if name.startswith(prefix)), "fresh")


def main(
    recipe: Annotated[str, typer.Argument(help=f"One of {', '.join(RECIPES)}.")] = BEGIN,
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = Path("../shared/data"),
    out: Annotated[Path, typer.Option(help="Checkpoint, log and model.")] = Path("data/training/te"),
    start: Annotated[str, typer.Option(help="A MedVInT-TE's folder; `small`: the demo's tower and MiniLM.")] = BEGIN,
    steps: Annotated[int | None, typer.Option(help="Other than the recipe's.")] = None,
    seed: int = 1,
) -> None:
    """Train by masked answers."""
    if recipe not in RECIPES:
        raise typer.BadParameter(f"There is no recipe {recipe}; there are {', '.join(RECIPES)}.")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    chosen = RECIPES[recipe] if steps is None else TERecipe(**RECIPES[recipe].__dict__ | {"steps": steps})
    if start == BEGIN:
        model, tokenizer = small_model()
    else:
        model = MedVInTTEForMaskedLM.from_pretrained(start, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(start)
    model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
    trainer = TETrainer(chosen, model, tokenizer, {name: TRAIN[name](data) for name in chosen.sets}, seed)
    trainer.resume(out / "checkpoint.pt")
    numbers = sum(p.numel() for p in trainer.trained.values())
    typer.echo(f"{numbers / 1e6:.1f}M trained parameters, {len(trainer.questions)} images, {trainer.steps} steps")
    log = checkpoint.Log(out / "log.jsonl", trainer.done, trainer.steps)
    losses: list[float] = []
    while trainer.done < trainer.steps:
        losses.append(trainer.step())
        if trainer.done % 20 == 0 or trainer.done == trainer.steps:
            measured: dict[str, Any] = {}
            if trainer.done == trainer.steps // 40 * 20:
                measured = {name: trainer.exact_match(VALIDATE[name](data)) for name in chosen.validate}
            log.write(trainer.done, loss=sum(losses) / len(losses), **measured)
            losses.clear()
        if trainer.done % 50 == 0 or trainer.done == trainer.steps:
            trainer.save(out / "checkpoint.pt")
    trainer.export(out / "model")
    for name in chosen.validate:
        rows = VALIDATE[name](data)
        said = {name: trainer.exact_match(rows), f"{name}_blank": trainer.exact_match(rows, blank=True)}
        log.write(trainer.done, **said)


if __name__ == "__main__":
    typer.run(main)
