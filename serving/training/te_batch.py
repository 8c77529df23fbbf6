"""MedVInT-TE's batches: the question whole, its answer masked, and what stands behind the masks to be learnt.

encode, collate = MaskedEncoder(text), MaskedCollator(text)
trained(**collate([Item(pixels, [encode(row)], [row.closed])]))["loss"]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from serving.medvint_te.text import QuestionText
from serving.training.packing import IGNORE, Segment
from serving.training.plan import Item, which_closed
from serving.training.rows import Row


@dataclass(frozen=True)
class MaskedEncoder:
    """Rows to tokens: `<s>`, prompt, answer, end. A model with `answer_slots` has no more places than those."""

    text: QuestionText

    @property
    def _most(self) -> int:
        """Tokens of the longest answer."""
        return self.text.config.answer_slots or self.text.longest - 2

    def fits(self, row: Row) -> bool:
        """Whether the model reads the whole question and has places for the whole answer, which has words."""
        answer = self.text.tokens(row.answer)
        places = self.text.config.answer_slots or len(answer)
        return 0 < len(answer) <= self._most and len(self.text.tokens(row.prompt)) + places + 2 <= self.text.longest

    def __call__(self, row: Row, earlier: Row | None = None) -> Segment:
        """What does not fit is cut: of an answer that is too long the end is not learnt, and so it counts as missed.

        There is no dialogue: `earlier` is not read.
        """
        learnt = [*self.text.tokens(row.answer), self.text.config.end_token_id][: self._most + 1]
        places = self.text.config.answer_slots or len(learnt) - 1
        prompt = self.text.tokens(row.prompt)[: self.text.longest - 2 - places]
        return Segment([self.text.first_id, *prompt, *learnt], 1 + len(prompt))


@dataclass(frozen=True)
class MaskedCollator:
    """Items to the tensors that `TrainedTE.forward` takes."""

    text: QuestionText

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        slots = self.text.config.answer_slots
        segments = [segment for item in items for segment in item.segments]
        answers = [segment.tokens[segment.learned_from :] for segment in segments]
        ids, mask = self.text.batch(
            [
                self.text.masked(segment.tokens[1 : segment.learned_from], slots or len(answer) - 1)
                for segment, answer in zip(segments, answers, strict=True)
            ]
        )
        labels = torch.full_like(ids, IGNORE)
        for row, segment, answer in zip(labels, segments, answers, strict=True):
            row[segment.learned_from : segment.learned_from + len(answer)] = torch.tensor(answer)
        if slots is None:
            # The original learns its first token too.
            labels[:, 0] = self.text.first_id
        counts = [len(item.segments) for item in items]
        return {
            # First, since the Trainer counts a batch by it.
            "pixel_values": torch.stack([item.pixels for item in items]),
            "input_ids": ids,
            "attention_mask": mask,
            "labels": labels,
            "images": torch.arange(len(items)).repeat_interleave(torch.tensor(counts)),
            "places": torch.cat([torch.arange(count) for count in counts]),
            "closed": which_closed(items),
        }
