"""PMC-CLIP as a dual encoder: images and texts to unit vectors of one space.

    encoders = load_pmc_clip(folder, PmcClipConfig.read(folder))
    encoders.images([image]) @ encoders.texts(["Chest radiograph with a pneumothorax."]).T

Source: github.com/WeixiongLin/PMC-CLIP, `src/pmc_clip/model` and `transform.py` (Lin et al., arXiv 2303.07240).
Three things are easily got wrong, and are as the original trained them: the text is padded to 77 tokens and
no attention mask is given, so padding counts; the text's vector is the raw last hidden state at [CLS], not
BERT's pooler; the image is cut to a square, not squashed, at the one size that the attention pooling knows.
MedVInT sees through the same tower, but squashed, at 512 pixels, without the last stage and the pooling.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from retrieval.errors import WeightsMissingError
from retrieval.pmc_clip_config import CONTEXT_LENGTH, CONVERT_COMMAND, PmcClipConfig
from serving.medvint.vision import PmcClipTower
from serving.weight_files import ConversionError, find_weights, open_tensors

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TOWER_STRIDE = 32
TOKENIZER_FILE = "tokenizer.json"
PAD = "[PAD]"


class AttentionPool(nn.Module):
    """CLIP's: the mean of all positions asks all positions, which have learned places. [n, c, h, w] -> [n, dim]."""

    def __init__(self, positions: int, channels: int, heads: int, dim: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(positions + 1, channels))
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, dim)
        self.heads = heads

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        places = grid.flatten(2).transpose(1, 2)
        mean = places.mean(1, keepdim=True)
        places = torch.cat([mean, places], 1) + self.positional_embedding
        # Only what the mean asks is wanted; the original computes the other positions' answers and drops them.
        asked = functional.scaled_dot_product_attention(
            self._by_head(self.q_proj(places[:, :1])),
            self._by_head(self.k_proj(places)),
            self._by_head(self.v_proj(places)),
        )
        return self.c_proj(asked.flatten(1))

    def _by_head(self, values: torch.Tensor) -> torch.Tensor:
        """[n, positions, channels] -> [n, heads, positions, channels / heads]."""
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class PmcClip(nn.Module):
    """Both encoders; their parameters are called as in the original, but for `attnpool`, which is `visual.attnpool`."""

    def __init__(self, config: PmcClipConfig) -> None:
        super().__init__()
        text = BertConfig.from_dict(config.text)
        self.visual = PmcClipTower(config.layers, config.width)
        positions = (config.image_size // TOWER_STRIDE) ** 2
        self.attnpool = AttentionPool(positions, self.visual.out_channels, config.heads, config.dim)
        self.text_encoder = BertModel(text, add_pooling_layer=False)
        self.text_projection = nn.Parameter(torch.empty(text.hidden_size, config.dim))

    def image_vectors(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """[n, 3, image_size, image_size], normalised -> [n, dim] of length 1."""
        return functional.normalize(self.attnpool(self.visual(pixel_values)), dim=-1)

    def text_vectors(self, input_ids: torch.Tensor) -> torch.Tensor:
        """[n, 77] -> [n, dim] of length 1."""
        first = self.text_encoder(input_ids=input_ids).last_hidden_state[:, 0]
        return functional.normalize(first @ self.text_projection, dim=-1)


class PmcClipEncoders:
    """From pictures and words to vectors, float32 [n, dim]."""

    def __init__(self, model: PmcClip, tokenizer: Tokenizer, image_size: int, device: str = "cpu") -> None:
        self.model = model.eval().requires_grad_(False).to(device)
        # Twice as fast for convolutions on a CPU; torch's own types do not know the argument.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.tokenizer, self.image_size, self.device = tokenizer, image_size, device
        tokenizer.enable_truncation(CONTEXT_LENGTH)
        tokenizer.enable_padding(length=CONTEXT_LENGTH, pad_id=tokenizer.token_to_id(PAD), pad_token=PAD)

    @torch.inference_mode()
    def images(self, images: list[Image.Image]) -> NDArray[np.float32]:
        values = pixels(images, self.image_size).to(self.device, memory_format=torch.channels_last)
        return self.model.image_vectors(values).cpu().numpy()

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> NDArray[np.float32]:
        ids = torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(texts)], device=self.device)
        return self.model.text_vectors(ids).cpu().numpy()


def pixels(
    images: list[Image.Image], size: int, mean: Sequence[float] = CLIP_MEAN, std: Sequence[float] = CLIP_STD
) -> torch.Tensor:
    """[n, 3, size, size], of that mean and deviation in each channel."""
    squares = np.stack([np.asarray(square(image, size)) for image in images])
    values = torch.from_numpy(squares).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def square(image: Image.Image, size: int) -> Image.Image:
    """The middle of an image whose shorter side is scaled (bicubic) to `size`, RGB.

    torchvision's Resize and CenterCrop in one step, so that a picture of 1 x 20,000 pixels is not first scaled to
    millions: within one level of the two steps, in less than 1 of 1,000 values.
    """
    width, height = image.size
    shorter = min(width, height)
    # torchvision rounds the scaled side down, and the corner of the cut to even.
    scaled_width, scaled_height = size * width // shorter, size * height // shorter
    left, top = round((scaled_width - size) / 2), round((scaled_height - size) / 2)
    across, down = width / scaled_width, height / scaled_height
    box = (left * across, top * down, min((left + size) * across, width), min((top + size) * down, height))
    return image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box)


def load_pmc_clip(folder: Path, config: PmcClipConfig, device: str = "cpu") -> PmcClipEncoders:
    """
    Args:
        folder: what `convert_pmc_clip` made.
        config: its own, read before.

    Raises:
        WeightsMissingError: weights or tokenizer are missing or damaged, or do not fit the configuration.
    """
    try:
        stored = open_tensors(find_weights(folder))
        model = PmcClip(config)
        missing, unknown = model.load_state_dict(
            {name: tensor.read().float() for name, tensor in stored.items()}, strict=False
        )
    except (ConversionError, RuntimeError, ValueError, TypeError) as error:
        raise WeightsMissingError(
            f"{folder} is not a whole PMC-CLIP: `{CONVERT_COMMAND}` makes it anew. {error}"
        ) from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unknown:
        raise WeightsMissingError(
            f"The weights in {folder} are not those of its config.json, so `{CONVERT_COMMAND}` has to make it anew. "
            f"Missing: {', '.join(missing[:5]) or 'none'}; without a place: {', '.join(unknown[:5]) or 'none'}."
        )
    return PmcClipEncoders(model, _read_tokenizer(folder / TOKENIZER_FILE), config.image_size, device)


def _read_tokenizer(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the one type that tokenizers has, for a missing file as for a broken one
        raise WeightsMissingError(
            f"{file} cannot be read ({error}): `{CONVERT_COMMAND}` makes its folder anew."
        ) from error
