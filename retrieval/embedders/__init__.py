"""Embedders: images and texts into one space, one protocol.

MiniLmEmbedder().embed_texts(["chest radiograph"])               # [1, 384]
DemoEmbedder().embed_images([image]) @ DemoEmbedder().embed_texts(["brain MRI"]).T
open_embedder("pmc-clip:data/models/pmc-clip").embed_images([image])      # [1, 768]
"""

from retrieval.embedders.clip import ClipEmbedder
from retrieval.embedders.minilm import DEMO_HEAD, DEMO_MODEL, DemoEmbedder, MiniLmEmbedder
from retrieval.embedders.pmc_clip import PmcClipEmbedder
from retrieval.embedders.protocol import Embedder, UnknownEmbedderError, Vectors

__all__ = [
    "DEMO_HEAD",
    "DEMO_MODEL",
    "EMBEDDERS",
    "ClipEmbedder",
    "DemoEmbedder",
    "Embedder",
    "MiniLmEmbedder",
    "PmcClipEmbedder",
    "UnknownEmbedderError",
    "Vectors",
    "open_embedder",
]

EMBEDDERS = ("demo", "minilm", "pmc-clip:FOLDER", "clip:FOLDER_OR_HUB_ID")


def open_embedder(name: str) -> Embedder:
    """An embedder by what a person calls it, one of the forms of `EMBEDDERS`; weights are read when first used.

    Raises:
        UnknownEmbedderError: the name has another form.
    """
    kind, _, where = name.partition(":")
    if name == "demo":
        return DemoEmbedder()
    if name == "minilm":
        return MiniLmEmbedder()
    if kind == "pmc-clip" and where:
        return PmcClipEmbedder(where)
    if kind == "clip" and where:
        return ClipEmbedder(where)
    raise UnknownEmbedderError(f'There is no embedder "{name}"; there are {", ".join(EMBEDDERS)}.')
