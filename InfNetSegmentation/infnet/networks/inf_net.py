"""Inf-Net (Fan et al., "Inf-Net: Automatic COVID-19 Lung Infection Segmentation From CT Images", IEEE TMI 2020)."""

import torch
from torch import nn
from torch.nn import functional

from infnet.networks.edge_attention import EdgeAttention
from infnet.networks.encoders import build_encoder
from infnet.networks.heads import ConsolidationHead, GateHead
from infnet.networks.maps import InfNetMaps
from infnet.networks.partial_decoder import ParallelPartialDecoder
from infnet.networks.receptive_field_block import ReceptiveFieldBlock
from infnet.networks.reverse_attention import ReverseAttention


class InfNet(nn.Module):
    """Inf-Net on any encoder of `infnet.networks.encoders` (paper, fig. 2).

    Takes (N, 3, H, W), ImageNet-normalised (`infnet.networks.normalisation`); H and W of 32 or more, best a
    multiple of 32. The encoder's f2 gives the edge, f3 to f5 the global map, and reverse attention refines the
    global map from f5 down to f3.

    Its three parts can be left out, which gives the seven rows of the paper's ablation (table IV). What then
    stands in for them:

    - without ``edge_attention`` there is no Se, and reverse attention sees no edge features. Where there is no
      reverse attention, the edge is a second task of the encoder and nothing more;
    - without ``partial_decoder`` Sg is a 1×1 convolution of f5, at the size of f5;
    - without ``reverse_attention`` Sg is the answer.

    Three additions are not in the paper: ``finest_level=2`` refines once more, on f2, to S2;
    ``consolidation_head`` tells consolidation from ground glass in the same network (`ConsolidationHead`); and
    ``gate_head`` says whether the slice is infected (`GateHead`). Raises ValueError for an unknown encoder and for
    a level 2 without the levels above it.
    """

    def __init__(
        self,
        encoder: str = "res2net50",
        edge_attention: bool = True,
        partial_decoder: bool = True,
        reverse_attention: bool = True,
        finest_level: int = 3,
        consolidation_head: bool = False,
        gate_head: bool = False,
    ) -> None:
        super().__init__()
        if finest_level not in (2, 3) or (finest_level == 2 and not reverse_attention):
            raise ValueError(f"finest_level {finest_level}: 3, or 2 with reverse attention, can be used.")
        self.encoder = build_encoder(encoder)
        c2, c3, c4, c5 = self.encoder.channels
        edge = 64 if edge_attention else 0
        self.edge_attention = EdgeAttention(c2, edge) if edge_attention else None
        if partial_decoder:
            self.rfb3 = ReceptiveFieldBlock(c3)
            self.rfb4 = ReceptiveFieldBlock(c4)
            self.rfb5 = ReceptiveFieldBlock(c5)
            self.partial_decoder = ParallelPartialDecoder()
        else:
            self.predict = nn.Conv2d(c5, 1, 1)
        self._has_partial_decoder = partial_decoder
        self._has_reverse_attention = reverse_attention
        if reverse_attention:
            self.reverse_attention5 = ReverseAttention(c5, edge, filters=256, kernel=5, depth=3, last_kernel=1)
            self.reverse_attention4 = ReverseAttention(c4, edge, filters=64, kernel=3, depth=2, last_kernel=3)
            self.reverse_attention3 = ReverseAttention(c3, edge, filters=64, kernel=3, depth=2, last_kernel=3)
        self.reverse_attention2 = (
            ReverseAttention(c2, edge, filters=32, kernel=3, depth=2, last_kernel=3) if finest_level == 2 else None
        )
        self.consolidation_head = ConsolidationHead(self.encoder.channels) if consolidation_head else None
        self.gate_head = GateHead(c5) if gate_head else None

    def forward(self, x: torch.Tensor) -> InfNetMaps:
        f2, f3, f4, f5 = self.encoder(x)
        e_att, se = self.edge_attention(f2) if self.edge_attention else (None, None)
        if self._has_partial_decoder:
            sg = self.partial_decoder(self.rfb3(f3), self.rfb4(f4), self.rfb5(f5))
        else:
            sg = self.predict(f5)
        maps = InfNetMaps(sg, Se=se)
        if self._has_reverse_attention:
            s5 = self.reverse_attention5(f5, e_att, sg)
            s4 = self.reverse_attention4(f4, e_att, s5)
            s3 = self.reverse_attention3(f3, e_att, s4)
            s2 = self.reverse_attention2(f2, e_att, s3) if self.reverse_attention2 else None
            maps = maps._replace(S5=s5, S4=s4, S3=s3, S2=s2)
        if self.consolidation_head:
            maps = maps._replace(consolidation=self.consolidation_head((f2, f3, f4, f5)))
        maps = maps.each(lambda s: functional.interpolate(s, x.shape[-2:], mode="bilinear", align_corners=False))
        return maps._replace(gate=self.gate_head(f5) if self.gate_head else None)
