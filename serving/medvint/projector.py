"""MedVInT's projectors: from patch features to visual embeddings in the decoder's space.

`TransformerProjector` follows the original's DETR-style pre-norm decoder: learned queries look at
the patches, then two linear layers. `MlpProjector` is the paper's other variant: one visual
embedding from the pooled image.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from serving.medvint.configuration import ProjectorConfig


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


class QueryLayer(nn.Module):
    """One pre-norm layer: queries attend to each other, then to the patches, then a ReLU MLP."""

    def __init__(self, hidden_size: int, num_heads: int, intermediate_size: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(hidden_size, num_heads, dropout, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(hidden_size, num_heads, dropout, batch_first=True)
        self.linear1 = nn.Linear(hidden_size, intermediate_size)
        self.linear2 = nn.Linear(intermediate_size, hidden_size)
        self.norm1 = nn.LayerNorm(hidden_size)
        self.norm2 = nn.LayerNorm(hidden_size)
        self.norm3 = nn.LayerNorm(hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        normed = self.norm1(queries)
        queries = queries + self.dropout(self.self_attn(normed, normed, normed, need_weights=False)[0])
        normed = self.norm2(queries)
        queries = queries + self.dropout(self.multihead_attn(normed, keys, values, need_weights=False)[0])
        hidden = self.dropout(functional.relu(self.linear1(self.norm3(queries))))
        return queries + self.dropout(self.linear2(hidden))


class QueryTransformer(nn.Module):
    """Learned queries that look at the patches: [n, patches, in_channels] -> [n, num_queries, hidden_size]."""

    def __init__(self, config: ProjectorConfig, in_channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        hidden_size = config.hidden_size or in_channels
        self.position = config.position
        self.patch_norm = nn.LayerNorm(in_channels) if config.patch_norm else nn.Identity()
        self.input_proj = nn.Linear(in_channels, hidden_size) if hidden_size != in_channels else nn.Identity()
        self.query_embed = nn.Embedding(config.num_queries, hidden_size)
        self.layers = nn.ModuleList(
            QueryLayer(hidden_size, config.num_heads, config.intermediate_size, dropout)
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        values = self.input_proj(self.patch_norm(patches))
        keys = values
        if self.position == "sine2d":
            side = math.isqrt(values.shape[1])
            keys = values + sine_position(side, side, values.shape[2]).to(values)
        queries = self.query_embed.weight.expand(len(patches), -1, -1)
        for layer in self.layers:
            queries = layer(queries, keys, values)
        return self.norm(queries)


class TransformerProjector(QueryTransformer):
    """Learned queries over the patches (the released checkpoints' projector).

    Takes patches [n, patches, in_channels], gives [n, num_queries, out_features].
    """

    def __init__(self, config: ProjectorConfig, in_channels: int, out_features: int, dropout: float = 0.1) -> None:
        super().__init__(config, in_channels, dropout)
        hidden_size = config.hidden_size or in_channels
        self.fc_l1 = nn.Linear(hidden_size, hidden_size)
        self.fc_l2 = nn.Linear(hidden_size, out_features)
        self.output_norm = nn.LayerNorm(out_features) if config.output_norm else nn.Identity()

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(self.fc_l1(super().forward(patches)))
        return self.output_norm(self.fc_l2(hidden))


class MlpProjector(nn.Module):
    """Pooled image features [n, in_channels] -> one visual embedding [n, 1, out_features]."""

    def __init__(self, config: ProjectorConfig, in_channels: int, out_features: int) -> None:
        super().__init__()
        self.fc_l1 = nn.Linear(in_channels, in_channels)
        self.fc_l2 = nn.Linear(in_channels, out_features)
        self.output_norm = nn.LayerNorm(out_features) if config.output_norm else nn.Identity()

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.output_norm(self.fc_l2(functional.relu(self.fc_l1(pooled))))[:, None]


def build_projector(
    config: ProjectorConfig, in_channels: int, out_features: int
) -> TransformerProjector | MlpProjector:
    kind = MlpProjector if config.kind == "mlp" else TransformerProjector
    return kind(config, in_channels, out_features)
