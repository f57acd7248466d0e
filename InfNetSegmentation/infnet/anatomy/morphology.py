"""Binary morphology with a ball: what SimpleITK's filters give, ten times as fast.

A ball is symmetric, and each of its rows is a run without gaps: the mask is widened once for every length of run, and
the widened masks are joined as whole arrays, of a few slices at a time, which stay in the processor's cache. Masks are
(z, y, x), radii in voxels in the same order.
"""

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Spacing = NDArray[np.float64]  # mm, (z, y, x)
Radius = tuple[int, int, int]
Box = tuple[slice, slice, slice]

_SLAB = 1 << 17  # voxels


def dilate(mask: Mask, radius: Radius) -> Mask:
    rz, ry, rx = radius
    lengths = _ball(radius).sum(axis=2)[rz:, ry:]  # a quarter: the others are its mirror images
    nz, ny, nx = mask.shape
    # Slices as one line, with background between rows and between slices: a step along any axis is one along it.
    height, width = ny + ry, nx + rx
    thickness = max(1, _SLAB // (height * width))
    result = np.zeros_like(mask)
    for start in range(0, nz, thickness):
        slab = mask[start : start + thickness]
        if not slab.any():
            continue
        size, margin = len(slab) * height * width, ry * width + rx
        line = np.zeros(size + 2 * margin, bool)
        line[margin : margin + size].reshape(-1, height, width)[:, :ny, :nx] = slab
        run = np.zeros(size + 2 * ry * width, bool)
        sections = np.zeros((rz + 1, size), bool)  # widened by the ball's sections, from the middle one on
        for half in range(rx + 1):
            run |= line[rx - half :][: len(run)]
            run |= line[rx + half :][: len(run)]
            for z, y in np.argwhere(lengths == 2 * half + 1):
                sections[z] |= run[(ry - y) * width :][:size]
                sections[z] |= run[(ry + y) * width :][:size]
        for z, section in enumerate(sections.reshape(rz + 1, -1, height, width)[:, :, :ny, :nx]):
            for first in {start - z, start + z}:
                part = slice(max(first, 0), max(first + len(slab), 0))
                result[part] |= section[part.start - first :][: len(result[part])]
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
