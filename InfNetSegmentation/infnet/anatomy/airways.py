"""Trachea and main bronchi in a chest CT, roughly."""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops

from infnet.anatomy.morphology import Mask, Spacing, dilate, in_mm

_WALL_MM = 2.0
_LARGEST_ML = 130.0  # of the lumen; where there is more, it has leaked into lung
_TRACHEA_SWAY_MM = 25.0  # from its median place in the axial plane

HU = NDArray[np.float32]


def find_airways(hu: HU, air: Mask, spacing: Spacing) -> Mask:
    """Trachea and main bronchi: grown from the trachea's lumen until the next step would leak into lung.

    ``hu`` and ``air``, what of it may be airways, are axial, (z, y, x), ``spacing`` the same in mm. The mask has their
    walls in it; it is empty where no trachea was found.
    """
    airways = np.zeros_like(air)
    seeds = _trachea_seeds(hu, air, spacing)
    if not seeds:
        return airways
    image = sitk.GetImageFromArray(np.where(air, hu, 0))
    for upper_hu in range(-980, -800, 20):
        grown = sitk.GetArrayFromImage(sitk.ConnectedThreshold(image, seeds, -1024, upper_hu)).view(bool)
        if np.count_nonzero(grown) * spacing.prod() / 1000 > _LARGEST_ML:
            break
        airways = grown
    return in_mm(dilate, airways, spacing, (_WALL_MM,) * 3)


def _trachea_seeds(hu: HU, air: Mask, spacing: Spacing) -> list[tuple[int, int, int]]:
    """Index (x, y, z) of the darkest voxel of each section like the trachea's, in the upper two thirds."""
    pixel_mm2 = spacing[1] * spacing[2]
    seeds = []
    for z in range(len(air) // 3, len(air)):
        components, _ = ndimage.label(air[z])
        for region in regionprops(components, hu[z]):
            if (
                60 < region.area * pixel_mm2 < 700
                and region.intensity_min < -940
                and region.intensity_mean < -800
                and region.eccentricity < 0.92
                and region.solidity > 0.8
            ):
                section = np.where(components == region.label, hu[z], 0)
                y, x = np.unravel_index(np.argmin(section), section.shape)
                seeds.append((int(x), int(y), z))
    if not seeds:
        return []
    # The trachea runs upright; what lies apart is a tip of lung or gas.
    apart_mm = np.abs(np.array(seeds) - np.median(seeds, axis=0))[:, :2] * spacing[:0:-1]
    return [seed for seed, mm in zip(seeds, apart_mm, strict=True) if max(mm) < _TRACHEA_SWAY_MM]
