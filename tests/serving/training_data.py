"""Every data set of the recipes in its own layout, with a handful of small random pictures, and tiny backbones."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from serving.medvint.vision import PmcClipTower
from tests.serving import variants
from tests.serving.random_checkpoints import random_tensor

LLAMA = {
    "vocab_size": 32000, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
VISION = {"kind": "pmc_clip", "image_size": 64, "layers": [1, 1, 1], "width": 8}
QUERIES = {"kind": "transformer", "num_queries": 4, "num_layers": 1, "num_heads": 4, "intermediate_size": 64}
ANSWERS = ("liver", "lung", "brain", "kidney", "spleen", "heart", "bone", "skin")


def picture(path: Path, number: int) -> str:
    """A coarse random picture; gives its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.Generator(np.random.PCG64(number)).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((72, 64), Image.Resampling.NEAREST).save(path)
    return path.name


def names(kind: str, wanted: dict[bool, int], held_out) -> list[str]:
    """Names of which so many are held out and so many not, by the rule of their set."""
    found: dict[bool, list[str]] = {True: [], False: []}
    number = 0
    while any(len(found[side]) < count for side, count in wanted.items()):
        name = f"{kind}{number}"
        side = held_out(name)
        if len(found[side]) < wanted[side]:
            found[side].append(name)
        number += 1
    return found[False] + found[True]


def one_in(count: int, key: str) -> bool:
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % count == 0


def loud(part: str, module: nn.Module) -> dict[str, torch.Tensor]:
    """Random weights that keep the scale of what passes: with torch's own, no image would be told from another."""
    return {
        name: torch.zeros_like(tensor) if "num_batches" in name else random_tensor(f"{part}.{name}", tensor.shape)
        for name, tensor in module.state_dict().items()
    }


def llama(folder: Path) -> Path:
    """A LLaMA of two layers with a real tokenizer."""
    model = LlamaForCausalLM(LlamaConfig(**LLAMA))
    model.load_state_dict(loud("language_model", model))
    model.save_pretrained(folder)
    shutil.copy(variants.tokenizer_file(), folder / "tokenizer.model")
    return folder


def pmc_clip(file: Path) -> None:
    """PMC-CLIP's own file: the whole network, of which MedVInT takes the tower up to layer3."""
    tower = loud("vision_tower", PmcClipTower((*VISION["layers"], 1), VISION["width"]))
    state = {f"module.visual.{name}": tensor for name, tensor in tower.items()}
    state["module.visual.attnpool.c_proj.weight"] = state["module.text_encoder.weight"] = torch.zeros(2, 2)
    file.parent.mkdir(parents=True)
    torch.save({"epoch": 1, "state_dict": state}, file)


def own(folder: Path, images: int = 8) -> Path:
    """Four questions about each image; what is answered differs by image alone."""
    folder.mkdir(parents=True)
    with (folder / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "question", "answer"])
        for number in range(images):
            name = picture(folder / f"{number}.png", number)
            for place, question in enumerate(("What is this?", "Which organ?", "What is on the left?", "And below?")):
                rows.writerow([name, question, ANSWERS[(number + place) % len(ANSWERS)]])
    return folder


def write(data: Path) -> Path:
    """All sets and backbones under `data`."""
    llama(data / "PMC_LLAMA_7B")
    pmc_clip(data / "pmc-clip" / "checkpoint.pt")
    own(data / "own")
    _slake(data / "slake")
    _vqa_rad(data / "vqa-rad")
    _pmc(data)
    _labelled(data / "bccd")
    _texts(data)
    return data


def _slake(folder: Path) -> None:
    for split, numbers in (("train", range(4)), ("validate", range(4, 6))):
        rows = [
            {
                "qid": 10 * number + place, "img_name": picture(folder / "imgs" / f"x{number}.png", number),
                "question": question, "answer": answer, "q_lang": "en", "answer_type": kind,
                "content_type": "Organ", "modality": "CT",
            }
            for number in numbers
            for place, (question, answer, kind) in enumerate(
                (("Which organ?", ANSWERS[number % 2], "OPEN"), ("Is it healthy?", "Yes", "CLOSED"))
            )
        ]  # fmt: skip
        (folder / f"{split}.json").write_text(json.dumps(rows))


def _vqa_rad(folder: Path) -> None:
    rows = [
        {
            "qid": number, "image_name": picture(folder / "images" / f"{name}.png", number), "question": "Normal?",
            "answer": "no", "answer_type": "CLOSED", "question_type": "PRES", "image_organ": "CHEST",
        }
        for number, name in enumerate(
            names("synpic", {False: 3, True: 2}, lambda name: one_in(7, f"{name}.png"))
        )
    ]  # fmt: skip
    (folder / "train.json").write_text(json.dumps(rows))


def _pmc(data: Path) -> None:
    articles = names("PMC", {False: 4, True: 2}, lambda name: one_in(50, name))
    figures = [f"{article}_F1.png" for article in articles]
    for number, figure in enumerate(figures):
        picture(data / "pmc-oa" / "images" / figure, number)
        picture(data / "pmc-vqa" / "images" / figure, number)
    captions = [json.dumps({"image": figure, "caption": "CT of the liver."}) for figure in figures]
    (data / "pmc-oa" / "pmc_oa.jsonl").write_text("\n".join(captions) + "\n")
    with (data / "pmc-vqa" / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Figure_path", "Question", "Answer", *(f"Choice {c}" for c in "ABCD"), "Answer_label"])
        for figure in figures:
            rows.writerow([figure, "Which organ?", "liver", " A:lung ", " B:liver ", " C:RNA: two ", " D:bone ", "B"])


def _labelled(folder: Path) -> None:
    rows = [
        {"file": f"images/{picture(folder / 'images' / f'{name}.png', number)}", "labels": {"WBC": number % 2}}
        for number, name in enumerate(names("BloodImage_", {False: 3, True: 2}, lambda name: one_in(7, f"bccd/{name}")))
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def _texts(data: Path) -> None:
    caption = "An axial image of the upper abdomen shows the liver and the spleen."
    for part in ("validation/radiology", "train/non-radiology"):
        folder = data / "roco-captions" / part
        folder.mkdir(parents=True)
        (folder / "captions.txt").write_text(f"R1\t {caption}\nR2\t {caption}\n")
        (folder / "licences.txt").write_text("id,file,CC\nR1,a,CC BY\nR2,b,CC BY-NC\n")
    openstax = {"file": "images/a.png", "caption": caption, "alt": caption, "title": "The abdomen"}
    picture(data / "openstax" / "images" / "a.png", 1)
    (data / "openstax" / "rows.jsonl").write_text(json.dumps(openstax) + "\n")
