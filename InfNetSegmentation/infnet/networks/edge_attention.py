"""Edge attention: the boundary of the infection, learnt from the low level f2 (paper, eq. 1)."""

import torch
from torch import nn

from infnet.networks.layers import ConvBN


class EdgeAttention(nn.Module):
    """f2 (N, inputs, H, W) to the edge features e_att (N, channels, H, W) and the logits of Se (N, 1, H, W)."""

    def __init__(self, inputs: int, channels: int = 64) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvBN(inputs, channels), ConvBN(channels, channels, 3), ConvBN(channels, channels, 3)
        )
        self.predict = ConvBN(channels, 1, 3)

    def forward(self, f2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        e_att = self.features(f2)
        return e_att, self.predict(e_att)
