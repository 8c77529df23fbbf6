"""From a picture and a question to the tensors that MedVInT reads.

Original (MedVInT's dataset classes): RGB, squashed to a square with bicubic interpolation, scaled
to [0, 1], ImageNet mean and standard deviation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from serving.medvint.configuration import MedVInTConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class MedVInTImageProcessor(BaseImageProcessor):
    """PIL images -> `pixel_values` [n, 3, image_size, image_size], float32."""

    model_input_names = ["pixel_values"]  # noqa: RUF012

    def __init__(
        self,
        image_size: int = 512,
        image_mean: Sequence[float] = IMAGENET_MEAN,
        image_std: Sequence[float] = IMAGENET_STD,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_size = image_size
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)

    def preprocess(self, images: Image.Image | Sequence[Image.Image], **kwargs: Any) -> BatchFeature:
        batch = [images] if isinstance(images, Image.Image) else list(images)
        return BatchFeature({"pixel_values": torch.stack([self.pixels(image) for image in batch])})

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """One image: [3, image_size, image_size]."""
        square = image.convert("RGB").resize((self.image_size, self.image_size), Image.Resampling.BICUBIC)
        scaled = np.asarray(square, dtype=np.float32) / 255
        normed = (scaled - np.asarray(self.image_mean)) / np.asarray(self.image_std)
        return torch.from_numpy(normed.astype(np.float32)).permute(2, 0, 1)


AutoImageProcessor.register(MedVInTConfig, slow_image_processor_class=MedVInTImageProcessor, exist_ok=True)
