"""Connected pieces of the findings."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_ROUNDING = 1e-6  # of a voxel: two voxels' volume is that of two voxels, whatever the arithmetic


def without_small_lesions(findings: NDArray[np.uint8], minimum_ml: float, voxel_ml: float) -> NDArray[np.uint8]:
    """The findings' labels without the lesions of less than ``minimum_ml``: a copy, or ``findings`` itself.

    ``findings`` are labels of any shape (0 background), ``voxel_ml`` the volume of a voxel. A lesion is a connected
    piece of all findings together, over faces, edges and corners: a consolidation with its rim of ground glass is one.
    """
    minimum_voxels = minimum_ml / voxel_ml - _ROUNDING
    boxes = ndimage.find_objects((findings > 0).view(np.uint8)) if minimum_voxels > 1 else []
    if not boxes:
        return findings
    result = findings.copy()
    inside = result[boxes[0]]  # of a whole CT, the lesions' numbers would take a gigabyte
    lesions, _ = ndimage.label(inside > 0, np.ones((3,) * findings.ndim))
    kept = np.bincount(lesions.ravel()) >= minimum_voxels
    inside[~kept[lesions]] = 0
    return result
