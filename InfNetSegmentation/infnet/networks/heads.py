"""Heads that Inf-Net can have besides the paper's: which finding a pixel shows, and whether the slice shows any."""

import torch
from torch import nn

from infnet.networks.encoders import Features
from infnet.networks.layers import ConvBN, resize_like


class ConsolidationHead(nn.Module):
    """f2 to f5 to the logits (N, 1, H, W), at the size of f2, that an infected pixel is consolidation.

    Grey level and texture are in f2, what surrounds the pixel is in f3 to f5: each level is reduced to ``filters``
    channels, enlarged to f2 and joined by two 3×3 convolutions.
    """

    def __init__(self, channels: tuple[int, int, int, int], filters: int = 32) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Sequential(ConvBN(c, filters), nn.ReLU(inplace=True)) for c in channels)
        self.join = nn.Sequential(
            ConvBN(4 * filters, filters, 3),
            nn.ReLU(inplace=True),
            ConvBN(filters, filters, 3),
            nn.ReLU(inplace=True),
        )
        self.predict = nn.Conv2d(filters, 1, 1)

    def forward(self, features: Features) -> torch.Tensor:
        reduced = [reduce(f) for reduce, f in zip(self.reduce, features, strict=True)]
        joined = self.join(torch.cat([resize_like(f, reduced[0]) for f in reduced], dim=1))
        logits: torch.Tensor = self.predict(joined)
        return logits


class GateHead(nn.Module):
    """f5 (N, inputs, H, W) to the logits (N,) that the slice shows infection, from its means and its maxima."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.predict = nn.Linear(2 * inputs, 1)

    def forward(self, f5: torch.Tensor) -> torch.Tensor:
        pooled = torch.cat([f5.mean((-2, -1)), f5.amax((-2, -1))], dim=1)
        logits: torch.Tensor = self.predict(pooled)[:, 0]
        return logits
