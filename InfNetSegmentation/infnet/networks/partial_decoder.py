"""Parallel partial decoder: the global map Sg from the three high levels (paper, fig. 3)."""

import torch
from torch import nn

from infnet.networks.layers import ConvBN, resize_like


class ParallelPartialDecoder(nn.Module):
    """Aggregates f3, f4 and f5, each reduced to ``channels``, into the logits of Sg at the size of f3.

    A deeper level first gates the shallower ones by multiplication, then is concatenated to them. There is no
    activation anywhere, and every enlargement aligns corners.
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        c = channels
        self.gate_4_by_5 = ConvBN(c, c, 3)
        self.gate_3_by_5 = ConvBN(c, c, 3)
        self.gate_3_by_4 = ConvBN(c, c, 3)
        self.lift_5 = ConvBN(c, c, 3)
        self.lift_4 = ConvBN(2 * c, 2 * c, 3)
        self.merge_4 = ConvBN(2 * c, 2 * c, 3)
        self.merge_3 = ConvBN(3 * c, 3 * c, 3)
        self.refine = ConvBN(3 * c, 3 * c, 3)
        self.predict = nn.Conv2d(3 * c, 1, 1)

    def forward(self, f3: torch.Tensor, f4: torch.Tensor, f5: torch.Tensor) -> torch.Tensor:
        f5_on_4 = resize_like(f5, f4, align_corners=True)
        f5_on_3 = resize_like(f5_on_4, f3, align_corners=True)
        f4_on_3 = resize_like(f4, f3, align_corners=True)
        gated_4 = self.gate_4_by_5(f5_on_4) * f4
        gated_3 = self.gate_3_by_5(f5_on_3) * self.gate_3_by_4(f4_on_3) * f3
        merged_4 = self.merge_4(torch.cat([gated_4, self.lift_5(f5_on_4)], dim=1))
        lifted_4 = self.lift_4(resize_like(merged_4, f3, align_corners=True))
        merged_3 = self.merge_3(torch.cat([gated_3, lifted_4], dim=1))
        logits: torch.Tensor = self.predict(self.refine(merged_3))
        return logits
