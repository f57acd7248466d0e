"""A part of a CT that alone is segmented: the CT is cropped for the backend, and its images are padded again."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from InfNetSegmentationLib.Images import ijkToRAS


class RegionOfInterest:
    """The smallest box along the CT's axes that holds a region of interest, whatever the region's orientation.

    Raises ValueError where no voxel of the CT has its centre in the box.
    """

    def __init__(self, roiNode, volumeNode):
        self._name = roiNode.GetName()
        self._dimensions = volumeNode.GetImageData().GetDimensions()
        corners = _cornersInVoxels(roiNode, volumeNode)
        start = np.maximum(np.ceil(corners.min(axis=0) - 1e-6), 0).astype(int)
        stop = np.minimum(np.floor(corners.max(axis=0) + 1e-6) + 1, self._dimensions).astype(int)
        if np.any(start >= stop):
            raise ValueError(
                _("“{region}” holds no voxel of “{volume}”. Move the region onto the lungs, or choose none.").format(
                    region=self._name, volume=volumeNode.GetName()
                )
            )
        self._start, self._stop = start.tolist(), stop.tolist()

    def cropped(self, image):
        """The part of an image (SimpleITK) on the CT's grid."""
        return image[tuple(slice(start, stop) for start, stop in zip(self._start, self._stop, strict=True))]

    def padFile(self, path):
        """Give the image in a file the size of the whole CT again; outside the region it is 0."""
        import SimpleITK as sitk

        after = [size - stop for size, stop in zip(self._dimensions, self._stop, strict=True)]
        sitk.WriteImage(sitk.ConstantPad(sitk.ReadImage(str(path)), self._start, after, 0), str(path))

    def warning(self):
        """What a reader of the numbers must know."""
        return _(
            "Only the region of interest “{name}” was read ({part} of {whole} voxels): volumes, percentages and scores "
            "are of the lung in it."
        ).format(
            name=self._name,
            part=" × ".join(str(size) for size in self._size()),  # noqa: RUF001
            whole=" × ".join(str(size) for size in self._dimensions),  # noqa: RUF001
        )

    def provenance(self):
        """Name, first voxel (i, j, k) and size in voxels."""
        return {"name": self._name, "first_voxel": self._start, "size": self._size()}

    def _size(self):
        return [stop - start for start, stop in zip(self._start, self._stop, strict=True)]


def _cornersInVoxels(roiNode, volumeNode):
    """The region's corners as voxel indices (8, 3) of the CT. Either node may be under a transform."""
    half = np.array(roiNode.GetSize()) / 2
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1)
    objectToNode = slicer.util.arrayFromVTKMatrix(roiNode.GetObjectToNodeMatrix())
    corners = (objectToNode @ [*(signs * half[:, None]), np.ones(8)])[:3].T
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        roiNode.GetParentTransformNode(), volumeNode.GetParentTransformNode(), transform
    )
    points = np.array([transform.TransformPoint(corner) for corner in corners])
    return (np.linalg.inv(ijkToRAS(volumeNode)) @ [*points.T, np.ones(8)])[:3].T


def fitToVolume(roiNode, volumeNode):
    """Give a new region the size of the whole CT, for the user to draw in."""
    bounds = np.zeros(6)
    volumeNode.GetRASBounds(bounds)
    low, high = bounds[::2], bounds[1::2]
    roiNode.SetCenterWorld((low + high) / 2)
    roiNode.SetSizeWorld(high - low)
    roiNode.CreateDefaultDisplayNodes()
