"""MedVInT-TE's training batches: the question whole, the answer masked, and what stands behind the masks to be learned.

batch = collate([example(row, text) for row in rows], text)
model(**batch, image_features=...).loss
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from serving.evaluation.benchmarks import VqaRow
from serving.evaluation.pmc_vqa import choice_text
from serving.medvint_te.modeling import IGNORE
from serving.medvint_te.text import QuestionText, QuestionTooLongError


@dataclass(frozen=True)
class Example:
    """`ids` of the input and, in the same places, what is learned there (`IGNORE` elsewhere)."""

    ids: list[int]
    labels: list[int]


def example(row: VqaRow, text: QuestionText) -> Example | None:
    """One row; None where it is longer than the model reads, or its answer than the places for it.

    Choices that are shown are answered by their letter, all else in words. The original learns `<s>`, the answer and
    the end behind it; a model with `answer_slots` learns the answer and one end.
    """
    if row.choices_shown and row.correct is not None:
        prompt, answer = text.choice(row.question, row.choices), "ABCD"[row.correct]
    else:
        prompt, answer = text.blank(row.question), choice_text(row.answer)
    tokens, slots = text.answer(answer), text.config.answer_slots
    if not tokens or (slots is not None and len(tokens) > slots):
        return None
    try:
        ids = text.masked(prompt, slots or len(tokens))
    except QuestionTooLongError:
        return None
    labels = [IGNORE] * len(ids)
    learned = [*tokens, text.config.end_token_id]
    labels[len(prompt) + 1 : len(prompt) + 1 + len(learned)] = learned
    if slots is None:
        labels[0] = text.first_id
    return Example(ids, labels)


def collate(examples: Sequence[Example], text: QuestionText) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask`, `labels` [n, length]."""
    ids, mask = text.batch([each.ids for each in examples])
    labels = torch.full_like(ids, IGNORE)
    for number, each in enumerate(examples):
        labels[number, : len(each.labels)] = torch.tensor(each.labels)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
