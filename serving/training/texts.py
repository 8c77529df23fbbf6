"""Plain text and dialogue that the decoder must not forget, for the Kullback-Leibler term.

Captions of openly licensed ROCO figures and OpenStax captions with their descriptions (both
CC BY), half of them as they are, half as a question and answer in the decoder's chat form.
"""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerBase

OPEN_LICENCES = ("CC BY", "CC0", "CC BY-SA")


def roco_captions(folder: Path) -> list[str]:
    """Openly licensed captions of one ROCO folder, such as `validation/radiology`."""
    licences = {}
    for line in (folder / "licences.txt").read_text(encoding="utf-8").splitlines()[1:]:
        figure, _, rest = line.partition(",")
        licences[figure] = rest.rpartition(",")[2].strip()
    captions = []
    for line in (folder / "captions.txt").read_text(encoding="utf-8").splitlines():
        figure, _, caption = line.partition("\t")
        if licences.get(figure) in OPEN_LICENCES and len(caption.split()) >= 8:
            captions.append(caption.strip())
    return captions


def training_texts(data: Path, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token sequences, at most 256 tokens each. ROCO's test folders stay out: they measure."""
    captions = roco_captions(data / "roco-captions/validation/radiology")
    captions += roco_captions(data / "roco-captions/train/non-radiology")
    plain = [tokenizer.encode(caption, add_special_tokens=False) for caption in captions]
    chats = []
    with (data / "openstax/rows.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            title, answer = row.get("title") or "this figure", row["alt"] or row["caption"]
            plain.append(tokenizer.encode(row["caption"], add_special_tokens=False))
            messages = [
                {"role": "user", "content": f"What can you tell me about {title}?"},
                {"role": "assistant", "content": row["caption"]},
                {"role": "user", "content": "Describe it."},
                {"role": "assistant", "content": answer},
            ]
            chats.append(tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False)))
    # Chats are fewer than captions: repeat them so that each form is about half.
    chats *= max(1, len(plain) // len(chats))
    return [tokens[:256] for tokens in plain + chats if len(tokens) >= 8]
