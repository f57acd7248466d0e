"""Binary morphology with a ball: what SimpleITK's filters give, ten times as fast.

A ball is symmetric, and each of its rows is a run without gaps: the mask is widened once for every length of run, and
the widened masks are joined as whole arrays. Masks are (z, y, x), radii in voxels in the same order.
"""

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Spacing = NDArray[np.float64]  # mm, (z, y, x)
Radius = tuple[int, int, int]
Box = tuple[slice, slice, slice]


def dilate(mask: Mask, radius: Radius) -> Mask:
    ball = _ball(radius)
    rz, ry, rx = radius
    nz, ny, nx = mask.shape
    padded = np.pad(mask, ((rz, rz), (ry, ry), (rx, rx)))
    result = np.zeros_like(mask)
    run = np.zeros_like(padded[:, :, :nx])
    lengths = ball.sum(axis=2)
    for half in range(rx + 1):
        run = run | padded[:, :, rx - half : rx - half + nx] | padded[:, :, rx + half : rx + half + nx]
        for z, y in np.argwhere(lengths == 2 * half + 1):
            result |= run[z : z + nz, y : y + ny]
    return result


def erode(mask: Mask, radius: Radius) -> Mask:
    """What lies beyond the array erodes nothing."""
    return ~dilate(~mask, radius)


def opening(mask: Mask, radius: Radius) -> Mask:
    return dilate(erode(mask, radius), radius)


def closing(mask: Mask, radius: Radius) -> Mask:
    """What lies beyond the array is background, and not a border."""
    padded = np.pad(mask, [(r, r) for r in radius])
    closed = erode(dilate(padded, radius), radius)
    return closed[tuple(slice(r, r + n) for r, n in zip(radius, mask.shape, strict=True))]


def in_mm(
    operation: Callable[[Mask, Radius], Mask], mask: Mask, spacing: Spacing, radius_mm: tuple[float, float, float]
) -> Mask:
    """A binary operation with an ellipsoid of these radii (z, y, x)."""
    rz, ry, rx = (round(mm / s) for mm, s in zip(radius_mm, spacing, strict=True))
    return operation(mask, (rz, ry, rx))


def box_of(mask: Mask) -> Box:
    """The box around a mask that is not empty."""
    shadow = mask.any(axis=0)
    lines = (mask.any(axis=(1, 2)), np.any(shadow, axis=1), np.any(shadow, axis=0))
    ends = [np.flatnonzero(line)[[0, -1]] for line in lines]
    z, y, x = (slice(int(first), int(last) + 1) for first, last in ends)
    return z, y, x


def _ball(radius: Radius) -> Mask:
    """SimpleITK's ball, from what it makes of a point."""
    point = np.zeros([2 * r + 1 for r in radius], np.uint8)
    point[radius] = 1
    ball = sitk.BinaryDilate(sitk.GetImageFromArray(point), radius[::-1], sitk.sitkBall)
    return np.asarray(sitk.GetArrayFromImage(ball).view(bool))
