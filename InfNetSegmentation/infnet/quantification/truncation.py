"""Whether the scan shows the lungs whole."""

import numpy as np
import SimpleITK as sitk

from infnet.data.orientation import AxialView

_NOTABLE_SECTION = 0.05  # of the largest: what an apex or a base may show in its last slice


def truncation_warnings(lungs: sitk.Image) -> list[str]:
    """A sentence for each end of a scan at which a lung mask (nonzero in lung) goes on, or none."""
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
    return [
        f"The scan cuts off the lungs at the {name}: volumes and percentages are those of the part shown."
        for name, area in areas.items()
        if area > _NOTABLE_SECTION * sections.max()
    ]
