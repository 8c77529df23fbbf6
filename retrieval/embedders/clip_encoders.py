"""The two encoders of a CLIP-class model of transformers.

encoders = load_clip(folder, [folder / "model.safetensors"])
encoders.images([image]) @ encoders.texts(["Chest radiograph."]).T
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from retrieval.errors import WeightsMissingError

FIXED_LENGTH = ("siglip", "siglip2")
"""Model types that were trained on texts in lower case, padded to the full length, with the padding attended to."""
LONGEST = 8
"""Sides of a picture that is cut to a square: the middle of so many squares is more than enough to scale."""


class ClipEncoders:
    """From pictures and words to vectors, float32 [n, dim]."""

    def __init__(self, model: Any, tokenizer: Any, processor: Any, device: str = "cpu") -> None:
        self.model = model.eval().requires_grad_(False).to(device)
        self.tokenizer, self.processor, self.device = tokenizer, processor, device
        self.fixed_length = model.config.model_type in FIXED_LENGTH
        self.length = min(model.config.text_config.max_position_embeddings, tokenizer.model_max_length)

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> NDArray[np.float32]:
        inputs = self.tokenizer(
            [text.lower() for text in texts] if self.fixed_length else texts,
            padding="max_length" if self.fixed_length else True,
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        )
        if self.fixed_length:
            inputs = {"input_ids": inputs["input_ids"]}
        return self._vectors(self.model.get_text_features, inputs)

    @torch.inference_mode()
    def images(self, images: list[Image.Image]) -> NDArray[np.float32]:
        pictures = [image.convert("RGB") for image in images]
        if self.processor.do_center_crop and "shortest_edge" in dict(self.processor.size):
            pictures = [_middle(picture) for picture in pictures]
        return self._vectors(self.model.get_image_features, self.processor(pictures, return_tensors="pt"))

    def _vectors(self, features: Any, inputs: Mapping[str, torch.Tensor]) -> NDArray[np.float32]:
        found = features(**{name: value.to(self.device) for name, value in inputs.items()}).pooler_output
        return functional.normalize(found, dim=-1).cpu().numpy()


def load_clip(folder: Path, weights: list[Path], device: str = "cpu") -> ClipEncoders:
    """
    Args:
        folder: model, tokenizer and image settings in transformers' form; code in it is not run.
        weights: its weight files, for messages.

    Raises:
        WeightsMissingError: transformers cannot load it, a tensor is missing, or it is not of CLIP's class.
    """
    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model, found = AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **here)
        kind = model.config.model_type
        if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
            raise WeightsMissingError(f"{folder} is a {kind}: not of CLIP's class, with vectors of texts and images.")
        tokenizer = AutoTokenizer.from_pretrained(folder, **here)
        # Without its vocabulary, transformers makes a tokenizer that takes every word for an unknown one.
        if not any((folder / name).is_file() for name in tokenizer.vocab_files_names.values()):
            raise WeightsMissingError(
                f"transformers cannot load {folder}: none of {', '.join(sorted(tokenizer.vocab_files_names.values()))} "
                "is there."
            )
        # torchvision's variant scales otherwise than PIL, and torchvision need not be there.
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **here)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, pickle.UnpicklingError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsMissingError(f"transformers cannot load {folder}: {reason}") from error
    if found["missing_keys"]:
        names = sorted(found["missing_keys"])
        raise WeightsMissingError(
            f"{', '.join(file.name for file in weights)} in {folder} lacks {len(names)} tensors of a {kind}, such as "
            f"{', '.join(names[:3])}: an incomplete download, or another model than config.json says."
        )
    return ClipEncoders(model, tokenizer, processor, device)


def _middle(image: Image.Image) -> Image.Image:
    """All of it, or of a very long one the middle: scaled as a whole, 1 x 20,000 pixels would become millions."""
    width, height = image.size
    longest = LONGEST * min(width, height)
    left, top = max(width - longest, 0) // 2, max(height - longest, 0) // 2
    return image.crop((left, top, min(left + longest, width), min(top + longest, height)))
