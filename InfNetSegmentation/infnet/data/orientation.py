"""Axial slices of a volume, whatever its direction, and the way back onto the volume's own grid."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


class AxialView:
    """A volume whose axes run as nearly as possible to the patient's left, back and head (LPS).

    They are permuted and flipped for that, never resampled. Arrays are (z, y, x): z ascends from feet to head, y from
    front to back, x from the patient's right to the left.
    """

    def __init__(self, volume: sitk.Image) -> None:
        orient = sitk.DICOMOrientImageFilter()
        orient.SetDesiredCoordinateOrientation("LPS")
        voxel = sitk.Image([1, 1, 1], sitk.sitkUInt8)  # the volume's direction decides alone
        voxel.SetDirection(volume.GetDirection())
        orient.Execute(voxel)
        self._volume = volume
        # Undone by these, not by orienting back: at 45 degrees the nearest axis need not be the same again.
        self._permutation: tuple[int, ...] = orient.GetPermuteOrder()
        self._flips: tuple[bool, ...] = orient.GetFlipAxes()

    @cached_property
    def image(self) -> sitk.Image:
        """The reoriented volume: a copy, or the volume itself where it stands so already."""
        if self._permutation == (0, 1, 2) and not any(self._flips):
            return self._volume
        turned: sitk.Image = sitk.Flip(sitk.PermuteAxes(self._volume, self._permutation), self._flips)
        return turned

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Distance between voxels along the array's axes (z, y, x) in mm."""
        spacing = self._volume.GetSpacing()
        return np.array([spacing[axis] for axis in self._permutation[::-1]])

    @property
    def slices_are_axial(self) -> bool:
        """Whether the volume's last axis, along which it is stored slice by slice, is that of the body."""
        return self._permutation[2] == 2

    @property
    def voxels(self) -> NDArray[Any]:
        """The voxels (z, y, x) in the volume's own memory: to read, and only as long as the volume is there."""
        return self.turn(sitk.GetArrayViewFromImage(self._volume))

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array on the volume's own grid (k, j, i), seen as this view's (z, y, x), in the same memory."""
        # NumPy's axes are (z, y, x), SimpleITK's (x, y, z).
        return np.flip(array.transpose([2 - axis for axis in self._permutation[::-1]]), self._flipped_axes())

    def array(self) -> NDArray[Any]:
        """A copy of the voxels, (z, y, x)."""
        return self.voxels.copy()

    def restore(self, array: NDArray[Any]) -> sitk.Image:
        """An array (z, y, x) of this view's shape as an image on the original volume's exact grid."""
        image: sitk.Image = sitk.GetImageFromArray(self._turned_back(array))
        image.CopyInformation(self._volume)
        return image

    def paste(self, section: NDArray[Any], z: int, image: sitk.Image) -> None:
        """Write an axial slice (y, x), the z-th, into an image on the volume's grid and of the slice's type."""
        axis = self._permutation[2]
        index = image.GetSize()[axis] - 1 - z if self._flips[2] else z
        place = [slice(None)] * 3
        place[axis] = slice(index, index + 1)
        image[tuple(place)] = sitk.GetImageFromArray(self._turned_back(section[None]))

    def slices_of(self, section_at: Callable[[int], NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """The slices of a volume whose `slices_are_axial`, in its order, from the axial ones (y, x) by their z."""
        order = range(self._volume.GetSize()[2])
        for z in reversed(order) if self._flips[2] else order:
            yield self._turned_back(section_at(z)[None])[0]

    def _turned_back(self, array: NDArray[Any]) -> NDArray[Any]:
        flipped = np.flip(array, self._flipped_axes())
        return flipped.transpose([2 - self._permutation.index(axis) for axis in (2, 1, 0)])

    def _flipped_axes(self) -> list[int]:
        return [2 - axis for axis in range(3) if self._flips[axis]]
