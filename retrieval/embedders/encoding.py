"""What embedders with encoders of their own share: loading once, when first needed, and batches."""

import threading
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image

from retrieval.embedders.protocol import Vectors, readable

TEXTS, IMAGES = 64, 16
"""Embedded in one pass."""

_Item = TypeVar("_Item")


class Encoders(Protocol):
    """From a batch to vectors, float32 [n, dim] of length 1."""

    def texts(self, texts: list[str]) -> Vectors: ...

    def images(self, images: list[Image.Image]) -> Vectors: ...


class EncodingEmbedder(ABC):
    """One space of texts and images, made by one model, so that the model's name is that of both."""

    def __init__(self) -> None:
        self._loading = threading.Lock()

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def dim(self) -> int: ...

    @property
    def image_space(self) -> str:
        return self.name

    @abstractmethod
    def _load(self) -> Encoders:
        """
        Raises:
            WeightsMissingError: the model is not there, not whole, or of another kind.
        """

    @cached_property
    def _loaded(self) -> Encoders:
        return self._load()

    def embed_texts(self, texts: list[str]) -> Vectors:
        """
        Raises:
            WeightsMissingError: the model is not there, not whole, or of another kind.
        """
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        encode = self._encoders().texts
        return np.concatenate([encode(batch) for batch in _batches(readable(texts), TEXTS)])

    def embed_images(self, images: list[Image.Image]) -> Vectors:
        """
        Raises:
            WeightsMissingError: likewise.
        """
        if not images:
            return np.zeros((0, self.dim), np.float32)
        encode = self._encoders().images
        return np.concatenate([encode(batch) for batch in _batches(images, IMAGES)])

    def _encoders(self) -> Encoders:
        with self._loading:
            return self._loaded


def _batches(items: list[_Item], size: int) -> list[list[_Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
