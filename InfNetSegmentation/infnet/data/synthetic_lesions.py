"""Synthetic lesions in healthy slices: ground glass and consolidation whose truth is known to the pixel.

The labelled slices show hardly any large, round, homogeneous consolidation, and healthy lung only beside disease.
Healthy slices, some with lesions painted into them, show a network both.
"""

import torch
from torch.nn import functional

_DARKER_THAN_TISSUE = 0.45  # grey value, between lung (about 0.2 in the training look) and soft tissue (about 0.8)


def add_lesions(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Paint lesions of one finding into a healthy slice; draws from torch's random generator.

    ``image`` (1, S, S) in [0, 1]. Returns the painted image and its labels (S, S) int64: 0 background, 1 ground-glass
    opacity (the lung shows through), 2 consolidation (it hardly does). Nothing is painted where no lung is hit.
    """
    region = _smooth_blobs(image.shape[-1]).to(image.device) & _lung(image[0])
    is_consolidation = bool(torch.rand(()) < 0.5)
    opacity = _uniform(0.85, 1.0) if is_consolidation else _uniform(0.2, 0.65)
    shape = region.float()[None]
    if torch.rand(()) < 0.7:
        shape = functional.avg_pool2d(shape, 7, stride=1, padding=3)
    texture = functional.avg_pool2d(torch.randn_like(image), 3, stride=1, padding=1) * _uniform(0.02, 0.12)
    tissue = _uniform(0.68, 0.88) + texture
    labels = region.to(torch.int64) * (2 if is_consolidation else 1)
    return torch.lerp(image, tissue, opacity * shape).clamp(0, 1), labels


def _smooth_blobs(size: int) -> torch.Tensor:
    """(S, S) bool: where a smooth random field is high, in 3 to 25 % of the square."""
    field = functional.interpolate(torch.randn(1, 1, 6, 6), (size, size), mode="bicubic")[0, 0]
    # A sixteenth of the values tells the quantile well enough; torch refuses more than 16 million.
    return field > torch.quantile(field[::4, ::4], _uniform(0.75, 0.97))


def _lung(grey: torch.Tensor) -> torch.Tensor:
    """(S, S) bool: what is dark, vessels in it included (a morphological closing)."""
    dark = (grey < _DARKER_THAN_TISSUE).float()[None]
    return -_dilated(-_dilated(dark))[0] > 0


def _dilated(x: torch.Tensor) -> torch.Tensor:
    """The largest value in a square of 15 pixels around each; one direction after the other is seven times as fast."""
    x = functional.max_pool2d(x, (15, 1), stride=1, padding=(7, 0))
    return functional.max_pool2d(x, (1, 15), stride=1, padding=(0, 7))


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
