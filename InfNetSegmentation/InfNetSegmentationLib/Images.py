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


def whyNoVoxels(volumeNode):
    """Why nothing can be read from a CT of the scene, and what helps (a sentence), or None."""
    if volumeNode.GetImageData() is not None:
        return None
    return _("“{}” has no voxels: its file was not found. Load the scene again when the file is back.").format(
        volumeNode.GetName()
    )


def labelsOf(segmentationNode, segmentIDs, volumeNode):
    """Segments as labels 1, 2, … (uint8, on the volume's grid); of overlapping ones the later counts.

    An ID that is None, or of which there is no segment, has no voxels. Segments and volume are taken in their own
    coordinates: what was made on a volume stays where it is on it when one of the two is put under a transform, or
    when a linear one above both is hardened in one of them.

    Raises ValueError where the volume has no voxels.
    """
    from vtk.util.numpy_support import vtk_to_numpy

    problem = whyNoVoxels(volumeNode)
    if problem:
        raise ValueError(problem)
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
    ofSegments = [(segmentation.GetSegment(segmentID), label) for segmentID, label in labels.items()]
    layers = [segment.GetRepresentation("Binary labelmap") for segment, _label in ofSegments]
    placed = next((layer for layer in layers if layer and layer.GetNumberOfPoints()), None)  # not one never drawn in
    grid = _gridUnder(placed, segmentationNode, volumeNode)
    ofLayer = _labelsOfLayer(ofSegments, grid)
    if ofLayer is not None:
        return ofLayer
    # Slicer (5.13) merges none where one is empty on another grid.
    labels = {
        segmentID: label for segmentID, label in labels.items() if not isEmpty(segmentation.GetSegment(segmentID))
    }
    if not labels:
        return np.zeros(slicer.util.arrayFromVolume(volumeNode).shape, np.uint8)
    segments, values = vtk.vtkStringArray(), vtk.vtkIntArray()
    for segmentID, label in labels.items():
        segments.InsertNextValue(segmentID)
        values.InsertNextValue(label)
    merged = slicer.vtkOrientedImageData()
    if not segmentationNode.GenerateMergedLabelmapForAllSegments(
        merged, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY, grid, segments, values
    ):
        raise RuntimeError(_("The voxels of “{}” could not be read.").format(segmentationNode.GetName()))
    voxels = vtk_to_numpy(merged.GetPointData().GetScalars())
    return voxels.reshape(merged.GetDimensions()[::-1]).astype(np.uint8)


def isEmpty(segment):
    """Whether a segment has a binary labelmap, but no voxels in it, wherever they would be."""
    from vtk.util.numpy_support import vtk_to_numpy

    layer = segment.GetRepresentation("Binary labelmap")
    if layer is None:
        return False
    voxels = layer.GetPointData().GetScalars()
    return voxels is None or not (vtk_to_numpy(voxels) == segment.GetLabelValue()).any()


def _gridUnder(layer, segmentationNode, volumeNode):
    """The volume's geometry alone: its own, or, where a layer (or None) has the same voxels only in the scene, as the
    segmentation's coordinates have it.
    """
    matrix, toSegments = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    grid, hardened = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    grid.SetImageToWorldMatrix(matrix)
    isLinear = slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        volumeNode.GetParentTransformNode(), segmentationNode.GetParentTransformNode(), toSegments
    )
    vtk.vtkMatrix4x4.Multiply4x4(toSegments, matrix, matrix)
    hardened.SetImageToWorldMatrix(matrix)
    haveSameVoxels = slicer.vtkOrientedImageDataResample.DoGeometriesMatch
    if layer and isLinear and not haveSameVoxels(layer, grid) and haveSameVoxels(layer, hardened):
        grid = hardened
    grid.SetExtent(volumeNode.GetImageData().GetExtent())
    return grid


def _labelsOfLayer(segments, grid):
    """What `labelsOf` returns, several times faster, for (segment, label) of one layer on the grid; else None.

    So are the segments that were imported together, until Segment Editor has to part them.
    """
    from vtk.util.numpy_support import vtk_to_numpy

    layer, *others = {segment.GetRepresentation("Binary labelmap") for segment, _label in segments}
    if others or layer is None or not slicer.vtkOrientedImageDataResample.DoGeometriesMatch(layer, grid):
        return None
    size = grid.GetDimensions()[::-1]
    labels, extent = np.zeros(size, np.uint8), np.reshape(layer.GetExtent(), (3, 2))[::-1]
    start, stop = extent[:, 0], extent[:, 1] + 1
    inner = np.maximum(start, 0), np.minimum(stop, size)  # beside the CT there is nothing to label
    if np.any(inner[0] >= inner[1]):
        return labels
    ofGrid, ofLayer = (tuple(map(slice, *(part - origin for part in inner))) for origin in (0 * start, start))
    values = vtk_to_numpy(layer.GetPointData().GetScalars()).reshape(stop - start)
    table = np.zeros(int(values.max()) + 1, np.uint8)
    for segment, label in segments:
        table[segment.GetLabelValue() : segment.GetLabelValue() + 1] = label
    isSame = np.array_equal(table, np.arange(len(table)))  # where all segments were imported, which saves the most
    labels[ofGrid] = values[ofLayer] if isSame else table[values[ofLayer]]
    return labels
