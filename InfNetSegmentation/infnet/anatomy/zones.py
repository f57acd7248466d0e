"""Thirds of each lung by height: what is told of a lung whose lobes cannot be."""

import numpy as np
import SimpleITK as sitk

from infnet.anatomy.regions import LUNGS, ZONES
from infnet.data.orientation import AxialView


def lung_zones(lungs: sitk.Image) -> sitk.Image:
    """The zones (labels of `infnet.anatomy.regions.ZONES`, uint8) of a lung mask (1 right, 2 left), on its grid.

    Each lung's height, from its lowest to its highest axial slice, is parted in three of equal height; a slice
    belongs to the part that its middle is in. A lung that the scan cuts off is parted as far as it is shown.
    """
    view = AxialView(lungs)
    mask = view.array()
    zones = np.zeros_like(mask)
    for side in (lung.label for lung in LUNGS):
        upper, middle, lower = (zone.label for zone in ZONES if zone.lung == side)
        slices = np.flatnonzero((mask == side).any(axis=(1, 2)))
        if not len(slices):
            continue
        bottom, height = slices[0], slices[-1] - slices[0] + 1
        for z in slices:
            third = int(3 * (z - bottom + 0.5) / height)
            zones[z][mask[z] == side] = (lower, middle, upper)[third]
    return view.restore(zones)
