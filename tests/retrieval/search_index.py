"""A small index whose vectors a reader can compute: every word of `AXES` is a direction, a colour names three."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval.build import embed_rows
from retrieval.figures import Figure
from retrieval.relevance import Logistic, Tuning
from retrieval.search import Search
from retrieval.store import Store

AXES = ("nothing", "ct", "mri", "radiograph", "liver", "lung", "brain", "knee", "cyst", "glioma", "effusion", "gas")
TUNING = Tuning(floors={"image": 0.4, "text": 0.4, "terms": 0.3}, terms_weight=0.2)
SAME_SCALE = {"image": Logistic(0.0, {"image": 1.0}), "look": Logistic(0.0, {"look": 1.0})}


class AxisEmbedder:
    """Texts by the words of `AXES` in them, images by the colour of their first pixel."""

    name = "axes"
    image_space = "colours"
    dim = len(AXES) + 1 + 4

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        # A little of every text's own, for no two to be the same.
        own = [[byte / 2550 for byte in hashlib.sha256(text.encode()).digest()[:4]] for text in texts]
        rows = [
            [float(word in text.lower()) for word in AXES] + [0.3] + noise
            for text, noise in zip(texts, own, strict=True)
        ]
        return self._unit(np.array(rows).reshape(-1, self.dim))

    def embed_images(self, images: list[Image.Image]) -> np.ndarray:
        vectors = np.zeros((len(images), self.dim))
        for row, image in zip(vectors, images, strict=True):
            row[list(image.convert("RGB").getpixel((0, 0)))] = 1
        vectors[:, 0] = 0
        return self._unit(vectors + 1e-9)

    @staticmethod
    def _unit(vectors: np.ndarray) -> np.ndarray:
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def picture(*words: str) -> Image.Image:
    """An image of up to three things."""
    return Image.new("RGB", (8, 8), tuple(AXES.index(word) for word in (*words, "nothing", "nothing")[:3]))


def axis_search(folder: Path, figures: Sequence[Figure], tuning: Tuning = TUNING) -> Search:
    """A search over these figures; those with an image file get a vector of it."""
    store, embedder = Store(folder / "index"), AxisEmbedder()
    with store.writing():
        for source in sorted({figure.source for figure in figures}):
            rows = embed_rows([figure for figure in figures if figure.source == source], embedder)
            store.append(source, rows.figures, rows.vectors, embedder, rows.image_vectors, rows.hashes)
        store.rebuild_chroma()
    return Search(store, embedder, tuning=tuning)
