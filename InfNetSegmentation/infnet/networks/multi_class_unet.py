"""Multi-class labelling: a U-Net, and the paper's, which is shown where the infection is."""

from itertools import pairwise

import torch
from torch import nn

from infnet.networks.layers import DoubleConv, resize_like


class _UNet(nn.Module):
    """U-Net (Ronneberger et al., 2015) of five levels with bilinear enlargement, without a forward pass."""

    def __init__(self, inputs: int, base_channels: int, classes: int) -> None:
        super().__init__()
        c = base_channels
        self.first = DoubleConv(inputs, c)
        widths = (c, 2 * c, 4 * c, 8 * c, 8 * c)
        self.down = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), DoubleConv(a, b)) for a, b in pairwise(widths))
        self.up = nn.ModuleList(
            DoubleConv(inputs, outputs, inputs // 2)
            for inputs, outputs in ((16 * c, 4 * c), (8 * c, 2 * c), (4 * c, c), (2 * c, c))
        )
        self.predict = nn.Conv2d(c, classes, 1)

    def label(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to logits (N, classes, H, W)."""
        skips = [self.first(x)]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(torch.cat([skip, resize_like(x, skip, align_corners=True)], dim=1))
        logits: torch.Tensor = self.predict(x)
        return logits


class InfectionGuidedUNet(_UNet):
    """U-Net on six channels: the slice and the infection map as its prior.

    ``forward(image, prior)`` takes (N, 3, H, W) each, both ImageNet-normalised, and returns the logits of
    background, ground-glass opacity and consolidation (N, 3, H, W). ``base_channels`` is 64 in the paper's code.
    """

    def __init__(self, base_channels: int = 64, classes: int = 3) -> None:
        super().__init__(6, base_channels, classes)

    def forward(self, image: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        return self.label(torch.cat([image, prior], dim=1))


class MultiClassUNet(_UNet):
    """The same network on the image alone, to see what the prior is worth (paper, table III)."""

    def __init__(self, base_channels: int = 64, classes: int = 3) -> None:
        super().__init__(3, base_channels, classes)

    def forward(self, image: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        return self.label(image)
