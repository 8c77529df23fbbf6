"""A small embedder for tests of everything but embedding."""

import string

import numpy as np
from PIL import Image

from retrieval.embedders import Vectors
from retrieval.errors import WeightsMissingError


class Letters:
    """How often each letter occurs."""

    name = "letters"
    dim = len(string.ascii_lowercase)
    image_space = ""

    def embed_texts(self, texts: list[str]) -> Vectors:
        counts = np.array([[text.lower().count(letter) for letter in string.ascii_lowercase] for text in texts])
        counts = counts.reshape(len(texts), self.dim) + 0.01
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)

    def embed_images(self, images: list[Image.Image]) -> Vectors:
        raise WeightsMissingError("It sees no images.")
