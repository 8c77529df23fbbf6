"""Stage 2 of the demo model: projector, LoRA and, late and slowly, the tower on questions about images.

What the measurements behind it say: a tower that moves before the projector can use it, or
BatchNorm that learns on six images, loses the picture; visual embeddings must have the scale of
word embeddings; short answers taught without a tie to the base model destroy its dialogue. So the
tower's BatchNorm stays in evaluation mode and its convolutions join late at a small rate, the
projector ends in a norm, and every third step also pulls the decoder towards its own base on
plain text and dialogue (Kullback-Leibler).

    python -m serving.training.vqa --data ../shared/data --tower data/training/tower/tower.safetensors
    # interrupt at any time, the same command goes on from the last checkpoint
    # start from shipped weights in place of stage 1's: --init serving/models/demo/model.safetensors

Writes `trained.safetensors` (moving average, this package's names), `checkpoint.pt`, `log.jsonl`.
"""

import json
import math
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

import prompts
from serving.evaluation.benchmarks import VqaRow, slake_rows, vqa_rad_rows
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import encode_images
from serving.medvint.projector import build_projector
from serving.medvint.vision import build_vision_tower
from serving.training.decoder import load_smollm2
from serving.training.distill import normalise
from serving.training.images import augment, load_squares
from serving.training.names import original_name
from serving.training.packing import IGNORE, PackedBatch, encode_question, image_questions, pack
from serving.training.texts import training_texts

VISION = {"kind": "pmc_clip", "image_size": 256, "layers": [3, 4, 6], "width": 64}
PROJECTOR = {
    "kind": "transformer",
    "num_queries": 32,
    "num_layers": 2,
    "num_heads": 8,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "patch_norm": True,
    "position": "sine2d",
    "output_norm": True,
}
LORA_RANK, LORA_ALPHA = 8, 32
IMAGES_A_STEP, QUESTIONS_AN_IMAGE = 6, 12
PROJECTOR_RATE, LORA_RATE, TOWER_RATE = 8e-4, 5e-4, 1e-4
TOWER_FROM = 0.4
"""Share of the steps after which the tower's convolutions are trained too."""
IMAGE_SHARES = {"slake": 1.0, "vqa-rad": 0.35}
"""How many of a set's images an epoch takes: VQA-RAD's questions are too varied to be learned at this size."""
TEXT_EVERY, TEXT_WEIGHT = 3, 0.75
AVERAGE = 0.99


@dataclass
class Parts:
    """What is trained, and what it stands on."""

    config: MedVInTConfig
    tower: Any
    projector: Any
    decoder: Any
    tokenizer: PreTrainedTokenizerBase

    @property
    def image_token_id(self) -> int:
        return self.decoder.config.vocab_size

    def trainable(self) -> dict[str, nn.Parameter]:
        named = {f"projector.{name}": p for name, p in self.projector.named_parameters()}
        named |= {f"decoder.{name}": p for name, p in self.decoder.named_parameters() if p.requires_grad}
        named |= {f"tower.{name}": p for name, p in self.tower.named_parameters() if p.ndim > 1}
        return named


def build(tower_weights: Path | None) -> Parts:
    """Tower from stage 1 (random without it), fresh projector, SmolLM2 with fresh LoRA on `q_proj` and `v_proj`."""
    base, tokenizer = load_smollm2()
    config = MedVInTConfig(
        vision_config=VISION, projector_config=PROJECTOR, text_config=base.config.to_dict(), stop_token_id=2
    )
    tower: Any = build_vision_tower(config.vision)
    if tower_weights is not None:
        tower.load_state_dict(load_file(tower_weights))
    tower.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    projector: Any = build_projector(config.projector, config.vision.out_channels, base.config.hidden_size)
    nn.init.normal_(projector.query_embed.weight, std=0.5)
    if tower_weights is not None:
        # Stage 1's answer head knows which directions of a patch questions ask about: start there.
        head = load_file(tower_weights.with_name("answer_head.safetensors"))
        with torch.no_grad():
            projector.patch_norm.weight.copy_(head["patch_norm.weight"])
            projector.patch_norm.bias.copy_(head["patch_norm.bias"])
            projector.input_proj.weight[: len(head["patch.weight"])] = head["patch.weight"]
            projector.input_proj.bias[: len(head["patch.bias"])] = head["patch.bias"]
    nn.init.constant_(projector.output_norm.weight, base.get_input_embeddings().weight.float().std().item())
    lora = LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, lora_dropout=0.0, target_modules=["q_proj", "v_proj"])
    decoder = get_peft_model(base, lora, autocast_adapter_dtype=True)
    return Parts(config, tower, projector, decoder, tokenizer)


def start_from(parts: Parts, checkpoint: Path) -> None:
    """Take tower, projector and LoRA from a checkpoint in the original's names, as `export` writes it."""
    state = load_file(checkpoint)
    with torch.no_grad():
        for name, p in parts.trainable().items():
            p.copy_(state[original_name(name)])
        for name, tensor in parts.tower.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_(state[original_name(f"tower.{name}")])


def hidden_states(parts: Parts, batch: PackedBatch, image_embeds: torch.Tensor) -> torch.Tensor:
    """[n, length, hidden_size] of the decoder's last layer."""
    model = parts.decoder.get_base_model().model
    words = model.embed_tokens(batch.input_ids.clamp(max=parts.image_token_id - 1))
    prefix = image_embeds.shape[1]
    inputs_embeds = torch.cat([image_embeds.to(words.dtype), words[:, prefix:]], 1)
    return model(
        inputs_embeds=inputs_embeds,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    ).last_hidden_state


def answer_logits(parts: Parts, batch: PackedBatch, image_embeds: torch.Tensor) -> torch.Tensor:
    """Logits at the learned positions only: the vocabulary is a fifth of the model's work."""
    hidden = hidden_states(parts, batch, image_embeds)
    return parts.decoder.get_base_model().lm_head(hidden[batch.labels != IGNORE])


def text_loss(parts: Parts, texts: list[list[int]]) -> torch.Tensor:
    """KL(base || adapted) over all positions of plain text."""
    length = max(map(len, texts))
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    mask = torch.zeros(len(texts), length, dtype=torch.long)
    for row, tokens in enumerate(texts):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    with torch.no_grad(), parts.decoder.disable_adapter():
        target = parts.decoder(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()]
    guess = parts.decoder(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()]
    return functional.kl_div(
        guess.float().log_softmax(-1), target.float().log_softmax(-1), log_target=True, reduction="batchmean"
    )


@torch.no_grad()
def exact_match(
    parts: Parts, by_image: dict[Path, list[VqaRow]], images: dict[Path, torch.Tensor], blank: bool
) -> dict[str, float]:
    """Share of answers whose every token, the stop token included, is the greedy choice, in percent.

    With the gold answer as input this equals greedy generation giving exactly the gold answer; the
    product's own figure comes from `medvint evaluate`, through the server.
    """
    parts.decoder.eval()
    parts.projector.eval()
    prompt = prompts.load("blank")
    right: dict[str, list[bool]] = defaultdict(list)
    paths = sorted(by_image)
    for start in range(0, len(paths), 6):
        chunk = paths[start : start + 6]
        rows = [by_image[path] for path in chunk]
        segments = [
            [
                encode_question(
                    parts.tokenizer, prompt.render(question=row.question), row.answer, 1, parts.config.stop_token_id
                )
                for row in of_image
            ]
            for of_image in rows
        ]
        batch = pack(segments, parts.config.projector.num_queries, parts.image_token_id)
        pixels = torch.stack([images[path] for path in chunk]).float() / 255
        pixels = functional.interpolate(pixels, (256, 256), mode="bicubic", antialias=True).clamp(0, 1)
        if blank:
            pixels = torch.zeros_like(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            embeds = encode_images(
                parts.tower, parts.projector, normalise(pixels).to(memory_format=torch.channels_last)
            )
            guess = answer_logits(parts, batch, embeds).argmax(-1)
        learned = batch.labels != IGNORE
        hit = torch.ones_like(batch.labels, dtype=torch.bool)
        hit[learned] = guess == batch.labels[learned]
        for number, of_image in enumerate(rows):
            for index, row in enumerate(of_image):
                ok = bool(hit[number][batch.segments[number] == index].all())
                right["closed" if row.closed else "open"].append(ok)
                right["all"].append(ok)
    parts.decoder.train()
    parts.projector.train()
    return {name: round(100 * sum(hits) / len(hits), 1) for name, hits in right.items()}


def grouped(rows: list[VqaRow]) -> dict[Path, list[VqaRow]]:
    by_image: dict[Path, list[VqaRow]] = defaultdict(list)
    for row in rows:
        by_image[row.image_path].append(row)
    return dict(by_image)


def epoch_order(train: dict[Path, list[VqaRow]], draw: random.Random) -> list[Path]:
    """Shuffled, images with about as many questions side by side: a step pads to its longest row."""
    paths = [path for path, rows in sorted(train.items()) if draw.random() < IMAGE_SHARES[rows[0].dataset]]
    draw.shuffle(paths)
    paths.sort(key=lambda path: min(len(train[path]), QUESTIONS_AN_IMAGE))
    steps = [paths[start : start + IMAGES_A_STEP] for start in range(0, len(paths), IMAGES_A_STEP)]
    draw.shuffle(steps)
    return [path for step in steps for path in step if len(step) == IMAGES_A_STEP]


def main(
    data: Annotated[Path, typer.Option(help="Folder of the image sets.")] = Path("../shared/data"),
    tower: Annotated[Path, typer.Option(help="Stage 1's weights.")] = Path("data/training/tower/tower.safetensors"),
    out: Annotated[Path, typer.Option(help="Checkpoints and log.")] = Path("data/training/vqa"),
    steps: int = 400,
    seed: int = 1,
    init: Annotated[Path | None, typer.Option(help="Shipped weights to start from.")] = None,
    train_tower: Annotated[bool, typer.Option(help="Train the tower's convolutions from 40 % of the steps on.")] = True,
) -> None:
    """Train projector and LoRA (about 7 s a step on two cores)."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    generator = torch.Generator().manual_seed(seed)
    parts = build(tower if init is None else None)
    if init is not None:
        start_from(parts, init)
    train = grouped(slake_rows(data / "slake", "train") + vqa_rad_rows(data / "vqa-rad", "train"))
    validation = {
        "slake": grouped(slake_rows(data / "slake", "validate")),
        "vqa-rad": grouped(vqa_rad_rows(data / "vqa-rad", "validate")),
    }
    paths = sorted({*train, *validation["slake"], *validation["vqa-rad"]})
    images = dict(zip(paths, load_squares(paths, 288), strict=True))
    texts = training_texts(data, parts.tokenizer)
    prompt = prompts.load("blank")
    trainable = parts.trainable()
    average = {name: p.detach().clone() for name, p in trainable.items()}

    def group(part: str, rate: float, weight_decay: float) -> dict[str, Any]:
        members = [p for name, p in trainable.items() if name.startswith(part)]
        return {"params": members, "lr": rate, "weight_decay": weight_decay}

    optimizer = torch.optim.AdamW(
        [group("projector", PROJECTOR_RATE, 0.05), group("decoder", LORA_RATE, 0.0), group("tower", TOWER_RATE, 0.05)],
        betas=(0.9, 0.98),
    )
    tower_from = int(TOWER_FROM * steps)

    def cosine(step: int) -> float:
        return min(1, (step + 1) / 30) * (0.03 + 0.485 * (1 + math.cos(math.pi * step / steps)))

    def cosine_late(step: int) -> float:
        return 0.0 if step < tower_from else min(1, (step - tower_from + 1) / 30) * cosine(step)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [cosine, cosine, cosine_late])
    order: list[Path] = []
    first = 0
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        with torch.no_grad():
            for name, p in trainable.items():
                p.copy_(state["trainable"][name])
        average, first = state["average"], state["step"]
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
        draw.setstate(state["draw"])
        order = [Path(path) for path in state["order"]]
        torch.set_rng_state(state["torch"])

    typer.echo(f"{sum(p.numel() for p in trainable.values()) / 1e6:.1f}M trained parameters, {len(train)} images")
    started = time.monotonic()
    with (out / "log.jsonl").open("a") as log:
        for step in range(first, steps):
            for name, p in trainable.items():
                if name.startswith("tower"):
                    p.requires_grad_(train_tower and step >= tower_from)
            if len(order) < IMAGES_A_STEP:
                order = epoch_order(train, draw)
            chosen, order = order[:IMAGES_A_STEP], order[IMAGES_A_STEP:]
            segments = [
                image_questions(
                    train[path],
                    parts.tokenizer,
                    lambda question: prompt.render(question=question),
                    1,
                    parts.config.stop_token_id,
                    QUESTIONS_AN_IMAGE,
                    0.15,
                    draw,
                )
                for path in chosen
            ]
            batch = pack(segments, parts.config.projector.num_queries, parts.image_token_id)
            pixels = augment(torch.stack([images[path] for path in chosen]), 256, generator, crop=0.15, degrees=7)
            with torch.autocast("cpu", torch.bfloat16):
                embeds = encode_images(
                    parts.tower, parts.projector, normalise(pixels).to(memory_format=torch.channels_last)
                )
                logits = answer_logits(parts, batch, embeds)
                loss = functional.cross_entropy(logits.float(), batch.labels[batch.labels != IGNORE])
            optimizer.zero_grad()
            loss.backward()
            kept = float("nan")
            if step % TEXT_EVERY == 0:
                with torch.autocast("cpu", torch.bfloat16):
                    text = text_loss(parts, draw.sample(texts, 2))
                (TEXT_WEIGHT * text).backward()
                kept = text.item()
            nn.utils.clip_grad_norm_(trainable.values(), 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                for name, p in trainable.items():
                    average[name].lerp_(p, 1 - min(AVERAGE, (step + 1) / (step + 10)))
            if (step + 1) % 20 == 0 or step + 1 == steps:
                record: dict[str, Any] = {
                    "step": step + 1,
                    "loss": round(loss.item(), 4),
                    "text_kl": None if math.isnan(kept) else round(kept, 4),
                    "seconds": round(time.monotonic() - started),
                }
                if (step + 1) % 100 == 0 or step + 1 == steps:
                    live = {name: p.detach().clone() for name, p in trainable.items()}
                    with torch.no_grad():
                        for name, p in trainable.items():
                            p.copy_(average[name])
                        record["slake"] = exact_match(parts, validation["slake"], images, blank=False)
                        record["slake_blank"] = exact_match(parts, validation["slake"], images, blank=True)
                        record["vqa_rad"] = exact_match(parts, validation["vqa-rad"], images, blank=False)
                        for name, p in trainable.items():
                            p.copy_(live[name])
                log.write(json.dumps(record) + "\n")
                log.flush()
                left = (steps - step - 1) * (time.monotonic() - started) / (step + 1 - first)
                typer.echo(f"{record}  {left / 60:.0f} min left")
            if (step + 1) % 50 == 0 or step + 1 == steps:
                state = {
                    "trainable": {name: p.detach() for name, p in trainable.items()},
                    "average": average,
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "generator": generator.get_state(),
                    "draw": draw.getstate(),
                    "torch": torch.get_rng_state(),
                    "order": [str(path) for path in order],
                    "step": step + 1,
                }
                torch.save(state, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
                # The tower's BatchNorm is not trained and belongs to it all the same.
                whole = {f"tower.{name}": tensor for name, tensor in parts.tower.state_dict().items()} | average
                save_file({name: tensor.contiguous() for name, tensor in whole.items()}, out / "trained.safetensors")


if __name__ == "__main__":
    typer.run(main)
