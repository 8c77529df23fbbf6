"""What every embedder can do."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import RetrievalError

Vectors = NDArray[np.float32]


class UnknownEmbedderError(RetrievalError):
    """No embedder is called so."""


class Embedder(Protocol):
    """Maps images and texts into one space; vectors are float32 [n, dim] of length 1.

    `name` names the space: indexes made under one name can be searched by every embedder of that name.
    `image_space` names what makes the images' vectors, "" where it sees no images: it may change where `name`
    does not (a retrained image head), and then only images are to be embedded anew.
    """

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def image_space(self) -> str: ...

    def embed_texts(self, texts: list[str]) -> Vectors: ...

    def embed_images(self, images: list[Image.Image]) -> Vectors: ...


def readable(texts: list[str]) -> list[str]:
    """Texts that every tokenizer takes: a lone half of a surrogate pair, which JSON may carry, becomes "?"."""
    return [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
