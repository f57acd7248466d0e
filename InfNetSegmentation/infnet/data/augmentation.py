"""Augmentation of labelled slices, on torchvision's transforms.

Geometry acts on image, labels and prior alike; intensity on the image alone. COVID-SemiSeg mixes axial
slices lying on either side and windows from narrow to very wide, hence flips, transpositions and windows.
"""

from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2


class RandomTranspose(v2.Transform):
    """Swap rows and columns with probability one half."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"swap": bool(torch.rand(()) < 0.5)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return tv_tensors.wrap(inpt.transpose(-1, -2), like=inpt) if params["swap"] else inpt


class RandomWindow(v2.Transform):
    """Another window and gamma for a grey image in [0, 1]: x to clip((x - low) / (high - low)) ** gamma."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        low, high, gamma = torch.rand(3).tolist()
        return {"low": 0.2 * low - 0.1, "high": 0.85 + 0.4 * high, "gamma": 2 ** (1.4 * gamma - 0.7)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        x = (inpt - params["low"]) / (params["high"] - params["low"])
        return tv_tensors.wrap(x.clamp(0, 1) ** params["gamma"], like=inpt)


def geometry() -> v2.Transform:
    """Flips, transposition, rotation, scale, shear, translation."""
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            RandomTranspose(),
            v2.RandomAffine(
                degrees=25,
                translate=(0.06, 0.06),
                scale=(0.8, 1.25),
                shear=(-6, 6, -6, 6),
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
        ]
    )


def intensity() -> v2.Transform:
    """Window and gamma, blur, noise."""
    return v2.Compose(
        [
            RandomWindow(),
            v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.2))], p=0.2),
            v2.RandomApply([v2.GaussianNoise(sigma=0.03)], p=0.4),
        ]
    )
