"""Inf-Net (Fan et al., "Inf-Net: Automatic COVID-19 Lung Infection Segmentation From CT Images", IEEE TMI 2020)."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from infnet.networks.edge_attention import EdgeAttention
from infnet.networks.encoders import build_encoder
from infnet.networks.partial_decoder import ParallelPartialDecoder
from infnet.networks.receptive_field_block import ReceptiveFieldBlock
from infnet.networks.reverse_attention import ReverseAttention


class InfNetMaps(NamedTuple):
    """The five maps as logits, (N, 1, H, W) each, at the size of the input; names as in the paper."""

    Sg: torch.Tensor
    S5: torch.Tensor
    S4: torch.Tensor
    S3: torch.Tensor
    Se: torch.Tensor

    @property
    def infection(self) -> torch.Tensor:
        """Probability of infection, sigmoid(S3), in [0, 1]: the network's answer."""
        return torch.sigmoid(self.S3)


class InfNet(nn.Module):
    """Inf-Net on any encoder of `infnet.networks.encoders` (paper, fig. 2).

    Takes (N, 3, H, W), ImageNet-normalised (`infnet.networks.normalisation`); H and W of 32 or more, best a
    multiple of 32. The encoder's f2 gives the edge, f3 to f5 the global map, and reverse attention refines the
    global map from f5 down to f3.
    """

    def __init__(self, encoder: str = "res2net50") -> None:
        super().__init__()
        self.encoder = build_encoder(encoder)
        c2, c3, c4, c5 = self.encoder.channels
        self.edge_attention = EdgeAttention(c2, 64)
        self.rfb3 = ReceptiveFieldBlock(c3)
        self.rfb4 = ReceptiveFieldBlock(c4)
        self.rfb5 = ReceptiveFieldBlock(c5)
        self.partial_decoder = ParallelPartialDecoder()
        self.reverse_attention5 = ReverseAttention(c5, 64, filters=256, kernel=5, depth=3, last_kernel=1)
        self.reverse_attention4 = ReverseAttention(c4, 64, filters=64, kernel=3, depth=2, last_kernel=3)
        self.reverse_attention3 = ReverseAttention(c3, 64, filters=64, kernel=3, depth=2, last_kernel=3)

    def forward(self, x: torch.Tensor) -> InfNetMaps:
        f2, f3, f4, f5 = self.encoder(x)
        e_att, se = self.edge_attention(f2)
        sg = self.partial_decoder(self.rfb3(f3), self.rfb4(f4), self.rfb5(f5))
        s5 = self.reverse_attention5(f5, e_att, sg)
        s4 = self.reverse_attention4(f4, e_att, s5)
        s3 = self.reverse_attention3(f3, e_att, s4)
        at_input_size = (
            functional.interpolate(s, x.shape[-2:], mode="bilinear", align_corners=False) for s in (sg, s5, s4, s3, se)
        )
        return InfNetMaps(*at_input_size)
