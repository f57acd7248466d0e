"""The networks that the paper compares Inf-Net with (tables II and III), from MONAI and segmentation-models-pytorch
where they have them. They start from random weights; none is downloaded.

Every one takes any size of 32 pixels or more: what its library cannot take is padded and cut off again.
"""

from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from infnet.networks.fcn import FCN8s
from infnet.networks.gated_unet import GatedUNet
from infnet.networks.maps import InfNetMaps


class Padded(nn.Module):
    """``body`` on images (N, C, H, W) of any size, padded to a multiple of ``multiple`` pixels.

    Of a body that gives several outputs, their mean is taken.
    """

    def __init__(self, body: nn.Module, multiple: int) -> None:
        super().__init__()
        self.body = body
        self.multiple = multiple

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        output = self.body(functional.pad(x, padding, mode="replicate"))
        logits = torch.stack(output).mean(0) if isinstance(output, list) else output
        return logits[..., :height, :width]


class InfectionBaseline(nn.Module):
    """(N, 3, H, W) to `InfNetMaps` that has only the one map of ``body``."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> InfNetMaps:
        return InfNetMaps(self.body(x))


class FindingsBaseline(nn.Module):
    """(image, prior), (N, 3, H, W) each, to the logits of background, ground glass and consolidation (N, 3, H, W).

    ``guided`` shows ``body`` both in six channels; otherwise it sees the image alone.
    """

    def __init__(self, body: nn.Module, guided: bool = False) -> None:
        super().__init__()
        self.body = body
        self.guided = guided

    def forward(self, image: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(torch.cat([image, prior], dim=1) if self.guided else image)
        return logits


class PooledNorm(nn.BatchNorm2d):
    """Of one image pooled to a pixel there are no statistics to normalise by: the kept ones are taken."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.numel() > self.num_features:
            return super().forward(x)
        return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def unet(base_channels: int = 32) -> InfectionBaseline:
    """U-Net of five levels (Ronneberger et al., 2015)."""
    return InfectionBaseline(_monai_unet("BasicUNet", base_channels))


def unet_plus_plus(base_channels: int = 32) -> InfectionBaseline:
    """U-Net++ of five levels, the mean of its four outputs (Zhou et al., 2018: "accurate mode")."""
    return InfectionBaseline(_monai_unet("BasicUNetPlusPlus", base_channels, deep_supervision=True))


def attention_unet(base_channels: int = 32) -> InfectionBaseline:
    """U-Net whose skips pass additive attention gates, each opened by the level below (Oktay et al., 2018)."""
    from monai.networks.nets.attentionunet import AttentionUnet

    channels = [base_channels * 2**i for i in range(5)]
    return InfectionBaseline(Padded(AttentionUnet(2, 3, 1, channels, strides=(2, 2, 2, 2)), multiple=16))


def gated_unet(base_channels: int = 32) -> InfectionBaseline:
    """U-Net with attention gates on the coarser level's grid (`GatedUNet`)."""
    return InfectionBaseline(GatedUNet(base_channels))


def dense_unet(encoder: str = "densenet161") -> InfectionBaseline:
    """U-Net with a DenseNet encoder, after the 2-D half of H-DenseUNet (Li et al., 2018)."""
    from segmentation_models_pytorch import Unet

    return InfectionBaseline(Padded(Unet(encoder, encoder_weights=None), multiple=32))


def deeplabv3_plus(output_stride: Literal[8, 16] = 16, encoder: str = "resnet50") -> FindingsBaseline:
    """DeepLabV3+ (Chen et al., 2018) with its encoder's features at 1/``output_stride``."""
    from segmentation_models_pytorch import DeepLabV3Plus

    body = DeepLabV3Plus(encoder, encoder_weights=None, encoder_output_stride=output_stride, classes=3)
    pooling = body.decoder.aspp[0].convs[-1]
    pooling[2] = PooledNorm(pooling[2].num_features)
    return FindingsBaseline(Padded(body, multiple=32))


def fcn8s(guided: bool = False, hidden: int = 4096) -> FindingsBaseline:
    """FCN-8s (`FCN8s`); ``guided`` is the paper's "Semi-Inf-Net & FCN8s"."""
    return FindingsBaseline(FCN8s(inputs=6 if guided else 3, hidden=hidden), guided)


def _monai_unet(name: str, base_channels: int, **options: Any) -> Padded:
    from monai.networks import nets

    network = getattr(nets, name)(
        spatial_dims=2,
        in_channels=3,
        out_channels=1,
        features=[base_channels * 2**i for i in range(5)] + [base_channels],
        act=("ReLU", {"inplace": True}),
        norm="batch",
        **options,
    )
    return Padded(network, multiple=16)
