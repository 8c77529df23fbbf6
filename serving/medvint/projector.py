"""MedVInT's projectors: from patch features to visual embeddings in the decoder's space.

`TransformerProjector` follows the original's DETR-style pre-norm decoder: learned queries look at
the patches, then two linear layers. `MlpProjector` is the paper's other variant: the averaged
patches as a single visual embedding.
"""

import math

import torch
from torch import nn


def sine_position(height: int, width: int, dim: int) -> torch.Tensor:
    """Fixed two-dimensional sine code of a patch grid, row by row: [height * width, dim]."""
    quarter = dim // 4
    frequency = torch.exp(torch.arange(quarter) * (-math.log(10000.0) / quarter))
    rows = torch.arange(height)[:, None] / max(height - 1, 1) * 2 * math.pi * 8
    columns = torch.arange(width)[:, None] / max(width - 1, 1) * 2 * math.pi * 8
    row_code = torch.cat([(rows * frequency).sin(), (rows * frequency).cos()], -1)
    column_code = torch.cat([(columns * frequency).sin(), (columns * frequency).cos()], -1)
    return torch.cat(
        [
            row_code[:, None].expand(height, width, 2 * quarter),
            column_code[None].expand(height, width, 2 * quarter),
        ],
        -1,
    ).reshape(height * width, 4 * quarter)
