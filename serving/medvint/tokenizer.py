"""LLaMA's tokenizer from SentencePiece's own file, with SentencePiece's own answers.

transformers 5.19 reads `tokenizer.model` in the order of its ids; SentencePiece merges in the order of its
scores. LLaMA's runs of spaces have low ids and the lowest score: two spaces before a "B" became
`▁▁`, `B` instead of `▁`, `▁B`, and every prompt with choices has such runs.

    load_sentencepiece(Path("PMC_LLAMA_7B/tokenizer.model"))("Question: a").input_ids
"""

from pathlib import Path

from sentencepiece import SentencePieceProcessor
from transformers import LlamaTokenizer
from transformers.tokenization_utils_base import generate_merges


def load_sentencepiece(file: Path) -> LlamaTokenizer:
    """The tokenizer of `file`, which puts `<s>` before a text and ends it with `</s>`.

    Raises:
        OSError: `file` is not there.
        RuntimeError: it is not SentencePiece's.
    """
    pieces = SentencePieceProcessor(str(file))
    ids = range(pieces.get_piece_size())
    names = [pieces.id_to_piece(i) for i in ids]
    # What text can never become, however it is written.
    apart = {names[i] for i in ids if pieces.is_control(i) or pieces.is_unknown(i) or pieces.is_byte(i)}
    vocabulary = {name: i for i, name in enumerate(names)}
    merges = generate_merges(vocabulary, {name: pieces.get_score(i) for i, name in enumerate(names)}, apart)
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return LlamaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=True, **special)
