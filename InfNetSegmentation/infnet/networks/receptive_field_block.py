"""Receptive field block: the features of one encoder level, seen at four scales (Liu et al., ECCV 2018)."""

import torch
from torch import nn
from torch.nn import functional

from infnet.networks.layers import ConvBN


class ReceptiveFieldBlock(nn.Module):
    """(N, inputs, H, W) to (N, outputs, H, W): a 1×1 branch and three with 1×k, k×1 and dilated 3×3 filters."""

    def __init__(self, inputs: int, outputs: int = 32) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvBN(inputs, outputs)])
        for k in (3, 5, 7):
            self.branches.append(
                nn.Sequential(
                    ConvBN(inputs, outputs),
                    ConvBN(outputs, outputs, (1, k)),
                    ConvBN(outputs, outputs, (k, 1)),
                    ConvBN(outputs, outputs, 3, dilation=k),
                )
            )
        self.merge = ConvBN(4 * outputs, outputs, 3)
        self.shortcut = ConvBN(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = torch.cat([branch(x) for branch in self.branches], dim=1)
        return functional.relu(self.merge(seen) + self.shortcut(x))
