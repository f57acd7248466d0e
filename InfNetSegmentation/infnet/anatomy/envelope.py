"""The envelope of the lungs, in which dense lung is looked for, and the convex hulls that it is made of."""

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from infnet.anatomy.morphology import Mask, Spacing
from infnet.anatomy.parting import LEFT, RIGHT
from infnet.data.orientation import AxialView

_MARGIN_MM = 5.0
_ROUNDING = 1e-9  # of coordinates, in pixels

Labels = NDArray[np.uint8]


def lung_envelope(lungs: Labels, spacing: Spacing) -> Labels:
    """Convex hull of each lung in each axial slice, 5 mm wider: where infection is accepted.

    A threshold mask lacks consolidated lung, and infection must not be lost for that; there is none outside.
    `lungs` are labels as of `segment_lungs`, axial, (z, y, x); `spacing` is (z, y, x) in mm. Where both hulls
    meet, a voxel of a lung keeps its side.
    """
    envelope = np.zeros_like(lungs)
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    disc = _MARGIN_MM * np.stack([np.sin(angles), np.cos(angles)], axis=1) / spacing[1:]
    for section, found in zip(lungs, envelope, strict=True):
        if not section.any():
            continue
        for side in (LEFT, RIGHT):
            ends = _ends(section == side)
            if not len(ends):
                continue
            if len(ends) > 2:  # fewer points for the second hull; joggled, since they can lie on one line
                ends = ends[ConvexHull(ends, qhull_options="QJ").vertices]
            # The hull of points moved round a disc is the hull of the points, widened by the disc.
            _fill_hull(found, (ends[:, None] + disc).reshape(-1, 2), side)
        np.copyto(found, section, where=section > 0)
    return envelope


def with_infected_lung(lungs: sitk.Image, findings: sitk.Image) -> sitk.Image:
    """A lung mask as of `segment_lungs` with the findings (nonzero) in its envelope, which it may have missed."""
    view, whole = AxialView(lungs), sitk.Image(lungs)
    for z, found in enumerate(AxialView(findings).voxels):
        section = view.voxels[z]
        if np.any((found > 0) & (section == 0)):  # within the mask, its envelope is as it is
            view.paste(np.where(found, lung_envelope(section[None], view.spacing)[0], section), z, whole)
    return whole


def _ends(mask: Mask) -> NDArray[np.intp]:
    """Row and column of the first and the last voxel of each row of a section, (2 × rows, 2)."""
    rows = np.flatnonzero(mask.any(axis=1))
    section = mask[rows]
    first, last = section.argmax(axis=1), section.shape[1] - 1 - section[:, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([rows, first], axis=1), np.stack([rows, last], axis=1)])


def hull_of_pixels(mask: Mask) -> Mask:
    """Convex hull of a section's pixels, of their squares rather than of their centres."""
    half = np.array([(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)])
    hull = np.zeros_like(mask)
    _fill_hull(hull, (_ends(mask)[:, None] + half).reshape(-1, 2), True)
    return hull


def _fill_hull(section: NDArray[np.generic], points: NDArray[np.generic], value: int) -> None:
    """Set the pixels that are in the convex hull of points (row, column), or on its border."""
    sides = ConvexHull(points).equations
    (top, left), (bottom, right) = points.min(axis=0), points.max(axis=0)
    part = tuple(
        slice(max(0, math.ceil(low - _ROUNDING)), min(size - 1, math.floor(high + _ROUNDING)) + 1)
        for low, high, size in zip((top, left), (bottom, right), section.shape, strict=True)
    )
    rows, columns = np.arange(part[0].start, part[0].stop)[:, None], np.arange(part[1].start, part[1].stop)

    def bounds(of: NDArray[np.float64]) -> NDArray[np.float64]:
        """Column at which each side, of those that are not along the rows, cuts each row."""
        return np.asarray(-(of[:, 0] * rows + of[:, 2]) / of[:, 1])

    first = bounds(sides[sides[:, 1] < -_ROUNDING]).max(axis=1, keepdims=True)
    last = bounds(sides[sides[:, 1] > _ROUNDING]).min(axis=1, keepdims=True)
    np.copyto(section[part], value, where=(columns >= first - _ROUNDING) & (columns <= last + _ROUNDING))
