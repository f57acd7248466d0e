"""Encoders: four levels of features, from well-kept libraries.

An encoder maps (N, 3, H, W) to f2, f3, f4, f5, each half as high and wide as the one before; its ``channels``
are their numbers of channels. The paper's f1 is not used by any part of Inf-Net.

timm and torchvision, which take two seconds to import, are imported where an encoder is built.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

Features = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class Encoder(Protocol):
    channels: tuple[int, int, int, int]

    def __call__(self, x: torch.Tensor) -> Features: ...


class Float32DepthwiseConv(nn.Conv2d):
    """A depthwise convolution that stays in float32 on the CPU, in mixed precision too.

    There oneDNN's backward pass in bfloat16 takes up to eight times that in float32.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class TimmEncoder(nn.Module):
    """The levels at 1/4, 1/8, 1/16 and 1/32 of a timm network."""

    def __init__(self, name: str) -> None:
        import timm

        super().__init__()
        self.name = name
        self.body = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4))
        for module in self.body.modules():
            if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
                module.__class__ = Float32DepthwiseConv
        c2, c3, c4, c5 = self.body.feature_info.channels()  # type: ignore[union-attr, operator]
        self.channels = (c2, c3, c4, c5)

    def forward(self, x: torch.Tensor) -> Features:
        f2, f3, f4, f5 = self.body(x)
        return f2, f3, f4, f5


def vgg16_features() -> nn.Sequential:
    """The convolutions of torchvision's VGG-16, without its large classifier, randomly initialised."""
    from torchvision.models import vgg

    layers: nn.Sequential = vgg.make_layers(vgg.cfgs["D"])
    return layers


class VGG16Encoder(nn.Module):
    """VGG-16 (Simonyan and Zisserman, 2015) without its first block's output: levels at 1/2, 1/4, 1/8 and 1/16.

    ``inputs`` is the number of channels of the image. ``max_pooling`` False pools by the mean, as Inf-Net's released
    VGG variant does.
    """

    channels = (128, 256, 512, 512)
    # Where torchvision's `features` end a block: after its last ReLU, before the pooling of the next.
    _blocks = ((0, 9), (9, 16), (16, 23), (23, 30))

    def __init__(self, inputs: int = 3, max_pooling: bool = True) -> None:
        super().__init__()
        self.inputs = inputs
        features = vgg16_features()
        features[0] = nn.Conv2d(inputs, 64, 3, padding=1)
        for parameter in features.parameters():  # as torchvision starts it; else the signal fades from layer to layer
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)
        if not max_pooling:
            for i, layer in enumerate(features):
                if isinstance(layer, nn.MaxPool2d):
                    features[i] = nn.AvgPool2d(2)
        self.levels = nn.ModuleList(features[first:last] for first, last in self._blocks)

    def forward(self, x: torch.Tensor) -> Features:
        f2 = self.levels[0](x)
        f3 = self.levels[1](f2)
        f4 = self.levels[2](f3)
        f5 = self.levels[3](f4)
        return f2, f3, f4, f5


# timm's Res2Net-50-D is the authors' "v1b": deep stem, average pooling in the shortcuts, 26 w × 4 s. Its tag "tv"
# means torchvision's own ImageNet weights.
_TIMM_NAMES: Mapping[str, str] = {
    "res2net50": "res2net50d",
    "resnet50": "resnet50.tv_in1k",
    "efficientnet_lite0": "efficientnet_lite0",
    "efficientnet_lite2": "efficientnet_lite2",
}
ENCODERS = ("vgg16", "vgg16_average", *_TIMM_NAMES)


def build_encoder(name: str) -> VGG16Encoder | TimmEncoder:
    """The encoder of that name, randomly initialised. Raises ValueError for a name not in `ENCODERS`."""
    if name in ("vgg16", "vgg16_average"):
        return VGG16Encoder(max_pooling=name == "vgg16")
    if name in _TIMM_NAMES:
        return TimmEncoder(_TIMM_NAMES[name])
    raise ValueError(f"No encoder '{name}'; there are {', '.join(ENCODERS)}.")
