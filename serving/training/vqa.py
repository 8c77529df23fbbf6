"""Stage 3 of the demo model: SmolLM2 learns to read the visual embeddings, LoRA on `q_proj` and `v_proj`.

What the measurements behind it say: visual embeddings must have the scale of word embeddings, and
must hold the answers before the decoder looks at them (stage 2 sees to both); short answers taught
without a tie to the base model destroy its dialogue. So the tower rests, the projector goes on at
a small rate, and every fourth step also pulls the decoder towards its own base on plain text and
dialogue (Kullback-Leibler).

    python -m serving.training.vqa --data ../shared/data --looking data/training/projector/looking.safetensors
    # interrupt at any time, the same command goes on from the last checkpoint

Writes `trained.safetensors` (moving average, this package's names), `checkpoint.pt`, `log.jsonl`.
"""

import math
import random
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
from serving.training import checkpoint
from serving.training.decoder import load_smollm2
from serving.training.distill import normalise
from serving.training.images import augment, load_squares
from serving.training.label_questions import label_rows
from serving.training.packing import IGNORE, PackedBatch, encode_question, image_questions, pack
from serving.training.projector import PROJECTOR, VISION
from serving.training.texts import training_texts

LORA_RANK, LORA_ALPHA = 8, 32
IMAGES_A_STEP, QUESTIONS_AN_IMAGE = 6, 12
PROJECTOR_RATE, LORA_RATE = 3e-4, 1e-3
IMAGE_SHARES = {"slake": 1.0, "vqa-rad": 0.5}
"""How many of a set's images an epoch takes: VQA-RAD's questions are too varied to be learned at this size."""
LABEL_SHARE, LABEL_QUESTIONS = 0.015, 4
"""The same for the sets whose questions are made from labels, and how many questions each image brings."""
TEXT_EVERY, TEXT_WEIGHT = 4, 0.75
AVERAGE = 0.98


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
        return named


def build(looking: Path | None) -> Parts:
    """Tower and projector of stage 2 (random without it), SmolLM2 with fresh LoRA."""
    base, tokenizer = load_smollm2()
    config = MedVInTConfig(
        vision_config=VISION, projector_config=PROJECTOR, text_config=base.config.to_dict(), stop_token_id=2
    )
    tower: Any = build_vision_tower(config.vision)
    projector: Any = build_projector(config.projector, config.vision.out_channels, base.config.hidden_size)
    word_scale = base.get_input_embeddings().weight.float().std().item()
    if looking is None:
        nn.init.constant_(projector.output_norm.weight, word_scale)
    else:
        state = load_file(looking)
        for part, module in (("tower.", tower), ("projector.", projector)):
            module.load_state_dict({k.removeprefix(part): v for k, v in state.items() if k.startswith(part)})
        # Stage 2's reader wants embeddings of scale one; the decoder's words are smaller.
        with torch.no_grad():
            projector.output_norm.weight.mul_(word_scale)
            projector.output_norm.bias.mul_(word_scale)
    tower.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    lora = LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, lora_dropout=0.0, target_modules=["q_proj", "v_proj"])
    decoder = get_peft_model(base, lora, autocast_adapter_dtype=True)
    return Parts(config, tower, projector, decoder, tokenizer)


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
    paths = [
        path for path, rows in sorted(train.items()) if draw.random() < IMAGE_SHARES.get(rows[0].dataset, LABEL_SHARE)
    ]
    draw.shuffle(paths)
    paths.sort(key=lambda path: questions_of(train[path]))
    steps = [paths[start : start + IMAGES_A_STEP] for start in range(0, len(paths), IMAGES_A_STEP)]
    draw.shuffle(steps)
    return [path for step in steps for path in step if len(step) == IMAGES_A_STEP]


def questions_of(rows: list[VqaRow]) -> int:
    """How many questions of an image one step asks."""
    return min(len(rows), QUESTIONS_AN_IMAGE if rows[0].dataset in IMAGE_SHARES else LABEL_QUESTIONS)


def main(
    data: Annotated[Path, typer.Option(help="Folder of the image sets.")] = Path("../shared/data"),
    looking: Annotated[Path, typer.Option(help="Stage 2's weights.")] = Path(
        "data/training/projector/looking.safetensors"
    ),
    out: Annotated[Path, typer.Option(help="Checkpoints and log.")] = Path("data/training/vqa"),
    steps: int = 380,
    seed: int = 1,
) -> None:
    """Train LoRA and projector (about 6 s a step on two cores)."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    generator = torch.Generator().manual_seed(seed)
    parts = build(looking)
    train = grouped(
        [
            *slake_rows(data / "slake", "train"),
            *vqa_rad_rows(data / "vqa-rad", "train"),
            *label_rows(data, held_out=False),
        ]
    )
    validation = {
        "slake": grouped(slake_rows(data / "slake", "validate")),
        "vqa_rad": grouped(vqa_rad_rows(data / "vqa-rad", "validate")),
    }
    held_out = sorted({path for rows in validation.values() for path in rows})
    images = dict(zip(held_out, load_squares(held_out, 288), strict=True))
    texts = training_texts(data, parts.tokenizer)
    prompt = prompts.load("blank")
    trainable = parts.trainable()
    average = {name: p.detach().clone() for name, p in trainable.items()}

    def group(part: str, rate: float, weight_decay: float) -> dict[str, Any]:
        members = [p for name, p in trainable.items() if name.startswith(part)]
        return {"params": members, "lr": rate, "weight_decay": weight_decay}

    optimizer = torch.optim.AdamW([group("projector", PROJECTOR_RATE, 0.05), group("decoder", LORA_RATE, 0.0)])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 30) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
    )
    order: list[Path] = []
    first = 0
    if state := checkpoint.load(out / "checkpoint.pt"):
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
    log = checkpoint.Log(out / "log.jsonl", first, steps)
    for step in range(first, steps):
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
                questions_of(train[path]),
                0.15,
                draw,
            )
            for path in chosen
        ]
        batch = pack(segments, parts.config.projector.num_queries, parts.image_token_id)
        pixels = augment(load_squares(chosen, 288), 256, generator, crop=0.15, degrees=7)
        with torch.autocast("cpu", torch.bfloat16):
            embeds = encode_images(
                parts.tower, parts.projector, normalise(pixels).to(memory_format=torch.channels_last)
            )
            logits = answer_logits(parts, batch, embeds)
            loss = functional.cross_entropy(logits.float(), batch.labels[batch.labels != IGNORE])
        optimizer.zero_grad()
        loss.backward()
        text = None
        if step % TEXT_EVERY == 0:
            with torch.autocast("cpu", torch.bfloat16):
                text = text_loss(parts, draw.sample(texts, 2))
            (TEXT_WEIGHT * text).backward()
        nn.utils.clip_grad_norm_(trainable.values(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for name, p in trainable.items():
                average[name].lerp_(p, 1 - min(AVERAGE, (step + 1) / (step + 10)))
        done = step + 1
        if done % 20 == 0 or done == steps:
            measured: dict[str, Any] = {}
            # Half-way and at the end: each takes as long as thirty steps.
            if done in (steps // 40 * 20, steps):
                live = {name: p.detach().clone() for name, p in trainable.items()}
                with torch.no_grad():
                    for name, p in trainable.items():
                        p.copy_(average[name])
                    measured = {
                        name: exact_match(parts, rows, images, blank=False) for name, rows in validation.items()
                    }
                    measured["slake_blank"] = exact_match(parts, validation["slake"], images, blank=True)
                    for name, p in trainable.items():
                        p.copy_(live[name])
            log.write(done, loss=loss.item(), text_kl=text.item() if text is not None else None, **measured)
        if done % 50 == 0 or done == steps:
            checkpoint.save(
                out / "checkpoint.pt",
                {
                    "trainable": {name: p.detach() for name, p in trainable.items()},
                    "average": average,
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "generator": generator.get_state(),
                    "draw": draw.getstate(),
                    "torch": torch.get_rng_state(),
                    "order": [str(path) for path in order],
                    "step": done,
                },
            )
            # The tower rests, and belongs to the result all the same.
            whole = {f"tower.{name}": tensor for name, tensor in parts.tower.state_dict().items()} | average
            save_file({name: tensor.contiguous() for name, tensor in whole.items()}, out / "trained.safetensors")


if __name__ == "__main__":
    typer.run(main)
