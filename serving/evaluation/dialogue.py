"""Has training on short answers destroyed the decoder's dialogue? Perplexity and ten fixed dialogues.

    python -m serving.evaluation.dialogue data/models/demo --data ../shared/data \\
        --out serving/models/demo/reports

Compares the model with the language model that it was built on, in one run. The captions are those
of ROCO's test folder, which no training stage reads.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from serving.decoders import open_decoder
from serving.demo import decoder_file
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.training.beginning import load_language_model
from serving.training.texts import roco_captions

DIALOGUES: list[list[str]] = json.loads((Path(__file__).parent / "dialogues.json").read_text())


@torch.no_grad()
def perplexity(model: Any, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> float:
    """exp of the mean negative log-likelihood of a token, over all tokens but each text's first."""
    loss, tokens = 0.0, 0
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)[:512]])
        count = ids.shape[1] - 1
        if count > 0:
            loss += model(input_ids=ids, labels=ids).loss.item() * count
            tokens += count
    return math.exp(loss / tokens)


@torch.no_grad()
def converse(model: Any, tokenizer: PreTrainedTokenizerBase, questions: list[str]) -> list[str]:
    """Greedy answers, each question seeing what was said before."""
    messages: list[dict[str, str]] = []
    answers = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
        stop = [tokenizer.convert_tokens_to_ids("<|im_end|>")]
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=80,
            do_sample=False,
            eos_token_id=stop,
            pad_token_id=stop[0],
        )
        answer = str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()
        messages.append({"role": "assistant", "content": answer})
        answers.append(answer)
    return answers


def main(
    model: Annotated[Path, typer.Argument(help="Assembled model folder.")],
    out: Annotated[Path, typer.Option(help="Folder for dialogue.json and dialogue.md.")],
    data: Annotated[Path, typer.Option(help="Folder of the image sets.")] = Path("../shared/data"),
    captions: Annotated[int, typer.Option(help="How many held-out captions.")] = 200,
) -> None:
    """Measure and write both reports."""
    ours = MedVInTForConditionalGeneration.from_pretrained(model, dtype=torch.bfloat16).language_model.eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    base = load_language_model(open_decoder(str(decoder_file())), torch.bfloat16).eval()
    texts = roco_captions(data / "roco-captions/test/radiology")[:captions]
    report: dict[str, Any] = {
        "texts": f"first {len(texts)} openly licensed captions of ROCO test/radiology",
        "perplexity": {
            "SmolLM2-135M-Instruct": perplexity(base, tokenizer, texts),
            "demo": perplexity(ours, tokenizer, texts),
        },
        "dialogues": [
            {
                "questions": asked,
                "SmolLM2-135M-Instruct": converse(base, tokenizer, asked),
                "demo": converse(ours, tokenizer, asked),
            }
            for asked in DIALOGUES
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "dialogue.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = [
        "# Dialogue without an image, beside the base model",
        "",
        f"Perplexity on the {report['texts']}: "
        + ", ".join(f"{name} {value:.1f}" for name, value in report["perplexity"].items()) + ".",
        "Greedy, at most 80 tokens an answer. Made by `python -m serving.evaluation.dialogue`.",
    ]  # fmt: skip
    for number, dialogue in enumerate(report["dialogues"], 1):
        lines += ["", f"## {number}"]
        for turn, question in enumerate(dialogue["questions"]):
            lines += ["", f"**{question}**", ""]
            lines += [
                f"- {name}: {' '.join(dialogue[name][turn].split())}" for name in ("SmolLM2-135M-Instruct", "demo")
            ]
    (out / "dialogue.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    typer.echo(lines[2])


if __name__ == "__main__":
    typer.run(main)
