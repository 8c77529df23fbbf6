"""MedVInT's image towers: PMC-CLIP's ModifiedResNet as MedVInT cuts it, and CLIP's transformer.

Source: OpenAI CLIP's RN50 (stem of three convolutions, average pooling instead of strides);
MedVInT keeps `layer1` to `layer3` and drops `layer4` and the attention pooling.

    tower = PmcClipTower(layers=(3, 4, 6), width=64)
    tower(torch.randn(1, 3, 512, 512)).shape    # [1, 1024, 32, 32]
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from serving.medvint.configuration import VisionConfig

EXPANSION = 4


class Bottleneck(nn.Module):
    """Anti-aliased bottleneck: a stride is an average pooling after the 3x3 convolution."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = channels * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or in_channels != out_channels:
            # The names "-1", "0", "1" are CLIP's: checkpoints carry them.
            self.downsample = nn.Sequential(
                OrderedDict(
                    [
                        ("-1", nn.AvgPool2d(stride)),
                        ("0", nn.Conv2d(in_channels, out_channels, 1, bias=False)),
                        ("1", nn.BatchNorm2d(out_channels)),
                    ]
                )
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(self.avgpool(x)))
        return self.relu(x + identity)


class PmcClipTower(nn.Module):
    """ModifiedResNet without attention pooling.

    Takes `pixel_values` [n, 3, height, width], gives [n, out_channels, height / stride,
    width / stride]; three stages (MedVInT) have stride 16, four (PMC-CLIP, MedVInT-TE) 32.
    """

    def __init__(self, layers: Sequence[int] = (3, 4, 6), width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AvgPool2d(2)
        in_channels = width
        for stage, blocks in enumerate(layers):
            channels = width * 2**stage
            stride = 1 if stage == 0 else 2
            stack = [Bottleneck(in_channels, channels, stride)]
            in_channels = channels * EXPANSION
            stack += [Bottleneck(in_channels, channels) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*stack))
        self.stages = len(layers)
        self.out_channels = in_channels

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(pixel_values)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.bn3(self.conv3(x)))
        x = self.avgpool(x)
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x

    def patches(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Patch features row by row: [n, (height / stride) * (width / stride), out_channels]."""
        return self(pixel_values).flatten(2).transpose(1, 2)

    def pooled(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Averaged patch features: [n, out_channels]."""
        return self(pixel_values).mean((2, 3))


class ClipTower(nn.Module):
    """CLIP's vision transformer as MedVInT uses it: last hidden states, the class token apart."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.vision_model = CLIPVisionModel(
            CLIPVisionConfig(
                image_size=config.image_size,
                patch_size=config.patch_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
            )
        )
        self.out_channels = config.hidden_size

    def patches(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """[n, (image_size / patch_size) ** 2, hidden_size], without the class token."""
        return self.vision_model(pixel_values=pixel_values).last_hidden_state[:, 1:]

    def pooled(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The class token's last hidden state: [n, hidden_size]."""
        return self.vision_model(pixel_values=pixel_values).last_hidden_state[:, 0]


def build_vision_tower(config: VisionConfig) -> PmcClipTower | ClipTower:
    if config.kind == "clip":
        return ClipTower(config)
    return PmcClipTower(config.layers, config.width)
