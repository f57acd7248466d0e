"""Volumes and segments of the scene as SimpleITK images on a CT's grid, in the CT's own coordinates."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _


def imageOf(volumeNode):
    """The voxels and the geometry of a scalar volume; a transform above it is not applied."""
    return imageOnGrid(slicer.util.arrayFromVolume(volumeNode), volumeNode)


def imageOnGrid(array, volumeNode):
    """An array (k, j, i) as an image with the geometry of ``volumeNode``."""
    import SimpleITK as sitk

    matrix = ijkToLPS(volumeNode)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    return image


def ijkToRAS(volumeNode):
    """The matrix (4, 4) from voxel indices (i, j, k) to the volume's own RAS coordinates."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def ijkToLPS(volumeNode):
    """The same into LPS, which image files use."""
    return np.diag([-1, -1, 1, 1]) @ ijkToRAS(volumeNode)


def voxelMl(volumeNode):
    """Volume of a voxel in mL."""
    return abs(np.linalg.det(ijkToRAS(volumeNode)[:3, :3])) / 1000


def labelsOf(segmentationNode, segmentIDs, volumeNode):
    """Segments as labels 1, 2, … (uint8, on the volume's grid); of overlapping ones the later counts.

    An ID that is None, or of which there is no segment, has no voxels. Segments and volume are taken in their own
    coordinates: what was made on a volume stays where it is on it when one of the two is put under a transform.
    """
    from vtk.util.numpy_support import vtk_to_numpy

    # slicer.util.arrayFromSegmentBinaryLabelmap leaves a display node in the scene at every call (5.13).
    segmentation = segmentationNode.GetSegmentation()
    labels = {
        segmentID: label
        for label, segmentID in enumerate(segmentIDs, start=1)
        if segmentID and segmentation.GetSegment(segmentID)
    }
    if not labels:
        return np.zeros(slicer.util.arrayFromVolume(volumeNode).shape, np.uint8)
    segmentationNode.CreateBinaryLabelmapRepresentation()  # of surfaces; otherwise it is there
    segments, values = vtk.vtkStringArray(), vtk.vtkIntArray()
    for segmentID, label in labels.items():
        segments.InsertNextValue(segmentID)
        values.InsertNextValue(label)
    grid = slicer.vtkSlicerSegmentationsModuleLogic.CreateOrientedImageDataFromVolumeNode(
        volumeNode, volumeNode.GetParentTransformNode()
    )
    grid.UnRegister(None)  # made by the function above for its caller
    merged = slicer.vtkOrientedImageData()
    if not segmentationNode.GenerateMergedLabelmapForAllSegments(
        merged, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY, grid, segments, values
    ):
        raise RuntimeError(_("The voxels of “{}” could not be read.").format(segmentationNode.GetName()))
    voxels = vtk_to_numpy(merged.GetPointData().GetScalars())
    return voxels.reshape(merged.GetDimensions()[::-1]).astype(np.uint8)
