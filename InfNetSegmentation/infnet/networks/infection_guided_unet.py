"""Infection-guided multi-class labelling: a U-Net that is shown where the infection is (paper, section III-F)."""

from itertools import pairwise

import torch
from torch import nn

from infnet.networks.layers import resize_like


class _DoubleConv(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, middle: int | None = None) -> None:
        middle = middle or outputs
        super().__init__(
            nn.Conv2d(inputs, middle, 3, padding=1),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class InfectionGuidedUNet(nn.Module):
    """U-Net (Ronneberger et al., 2015) on six channels: the slice and the infection map as its prior.

    ``forward(image, prior)`` takes (N, 3, H, W) each, both ImageNet-normalised, and returns the logits of
    background, ground-glass opacity and consolidation (N, 3, H, W). ``base_channels`` is 64 in the paper's code.
    """

    def __init__(self, base_channels: int = 64, classes: int = 3) -> None:
        super().__init__()
        c = base_channels
        self.first = _DoubleConv(6, c)
        widths = (c, 2 * c, 4 * c, 8 * c, 8 * c)
        self.down = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), _DoubleConv(a, b)) for a, b in pairwise(widths))
        self.up = nn.ModuleList(
            _DoubleConv(inputs, outputs, inputs // 2)
            for inputs, outputs in ((16 * c, 4 * c), (8 * c, 2 * c), (4 * c, c), (2 * c, c))
        )
        self.predict = nn.Conv2d(c, classes, 1)

    def forward(self, image: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        skips = [self.first(torch.cat([image, prior], dim=1))]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(torch.cat([skip, resize_like(x, skip, align_corners=True)], dim=1))
        logits: torch.Tensor = self.predict(x)
        return logits
