"""The captions of an opened index by the rows of its catalogue, and what they name."""

import re
from collections import defaultdict
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrieval.catalogue import Rows
from retrieval.concepts import named_modalities, named_regions
from retrieval.generation import Generation
from retrieval.words import tokens

PAGE = 5000


class Captions:
    """All captions in memory."""

    def __init__(self, generation: Generation) -> None:
        self.catalogue = generation.catalogue
        self.texts: list[str] = [""] * len(self.catalogue)
        for start in range(0, len(self.texts), PAGE):
            page = generation.captions.get(limit=PAGE, offset=start, include=["documents"])
            for row, text in zip(self.catalogue.rows(page["ids"]).tolist(), page["documents"], strict=True):
                self.texts[row] = text

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def keys(self) -> list[str]:
        """Captions of the same words are the same item, whatever figure they belong to."""
        return [" ".join(re.findall(r"\w+", text.lower())) for text in self.texts]

    @cached_property
    def modalities(self) -> list[set[str]]:
        return [named_modalities(text) for text in self.texts]

    @cached_property
    def regions(self) -> list[set[str]]:
        return [named_regions(text) for text in self.texts]

    @cached_property
    def _having(self) -> dict[str, list[int]]:
        having: dict[str, list[int]] = defaultdict(list)
        for row, text in enumerate(self.texts):
            for word in set(tokens(text)):
                having[word].append(row)
        return having

    def words_in_common(self, text: str) -> NDArray[np.int64]:
        """How many of the words of a text each caption has: the simplest search there is."""
        counts = np.zeros(len(self.texts), np.int64)
        for word in set(tokens(text)):
            counts[self._having.get(word, [])] += 1
        return counts

    def naming(self, modality: str, regions: frozenset[str] = frozenset()) -> Rows:
        """The rows whose captions name the modality, and one of the regions if any are given."""
        return np.array(
            [
                row
                for row in range(len(self.texts))
                if modality in self.modalities[row] and (not regions or regions & self.regions[row])
            ],
            np.int64,
        )
