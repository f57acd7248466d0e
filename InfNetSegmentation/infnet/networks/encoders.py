"""Encoders: four levels of features, from well-kept libraries.

An encoder maps (N, 3, H, W) to f2, f3, f4, f5, each half as high and wide as the one before; its ``channels``
are their numbers of channels. The paper's f1 is not used by any part of Inf-Net.
"""

from collections.abc import Mapping
from typing import Protocol

import timm
import torch
import torchvision
from torch import nn

Features = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class Encoder(Protocol):
    channels: tuple[int, int, int, int]

    def __call__(self, x: torch.Tensor) -> Features: ...


class TimmEncoder(nn.Module):
    """The levels at 1/4, 1/8, 1/16 and 1/32 of a timm network."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.body = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4))
        c2, c3, c4, c5 = self.body.feature_info.channels()  # type: ignore[union-attr, operator]
        self.channels = (c2, c3, c4, c5)

    def forward(self, x: torch.Tensor) -> Features:
        f2, f3, f4, f5 = self.body(x)
        return f2, f3, f4, f5


class VGG16Encoder(nn.Module):
    """VGG-16 (Simonyan and Zisserman, 2015) without its first block's output: levels at 1/2, 1/4, 1/8 and 1/16."""

    channels = (128, 256, 512, 512)
    # Where torchvision's `features` end a block: after its last ReLU, before the pooling of the next.
    _blocks = ((0, 9), (9, 16), (16, 23), (23, 30))

    def __init__(self) -> None:
        super().__init__()
        features = torchvision.models.vgg16(init_weights=False).features
        self.levels = nn.ModuleList(features[first:last] for first, last in self._blocks)

    def forward(self, x: torch.Tensor) -> Features:
        f2 = self.levels[0](x)
        f3 = self.levels[1](f2)
        f4 = self.levels[2](f3)
        f5 = self.levels[3](f4)
        return f2, f3, f4, f5


# timm's Res2Net-50-D is the authors' "v1b": deep stem, average pooling in the shortcuts, 26 w × 4 s.
_TIMM_NAMES: Mapping[str, str] = {
    "res2net50": "res2net50d",
    "efficientnet_lite0": "efficientnet_lite0",
}
ENCODERS = ("vgg16", *_TIMM_NAMES)


def build_encoder(name: str) -> VGG16Encoder | TimmEncoder:
    """The encoder of that name, randomly initialised. Raises ValueError for a name not in `ENCODERS`."""
    if name == "vgg16":
        return VGG16Encoder()
    if name in _TIMM_NAMES:
        return TimmEncoder(_TIMM_NAMES[name])
    raise ValueError(f"No encoder '{name}'; there are {', '.join(ENCODERS)}.")
