"""The building blocks that the networks share."""

import torch
from torch import nn
from torch.nn import functional


class ConvBN(nn.Sequential):
    """Convolution without bias, then batch normalisation; no activation, as in the released network.

    ``padding`` defaults to the one that keeps height and width.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int] = 1, dilation: int = 1) -> None:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (dilation * (height - 1) // 2, dilation * (width - 1) // 2)
        super().__init__(
            nn.Conv2d(inputs, outputs, (height, width), padding=padding, dilation=dilation, bias=False),
            nn.BatchNorm2d(outputs),
        )


class DoubleConv(nn.Sequential):
    """U-Net's block: two 3×3 convolutions, each with batch normalisation and ReLU; ``middle`` channels between them."""

    def __init__(self, inputs: int, outputs: int, middle: int | None = None) -> None:
        middle = middle or outputs
        super().__init__(
            nn.Conv2d(inputs, middle, 3, padding=1),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


def resize_like(x: torch.Tensor, reference: torch.Tensor, align_corners: bool = False) -> torch.Tensor:
    """``x`` (N, C, h, w) resized bilinearly to the height and width of ``reference`` (N, C', H, W)."""
    if x.shape[-2:] == reference.shape[-2:]:
        return x
    return functional.interpolate(x, reference.shape[-2:], mode="bilinear", align_corners=align_corners)
