"""Whether the scan shows the lungs whole."""

import numpy as np
import SimpleITK as sitk

from infnet.data.orientation import AxialView

_NOTABLE_SECTION = 0.05  # of the largest: what an apex or a base may show in its last slice


def truncation_warnings(lungs: sitk.Image) -> list[str]:
    """A sentence for each end of a scan at which a lung mask (nonzero in lung) goes on, or none."""
    mask = AxialView(lungs).voxels
    sections = np.array([np.count_nonzero(section) for section in mask])
    if not sections.any():
        return []
    notable = _NOTABLE_SECTION * sections.max()
    # Of the sides, the whole height counts: where a lung only touches the border, it may be whole.
    sides = {"front": mask[:, 0], "back": mask[:, -1], "right": mask[..., 0], "left": mask[..., -1]}
    cut = [name for name, section in sides.items() if np.count_nonzero(section) > notable]
    cut += [name for name, end in (("lower end", sections[0]), ("upper end", sections[-1])) if end > notable]
    return [
        f"The scan cuts off the lungs at the {name}: volumes and percentages are those of the part shown."
        for name in cut
    ]
