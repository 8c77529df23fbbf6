"""The shape of a PMC-CLIP, as `config.json` of a converted folder tells it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import WeightsMissingError

CONFIG_FILE = "config.json"
MODEL_TYPE = "pmc_clip"
CONVERT_COMMAND = "medvint index convert-embedder"
CONTEXT_LENGTH = 77
"""Tokens of every text: shorter ones are padded and the padding is attended to, as in training."""


@dataclass(frozen=True)
class PmcClipConfig:
    """Released: ResNet (3, 4, 6, 3) of width 64 at 224 pixels, 32 heads, PubMedBERT base, 768 dimensions.

    `text` is BERT's configuration; `weights` the first digits of the SHA-256 of the converted weights.
    """

    layers: tuple[int, ...]
    width: int
    image_size: int
    heads: int
    dim: int
    text: dict[str, Any]
    weights: str = ""

    @classmethod
    def read(cls, folder: Path) -> "PmcClipConfig":
        """
        Raises:
            WeightsMissingError: the folder is not one that the conversion made.
        """
        try:
            said = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
            if said.pop("model_type") != MODEL_TYPE:
                raise ValueError("another model")
            return cls(**said | {"layers": tuple(said["layers"])})
        except OSError:
            raise WeightsMissingError(
                f"{folder} holds no converted PMC-CLIP: `{CONVERT_COMMAND} SOURCE --out {folder}` makes one of the "
                "released files."
            ) from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise WeightsMissingError(
                f"{folder / CONFIG_FILE} does not describe a converted PMC-CLIP: `{CONVERT_COMMAND} SOURCE --out DIR` "
                "makes one of the released files."
            ) from error

    def write(self, folder: Path) -> None:
        (folder / CONFIG_FILE).write_text(json.dumps({"model_type": MODEL_TYPE, **asdict(self)}, indent=2) + "\n")
