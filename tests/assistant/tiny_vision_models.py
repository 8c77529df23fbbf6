"""Tiny random models of other makers' architectures, each with its own tokenizer, processor and chat template.

python -m tests.assistant.tiny_vision_models qwen2_5_vl OUT
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = (
    "<pad>", "<s>", "</s>", "<image>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<end_of_utterance>",
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
    "<fake_token_around_image>", "<global-img>", *(f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)),
    "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>",
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


def llava(folder: Path) -> Path:
    """LLaVA-1.5 on Mistral, as LLaVA-Med has it: one size of image, 16 tokens."""
    words = tokenizer(image_token="<image>")
    ids = {token: words.convert_tokens_to_ids(token) for token in SPECIAL}
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(
            hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=56,
            patch_size=14, projection_dim=64,
        ),
        text_config=hf.MistralConfig(vocab_size=len(words), sliding_window=None, **TEXT),
        image_token_index=ids["<image>"], vision_feature_layer=-1, image_seq_length=16,
    )  # fmt: skip
    processor = hf.LlavaProcessor(
        hf.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}), words,
        patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=template(
            "'[INST] ' if message['role'] == 'user' else ''", "' [/INST]' if message['role'] == 'user' else '</s>'",
            "''", "<image>\\n",
        ),
    )  # fmt: skip
    return save(folder, hf.LlavaForConditionalGeneration(config), processor)


def qwen2_5_vl(folder: Path) -> Path:
    """Qwen2.5-VL, as Lingshu has it: a token for every 28 x 28 pixels."""
    words = tokenizer(eos="<|im_end|>", image_token="<|image_pad|>", video_token="<|video_pad|>")
    ids = {token: words.convert_tokens_to_ids(token) for token in SPECIAL}
    config = hf.Qwen2_5_VLConfig(
        vision_config={
            "depth": 2, "hidden_size": 64, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
            "fullatt_block_indexes": [1], "window_size": 56, "patch_size": 14,
        },
        text_config={
            "vocab_size": len(words), **TEXT,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    processor = hf.Qwen2_5_VLProcessor(
        hf.Qwen2VLImageProcessor(), words, hf.Qwen2VLVideoProcessor(),
        chat_template=template(
            "'<|im_start|>' ~ message['role'] ~ '\\n'", "'<|im_end|>\\n'", "'<|im_start|>assistant\\n'",
            "<|vision_start|><|image_pad|><|vision_end|>",
        ),
    )  # fmt: skip
    return save(folder, hf.Qwen2_5_VLForConditionalGeneration(config), processor)


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


def gemma3(folder: Path) -> Path:
    """Gemma 3, as MedGemma has it: SigLIP, 16 tokens an image, sliding window."""
    extra = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    words = tokenizer(eos="<end_of_turn>", extra_special_tokens=extra)
    ids = {token: words.convert_tokens_to_ids(token) for token in SPECIAL}
    config = hf.Gemma3Config(
        vision_config={
            "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 56, "patch_size": 7, "vision_use_head": False,
        },
        text_config={"vocab_size": len(words), **TEXT, "query_pre_attn_scalar": 32, "sliding_window": 512},
        mm_tokens_per_image=16, boi_token_index=ids["<start_of_image>"], eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
    )  # fmt: skip
    processor = hf.Gemma3Processor(
        hf.Gemma3ImageProcessor(size={"height": 56, "width": 56}), words, image_seq_length=16,
        chat_template=template(
            "'<start_of_turn>' ~ ('model' if message['role'] == 'assistant' else 'user') ~ '\\n'", "'<end_of_turn>\\n'",
            "'<start_of_turn>model\\n'", "<start_of_image>",
        ),
    )  # fmt: skip
    return save(folder, hf.Gemma3ForConditionalGeneration(config), processor)


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


MAKERS: dict[str, Callable[[Path], Path]] = {
    make.__name__: make for make in (llava, qwen2_5_vl, idefics3, gemma3, mistral)
}

if __name__ == "__main__":
    print(MAKERS[sys.argv[1]](Path(sys.argv[2])))
