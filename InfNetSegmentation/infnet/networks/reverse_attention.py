"""Reverse attention: mine what a coarser map left out (paper, eqs. 2 and 3)."""

import torch
from torch import nn

from infnet.networks.layers import ConvBN, resize_like


class ReverseAttention(nn.Module):
    """One level of refinement: from f_i, the edge features and the coarser map S_{i+1} to the logits of S_i.

    The reverse weight A_i = 1 - sigmoid(S_{i+1}) multiplies the features f_i, and the edge features join them
    afterwards, unweighted: R_i = C(f_i · A_i, Dow(e_att)). This is the order of the authors' erratum and code;
    equation 2 of the paper weights the edge features too. With ``edge_channels`` 0 there is no e_att: None.

    ``filters``, ``kernel`` and ``depth`` are those of the convolutions between: 256, 5 and 3 at level 5 and
    64, 3 and 2 at levels 4 and 3, where the last convolution is 1×1 and ``kernel``×``kernel`` respectively.
    """

    def __init__(
        self, inputs: int, edge_channels: int, filters: int, kernel: int, depth: int, last_kernel: int
    ) -> None:
        super().__init__()
        self.reduce = ConvBN(inputs, filters)
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [
                ConvBN(filters + edge_channels if i == 0 else filters, filters, kernel),
                nn.ReLU(inplace=True),
            ]
        self.refine = nn.Sequential(*layers)
        self.predict = ConvBN(filters, 1, last_kernel)

    def forward(self, f: torch.Tensor, e_att: torch.Tensor | None, coarser: torch.Tensor) -> torch.Tensor:
        s = resize_like(coarser, f)
        a = 1 - torch.sigmoid(s)
        r = self.reduce(f * a)
        if e_att is not None:
            r = torch.cat([r, resize_like(e_att, f)], dim=1)
        logits: torch.Tensor = self.predict(self.refine(r)) + s
        return logits
