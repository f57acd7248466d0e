"""Axial slices of a volume, whatever its direction, and the way back onto the volume's own grid."""

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


class AxialView:
    """A volume whose axes run as nearly as possible to the patient's left, back and head (LPS).

    They are permuted and flipped for that, never resampled. ``image`` is the reoriented volume; its array is
    (z, y, x): z ascends from feet to head, y from front to back, x from the patient's right to the left.
    """

    def __init__(self, volume: sitk.Image) -> None:
        orient = sitk.DICOMOrientImageFilter()
        orient.SetDesiredCoordinateOrientation("LPS")
        self.image: sitk.Image = orient.Execute(volume)
        self._volume = volume
        # Undone by these, not by orienting back: at 45 degrees the nearest axis need not be the same again.
        self._permutation: tuple[int, ...] = orient.GetPermuteOrder()
        self._flips: tuple[bool, ...] = orient.GetFlipAxes()

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Distance between voxels along the array's axes (z, y, x) in mm."""
        return np.array(self.image.GetSpacing()[::-1])

    def array(self) -> NDArray[Any]:
        """A copy of the voxels, (z, y, x)."""
        return sitk.GetArrayFromImage(self.image)

    def restore(self, array: NDArray[Any]) -> sitk.Image:
        """An array (z, y, x) of this view's shape as an image on the original volume's exact grid."""
        # NumPy's axes are (z, y, x), SimpleITK's (x, y, z).
        flipped = np.flip(array, [2 - axis for axis in range(3) if self._flips[axis]])
        image: sitk.Image = sitk.GetImageFromArray(
            flipped.transpose([2 - self._permutation.index(axis) for axis in (2, 1, 0)])
        )
        image.CopyInformation(self._volume)
        return image
