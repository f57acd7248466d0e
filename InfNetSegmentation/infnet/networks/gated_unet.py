"""Gated U-Net (Schlemper et al., "Attention gated networks", Medical Image Analysis 2019)."""

from itertools import pairwise

import torch
from torch import nn

from infnet.networks.layers import ConvBN, DoubleConv, resize_like


class GridAttentionGate(nn.Module):
    """Weighs a skip x (N, C, H, W) by what the coarser level g (N, G, H/2, W/2) says of each place.

    α = sigmoid(ψ(ReLU(θ(x) + φ(g)))) is had on the coarser grid and enlarged bilinearly.
    """

    def __init__(self, channels: int, gate_channels: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, channels, 2, stride=2, bias=False)
        self.phi = nn.Conv2d(gate_channels, channels, 1)
        self.psi = nn.Conv2d(channels, 1, 1)
        self.out = ConvBN(channels, channels)

    def forward(self, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        theta = self.theta(x)
        alpha = torch.sigmoid(self.psi(torch.relu(theta + resize_like(self.phi(g), theta))))
        gated: torch.Tensor = self.out(x * resize_like(alpha, x))
        return gated


class GatedUNet(nn.Module):
    """(N, 3, H, W), H and W of 32 or more, to logits (N, classes, H, W).

    A U-Net of five levels. All skips but that of the first level pass a gate, and the answer is drawn from the
    scores of all four levels of the decoder. It differs from the Attention U-Net of 2018 in both, and in gating on
    the coarser grid.
    """

    def __init__(self, base_channels: int = 32, classes: int = 1) -> None:
        super().__init__()
        widths = [base_channels * 2**i for i in range(5)]
        self.first = DoubleConv(3, widths[0])
        self.down = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), DoubleConv(a, b)) for a, b in pairwise(widths))
        self.gates = nn.ModuleList(GridAttentionGate(a, b) for a, b in reversed([*pairwise(widths)][1:]))
        self.up = nn.ModuleList(DoubleConv(a + b, a) for a, b in reversed([*pairwise(widths)]))
        self.scores = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in reversed(widths[:-1]))
        self.predict = nn.Conv2d(4 * classes, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = [self.first(x)]
        for down in self.down:
            skips.append(down(skips[-1]))
        g = skips.pop()
        scores = []
        for level, (up, score) in enumerate(zip(self.up, self.scores, strict=True)):
            skip = skips.pop()
            gated = self.gates[level](skip, g) if skips else skip
            g = up(torch.cat([gated, resize_like(g, skip)], dim=1))
            scores.append(resize_like(score(g), x))
        logits: torch.Tensor = self.predict(torch.cat(scores, dim=1))
        return logits
