"""Everything that a run will see, in order, as a data set: row n follows from the seed and n alone.

So a run that was killed goes on with exactly what would have come, whatever the number of worker processes, and
skipping what is done reads nothing.

plan = Plan(sources, encoder, pictures, batch=6, items=6 * 380, seed=1)
plan[1234].segments
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from serving.training.images import augment, load_square, normalise
from serving.training.packing import Segment, pack
from serving.training.recipe_sections import Augment
from serving.training.rows import Row

T = TypeVar("T")
MARGIN = 9 / 8
"""Pictures are read so much larger than they are trained at, since augmentation cuts some of it away."""


@dataclass(frozen=True)
class Item:
    """One row of a batch: an image [3, side, side] with questions about it, and perhaps plain texts for the tie."""

    pixels: torch.Tensor
    segments: list[Segment]
    closed: list[bool]
    texts: list[list[int]] = field(default_factory=list)


class Encode(Protocol):
    """Rows to tokens; `earlier` is another question of the image, as the dialogue so far."""

    def __call__(self, row: Row, earlier: Row | None = None) -> Segment: ...


Collate = Callable[[Sequence[Item]], dict[str, Any]]
"""Items to the tensors that a `Trained` takes."""


@dataclass(frozen=True)
class Encoder:
    """Rows to tokens: `<s>`, prompt, answer, stop token; no more than `max_tokens`."""

    tokenizer: PreTrainedTokenizerBase
    stop_token_id: int
    max_tokens: int = 512

    def __call__(self, row: Row, earlier: Row | None = None) -> Segment:
        """`earlier` is another question of the image, as the dialogue so far."""
        before = f"{earlier.prompt}{earlier.answer}\n" if earlier else ""
        prompt = self._ids(before + row.prompt)
        whole = self._ids(before + row.prompt + row.answer)
        # As the original: prompt and answer are one text. Where a token would join the two, the prompt is what counts,
        # since it is all that a question brings.
        answer = whole[len(prompt) :] if whole[: len(prompt)] == prompt else self._ids(row.answer)
        begin: int = self.tokenizer.bos_token_id
        tokens = [begin, *prompt, *answer, self.stop_token_id]
        return Segment(tokens[: self.max_tokens], min(1 + len(prompt), self.max_tokens - 1))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)


@dataclass(frozen=True)
class Pictures:
    """Image files to what the tower takes: [3, size, size], augmented in training."""

    size: int
    augmentation: Augment | None = None

    def __call__(self, path: Path, draw: random.Random | None = None) -> torch.Tensor:
        """With `draw`, augmented; without, as the product sees the image."""
        if draw is None or self.augmentation is None:
            return normalise(load_square(path, self.size).float() / 255)
        wide = load_square(path, round(self.size * MARGIN))
        generator = torch.Generator().manual_seed(draw.getrandbits(62))
        if self.augmentation.mirror and draw.random() < 0.5:
            wide = wide.flip(-1)
        cut = augment(wide[None], self.size, generator, self.augmentation.crop, self.augmentation.degrees)
        return normalise(cut[0])

    def blank(self) -> torch.Tensor:
        """A black image."""
        return normalise(torch.zeros(3, self.size, self.size))


@dataclass(frozen=True)
class Group:
    """What one item is made of: the questions of an image, at most `most` of them at once."""

    rows: tuple[Row, ...]
    most: int

    @property
    def length(self) -> int:
        """In characters, roughly, to put items of one length side by side."""
        return sum(len(row.prompt) + len(row.answer) for row in self.rows[: self.most])


def group_rows(rows: Sequence[Row], packed: bool, most: int) -> list[Group]:
    """By image, in order of the images; each row by itself where they are not packed."""
    if not packed:
        return [Group((row,), 1) for row in rows]
    by_image: dict[Path, list[Row]] = {}
    for row in rows:
        by_image.setdefault(row.image, []).append(row)
    return [Group(tuple(found), most) for _, found in sorted(by_image.items())]


def _batched(values: Sequence[T], count: int) -> list[Sequence[T]]:
    return [values[start : start + count] for start in range(0, len(values), count)]


class Plan(Dataset[Item]):
    """The items of a whole run, epoch after epoch.

    Args:
        sources: groups, and the share of them that an epoch takes, by data set.
        batch: items that go together; those of about one length do.
        items: how many the run has; None: `epochs` whole ones.
        texts: for the tie to the language model as it was: `texts_at_once` of them every `text_every` items.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Sequence[Group], float]],
        encoder: Encode,
        pictures: Pictures,
        *,
        batch: int,
        seed: int,
        items: int | None = None,
        epochs: int = 1,
        dialogue_share: float = 0.0,
        texts: Sequence[list[int]] = (),
        texts_at_once: int = 0,
        text_every: int = 1,
    ) -> None:
        self.sources, self.encoder, self.pictures = sources, encoder, pictures
        self.batch, self.seed, self.dialogue_share = batch, seed, dialogue_share
        self.texts, self.texts_at_once, self.text_every = texts, texts_at_once, text_every
        self.taken = [max(1, round(share * len(groups))) for groups, share in sources]
        self.an_epoch = sum(self.taken)
        self.items = items if items is not None else epochs * self.an_epoch
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def __len__(self) -> int:
        return self.items

    def _make_epoch(self, number: int) -> list[Group]:
        draw = random.Random(f"{self.seed}/epoch/{number}")  # noqa: S311 - reproducible, not secret
        chosen = [
            group
            for (groups, _), count in zip(self.sources, self.taken, strict=True)
            for group in draw.sample(groups, count)
        ]
        draw.shuffle(chosen)
        chosen.sort(key=lambda group: group.length)
        steps = _batched(chosen, self.batch)
        short = [steps.pop()] if len(steps[-1]) < self.batch else []
        draw.shuffle(steps)
        return [group for step in [*steps, *short] for group in step]

    def __getitem__(self, index: int) -> Item:
        epoch, place = divmod(index, self.an_epoch)
        group = self._epoch(epoch)[place]
        draw = random.Random(f"{self.seed}/item/{index}")  # noqa: S311 - reproducible, not secret
        rows = draw.sample(group.rows, min(group.most, len(group.rows)))
        segments = []
        for row in rows:
            others = [other for other in group.rows if other is not row]
            earlier = draw.choice(others) if others and draw.random() < self.dialogue_share else None
            segments.append(self.encoder(row, earlier))
        tied = self.texts_at_once if index % self.text_every == 0 else 0
        return Item(
            self.pictures(rows[0].image, draw),
            segments,
            [row.closed for row in rows],
            draw.sample(self.texts, min(tied, len(self.texts))),
        )


class HeldOut(Dataset[Item]):
    """The questions of a validation set, the image as it is or black; no question is left out."""

    def __init__(self, groups: Sequence[Group], encoder: Encode, pictures: Pictures, blank: bool = False) -> None:
        self.parts = [
            part for group in sorted(groups, key=lambda one: one.length) for part in _batched(group.rows, group.most)
        ]
        self.encoder, self.pictures, self.blank = encoder, pictures, blank

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Item:
        rows = self.parts[index]
        pixels = self.pictures.blank() if self.blank else self.pictures(rows[0].image)
        return Item(pixels, [self.encoder(row) for row in rows], [row.closed for row in rows])


def which_closed(items: Sequence[Item]) -> torch.Tensor:
    """Bool [n, questions of the item that has the most]."""
    closed = torch.zeros(len(items), max(len(item.closed) for item in items), dtype=torch.bool)
    for number, item in enumerate(items):
        closed[number, : len(item.closed)] = torch.tensor(item.closed)
    return closed


@dataclass(frozen=True)
class Collator:
    """Items to the tensors that `TrainedMedVInT.forward` takes."""

    prefix: int
    image_token_id: int

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        packed = pack([item.segments for item in items], self.prefix, self.image_token_id)
        batch = {
            "input_ids": packed.input_ids,
            "position_ids": packed.position_ids,
            "attention_mask": packed.attention_mask,
            "labels": packed.labels,
            "segments": packed.segments,
            "closed": which_closed(items),
            "pixel_values": torch.stack([item.pixels for item in items]),
        }
        texts = [text for item in items for text in item.texts]
        if texts:
            lengths = torch.tensor([len(text) for text in texts])
            batch["text_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
            batch["text_ids"] = torch.nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], True)
        return batch
