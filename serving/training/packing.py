"""All questions of one image in one sequence behind its one visual prefix.

The questions cannot see each other (block-diagonal mask) and each starts at the position right
after the prefix, so that every question gives the same hidden states as it would alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

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
    """One question's tokens: `<s>`, prompt, answer, stop token; only the last two are learnt."""

    tokens: list[int]
    learned_from: int


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
