"""Volumes and segments of the scene as SimpleITK images on a CT's grid, in the CT's own coordinates."""

import numpy as np
import slicer
import vtk


def imageOf(volumeNode):
    """The voxels and the geometry of a scalar volume; a transform above it is not applied."""
    return imageOnGrid(slicer.util.arrayFromVolume(volumeNode), volumeNode)


def imageOnGrid(array, volumeNode):
    """An array (k, j, i) as an image with the geometry of ``volumeNode``."""
    import SimpleITK as sitk

    ijkToLPS = np.diag([-1, -1, 1, 1]) @ ijkToRAS(volumeNode)
    spacing = np.linalg.norm(ijkToLPS[:3, :3], axis=0)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(ijkToLPS[:3, 3].tolist())
    image.SetDirection((ijkToLPS[:3, :3] / spacing).ravel().tolist())
    return image


def ijkToRAS(volumeNode):
    """The matrix (4, 4) from voxel indices (i, j, k) to the volume's own RAS coordinates."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def voxelMl(volumeNode):
    """Volume of a voxel in mL."""
    return abs(np.linalg.det(ijkToRAS(volumeNode)[:3, :3])) / 1000


def labelsOf(segmentationNode, segmentIDs, volumeNode):
    """Segments as labels 1, 2, … (uint8, on the volume's grid); of overlapping ones the later counts."""
    labels = np.zeros(slicer.util.arrayFromVolume(volumeNode).shape, np.uint8)
    for label, segmentID in enumerate(segmentIDs, start=1):
        if segmentID and segmentationNode.GetSegmentation().GetSegment(segmentID) is not None:
            segment = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode)
            labels[segment > 0] = label
    return labels
