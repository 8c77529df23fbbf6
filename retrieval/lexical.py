"""Exact terms: BM25 over captions, by bm25s, its matrix memory-mapped.

index.scores("CADASIL")         # float32 [captions]: how much of the query each caption has
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.words import tokens


def write_lexical(folder: Path, texts: list[str]) -> None:
    """Index texts in their order into `folder`; at least one text."""
    # Imported when needed: it brings numba along, which takes a second.
    import bm25s

    index = bm25s.BM25(method="lucene", csc_backend="scipy")
    # A text without any word must still be a row.
    index.index([tokens(text) or [""] for text in texts], show_progress=False)
    index.save(folder, show_progress=False)


class LexicalIndex:
    """What `write_lexical` wrote."""

    def __init__(self, folder: Path) -> None:
        import bm25s

        self._index = bm25s.BM25.load(folder, mmap=True, show_progress=False)
        self._vocabulary: dict[str, int] = self._index.vocab_dict
        self._starts: NDArray[np.int64] = np.asarray(self._index.scores["indptr"], np.int64)
        self._count = json.loads((folder / "params.index.json").read_text(encoding="utf-8"))["num_docs"]

    def scores(self, text: str) -> NDArray[np.float32]:
        """BM25 of each caption as a share of the most that the query could get: float32 [captions] in [0, 1).

        Words that no caption has count in what could be had, so a text on another subject scores low even where
        one of its words is in a caption.
        """
        words = list(dict.fromkeys(tokens(text)))
        most = float(sum(self._weight(word) for word in words))
        if not words:
            return np.zeros(self._count, np.float32)
        return np.asarray(self._index.get_scores(words), np.float32) / most

    def rarest(self, text: str, count: int) -> list[str]:
        """The words of a text that fewest captions have, rarest first."""
        return sorted(dict.fromkeys(tokens(text)), key=lambda word: -self._weight(word))[:count]

    def _weight(self, word: str) -> float:
        number = self._vocabulary.get(word)
        have = 0 if number is None else int(self._starts[number + 1] - self._starts[number])
        return float(np.log(1 + (self._count - have + 0.5) / (have + 0.5)))
