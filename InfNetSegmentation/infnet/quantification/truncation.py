"""Whether the scan, and the lung mask within it, show the lungs whole."""

import numpy as np
import SimpleITK as sitk

from infnet.data.orientation import AxialView

_NOTABLE_SECTION = 0.05  # of the largest: what an apex or a base may show in its last slice
_ABRUPT_SECTION = 0.15  # of the largest: of 250 real and altered chests, the last ones have up to 0.06


def truncation_warnings(lungs: sitk.Image) -> list[str]:
    """A sentence for each end at which the scan cuts off a lung mask (nonzero in lung), or at which the mask is cut off
    within the scan, as one made on a part of it; or none."""
    view = AxialView(lungs)
    mask, (dz, dy, dx) = view.voxels, view.spacing
    sections = np.array([np.count_nonzero(section) for section in mask]) * dy * dx  # mm²
    if not sections.any():
        return []
    # Of the sides, the whole height counts: where a lung only touches the border, it may be whole.
    areas = {
        "front": np.count_nonzero(mask[:, 0]) * dz * dx,
        "back": np.count_nonzero(mask[:, -1]) * dz * dx,
        "right": np.count_nonzero(mask[..., 0]) * dz * dy,
        "left": np.count_nonzero(mask[..., -1]) * dz * dy,
        "lower end": sections[0],
        "upper end": sections[-1],
    }
    warnings = [
        f"The scan cuts off the lungs at the {name}: volumes and percentages are those of the part shown."
        for name, area in areas.items()
        if area > _NOTABLE_SECTION * sections.max()
    ]
    slices = np.flatnonzero(sections)
    warnings += [
        f"The lung mask ends abruptly at the {name}, within the scan: lung beyond it is not measured."
        for name, last, of_scan in (("lower end", slices[0], 0), ("upper end", slices[-1], len(sections) - 1))
        if last != of_scan and sections[last] > _ABRUPT_SECTION * sections.max()
    ]
    return warnings
