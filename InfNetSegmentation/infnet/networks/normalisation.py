"""From grey slices to what a network pre-trained on ImageNet expects."""

import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(grey: torch.Tensor) -> torch.Tensor:
    """Grey values or probabilities (N, 1, H, W) in [0, 1] to ImageNet-normalised RGB (N, 3, H, W)."""
    mean = torch.tensor(IMAGENET_MEAN, device=grey.device, dtype=grey.dtype).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=grey.device, dtype=grey.dtype).view(1, 3, 1, 1)
    return (grey - mean) / std
