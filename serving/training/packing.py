"""All questions of one image in one sequence behind its one visual prefix.

The questions cannot see each other (block-diagonal mask) and each starts at the position right
after the prefix, so that every question gives the same hidden states as it would alone.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from serving.evaluation.benchmarks import VqaRow

IGNORE = -100


@dataclass
class PackedBatch:
    """`input_ids`, `position_ids`, `labels` [n, length]; `attention_mask` bool [n, 1, length, length].

    The first `prefix` positions of every row are placeholders for the visual embeddings;
    `labels` are already shifted: what position i is to predict. `segments` maps each position to
    the number of its question within the row, -1 for prefix and padding.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    segments: torch.Tensor


@dataclass(frozen=True)
class Segment:
    """One question's tokens: `<s>`, prompt, answer, stop token; only the last two are learned."""

    tokens: list[int]
    learned_from: int


def encode_question(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    answer: str,
    bos_id: int,
    stop_id: int,
    dialogue: Sequence[tuple[str, str]] = (),
) -> Segment:
    """`prompt` is MedVInT's own form (`prompts/`); `dialogue` holds earlier (prompt, answer) pairs."""
    earlier = "".join(f"{asked}{said}\n" for asked, said in dialogue)
    before = [bos_id, *tokenizer.encode(earlier + prompt, add_special_tokens=False)]
    after = [*tokenizer.encode(answer, add_special_tokens=False), stop_id]
    return Segment(before + after, len(before))


def pack(rows: Sequence[Sequence[Segment]], prefix: int, image_token_id: int) -> PackedBatch:
    """One row an image, each a list of its questions."""
    length = max(prefix + sum(len(segment.tokens) for segment in row) for row in rows)
    count = len(rows)
    input_ids = torch.zeros(count, length, dtype=torch.long)
    position_ids = torch.zeros(count, length, dtype=torch.long)
    labels = torch.full((count, length), IGNORE)
    segments = torch.full((count, length), -1)
    # Number of the block that a position belongs to; 0 is the prefix, which all may see.
    block = torch.full((count, length), -1)
    for number, row in enumerate(rows):
        input_ids[number, :prefix] = image_token_id
        position_ids[number, :prefix] = torch.arange(prefix)
        block[number, :prefix] = 0
        start = prefix
        for index, segment in enumerate(row):
            end = start + len(segment.tokens)
            input_ids[number, start:end] = torch.tensor(segment.tokens)
            position_ids[number, start:end] = torch.arange(prefix, prefix + end - start)
            block[number, start:end] = index + 1
            segments[number, start:end] = index
            learned = torch.tensor(segment.tokens[segment.learned_from :])
            labels[number, start + segment.learned_from - 1 : end - 1] = learned
            start = end
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = block[:, :, None] == block[:, None, :]
    mask = causal & (same | (block[:, None, :] == 0))
    # Padding attends to itself: a row of the mask without any True gives NaN.
    mask |= torch.eye(length, dtype=torch.bool)
    return PackedBatch(input_ids, position_ids, mask[:, None], labels, segments)


def image_questions(
    rows: Sequence[VqaRow],
    tokenizer: PreTrainedTokenizerBase,
    prompt: Callable[[str], str],
    bos_id: int,
    stop_id: int,
    most: int,
    dialogue_share: float,
    draw: random.Random,
) -> list[Segment]:
    """At most `most` questions of one image; some get another question of it as earlier dialogue."""
    chosen = draw.sample(list(rows), min(most, len(rows)))
    segments = []
    for row in chosen:
        dialogue = []
        if len(rows) > 1 and draw.random() < dialogue_share:
            other = draw.choice([candidate for candidate in rows if candidate is not row])
            dialogue = [(prompt(other.question), other.answer)]
        segments.append(encode_question(tokenizer, prompt(row.question), row.answer, bos_id, stop_id, dialogue))
    return segments
