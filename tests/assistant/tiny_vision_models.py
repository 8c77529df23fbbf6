"""Tiny random models of other makers' architectures, each with its own tokenizer, processor and chat template.

python -m tests.assistant.tiny_vision_models idefics3 OUT
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = (
    "<pad>", "<s>", "</s>", "<image>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<end_of_utterance>",
    "<fake_token_around_image>", "<global-img>", *(f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)),
)  # fmt: skip
CONTEXT = 1024
# vLLM's attention on a CPU knows heads of 32 and more.
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": False,
}
# The forms in which the makers' own templates write a turn; roles that do not alternate are refused, as by theirs.
CHAT = """{%- for message in messages -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('Roles must alternate.') }}{%- endif -%}
{{ START }}
{%- if message['content'] is string -%}{{ message['content'] }}{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{ 'IMAGE' }}{%- else -%}{{ part['text'] }}{%- endif -%}
{%- endfor -%}{%- endif -%}{{ END }}
{%- endfor -%}{%- if add_generation_prompt -%}{{ ANSWER }}{%- endif -%}"""


def template(start: str, end: str, answer: str, image: str) -> str:
    """A chat template; `start`, `end` and `answer` are Jinja expressions, `image` is text."""
    return CHAT.replace("START", start).replace("END", end).replace("ANSWER", answer).replace("IMAGE", image)


def tokenizer(kind: type = hf.PreTrainedTokenizerFast, *, eos: str = "</s>", **values: object):
    """A byte-level tokenizer that knows every special token of the architectures here."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator([], trainers.BpeTrainer(special_tokens=list(SPECIAL), initial_alphabet=alphabet))
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token=eos, pad_token="<pad>",
        additional_special_tokens=list(SPECIAL[3:]), model_max_length=CONTEXT, **values,
    )  # fmt: skip


def save(folder: Path, model, processor, seed: int = 0) -> Path:
    """Random weights that are loud enough for two images to give two answers."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            weight.data.normal_(0, 0.15, generator=generator)
        elif "norm" not in name and name.endswith("bias"):
            weight.data.zero_()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def idefics3(folder: Path) -> Path:
    """Idefics3, as the first SmolVLM has it: the image whole and in tiles."""
    words = tokenizer(eos="<end_of_utterance>")
    ids = {token: words.convert_tokens_to_ids(token) for token in SPECIAL}
    config = hf.Idefics3Config(
        vision_config={
            "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 56, "patch_size": 14,
        },
        text_config=hf.LlamaConfig(vocab_size=len(words), pad_token_id=ids["<pad>"], **TEXT),
        image_token_id=ids["<image>"], pad_token_id=ids["<pad>"], scale_factor=2,
    )  # fmt: skip
    processor = hf.Idefics3Processor(
        hf.Idefics3ImageProcessor(size={"longest_edge": 112}, max_image_size={"longest_edge": 56}), words,
        image_seq_len=4,
        chat_template=template(
            "'<|im_start|>' ~ message['role'] | capitalize ~ ':'", "'<end_of_utterance>\\n'", "'Assistant:'", "<image>"
        ),
    )  # fmt: skip
    return save(folder, hf.Idefics3ForConditionalGeneration(config), processor)


def blip2(folder: Path) -> Path:
    """BLIP-2: a query transformer between a vision transformer and OPT, 8 tokens for its one image."""
    words = tokenizer()
    processor = hf.Blip2Processor(hf.BlipImageProcessor(size={"height": 56, "width": 56}), words, num_query_tokens=8)
    words.chat_template = template("message['role'] ~ ': '", "'</s>'", "'Answer:'", "")
    small = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = hf.Blip2Config(
        vision_config=small | {"image_size": 56, "patch_size": 14},
        qformer_config=small | {"encoder_hidden_size": 64, "vocab_size": len(words)},
        text_config={
            "model_type": "opt", "hidden_size": 64, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "word_embed_proj_dim": 64, "max_position_embeddings": CONTEXT, "vocab_size": len(words),
            "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        },
        num_query_tokens=8, image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    return save(folder, hf.Blip2ForConditionalGeneration(config), processor)


def mistral(folder: Path) -> Path:
    """A model that reads text only."""
    words = tokenizer()
    words.chat_template = template(
        "'[INST] ' if message['role'] == 'user' else ''",
        "' [/INST]' if message['role'] == 'user' else '</s>'",
        "''",
        "",
    )
    config = hf.MistralConfig(vocab_size=len(words), sliding_window=None, **TEXT)
    return save(folder, hf.MistralForCausalLM(config), words)


MAKERS: dict[str, Callable[[Path], Path]] = {make.__name__: make for make in (idefics3, blip2, mistral)}

if __name__ == "__main__":
    print(MAKERS[sys.argv[1]](Path(sys.argv[2])))
