"""Axial slices of a volume, whatever its direction, and the way back onto the volume's own grid."""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


class AxialView:
    """A volume with its axes permuted and flipped, never resampled, so that they run as nearly as possible along
    patient left, posterior and superior (LPS): slices along the first array axis are axial and stand in the usual
    order.

    ``image`` is the reoriented volume. Its array is (z, y, x): z ascends from feet to head, y from anterior to
    posterior, x from the patient's right to the left.
    """

    def __init__(self, volume: sitk.Image) -> None:
        orient = sitk.DICOMOrientImageFilter()
        orient.SetDesiredCoordinateOrientation("LPS")
        self.image: sitk.Image = orient.Execute(volume)
        self._volume = volume
        # Undone by these, not by orienting back: at 45 degrees "the nearest axis" need not find the same way back.
        self._permutation: tuple[int, ...] = orient.GetPermuteOrder()
        self._flips: tuple[bool, ...] = orient.GetFlipAxes()

    def array(self) -> NDArray[np.generic]:
        """The voxels, (z, y, x), as a read-only view."""
        return sitk.GetArrayViewFromImage(self.image)

    def restore(self, array: NDArray[np.generic]) -> sitk.Image:
        """An array (z, y, x) of this view's shape as an image on the original volume's exact grid."""
        image = sitk.Flip(sitk.GetImageFromArray(array), self._flips)
        image = sitk.PermuteAxes(image, [self._permutation.index(axis) for axis in range(3)])
        image.CopyInformation(self._volume)
        return image
