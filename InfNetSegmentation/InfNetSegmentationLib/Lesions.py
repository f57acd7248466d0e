"""Where the disease is: its lesions, and the slice with most of it, as points in the scene's RAS coordinates."""

from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from InfNetSegmentationLib.Images import ijkToRAS, labelsOf, voxelMl
from InfNetSegmentationLib.Scene import FINDING_IDS

_SUPERIOR = 2


@dataclass(frozen=True)
class Lesion:
    """A connected piece of infection, be it ground glass, consolidation or both.

    center - centroid, RAS, mm
    ml - volume
    """

    center: tuple
    ml: float


def lesionsOf(result):
    """The lesions of a result, largest first. Voxels that touch, be it at a corner, are of one lesion."""
    from scipy import ndimage

    infected = _infected(result)
    if not infected.any():
        return []
    (box,) = ndimage.find_objects(infected.view(np.uint8))
    pieces, _count = ndimage.label(infected[box], np.ones((3, 3, 3)))
    voxels = np.argwhere(pieces)  # few of the CT's, so that nothing of its size is computed
    numbers = pieces[tuple(voxels.T)] - 1
    sizes = np.bincount(numbers)
    centers = np.transpose([np.bincount(numbers, column) / sizes for column in voxels.T]) + [part.start for part in box]
    size = voxelMl(result.volumeNode)
    order = np.argsort(-sizes, kind="stable")
    return [Lesion(toWorld(result.volumeNode, centers[i][::-1]), float(sizes[i] * size)) for i in order]


def mostDiseasedPoint(result):
    """The middle of the infection on the axial slice that has most of it; None where there is none."""
    infected = _infected(result)
    if not infected.any():
        return None
    matrix = ijkToRAS(result.volumeNode)
    axis = 2 - int(np.argmax(np.abs(matrix[_SUPERIOR, :3])))  # of the array (k, j, i)
    others = tuple(other for other in range(3) if other != axis)
    position = int(np.argmax(infected.sum(axis=others)))
    center = np.mean(np.argwhere(infected.take(position, axis)), axis=0)
    return toWorld(result.volumeNode, np.insert(center, axis, position)[::-1])


def jumpTo(point):
    """Move the slice views to a point, which comes to their middle."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *point, slicer.vtkMRMLSliceNode.CenteredJumpSlice)


def toWorld(volumeNode, ijk):
    """The point (RAS) of voxel indices (i, j, k), with the transforms above the volume."""
    point = (ijkToRAS(volumeNode) @ [*ijk, 1.0])[:3]
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(volumeNode.GetParentTransformNode(), None, transform)
    return tuple(transform.TransformPoint(point))


def _infected(result):
    return labelsOf(result.segmentationNode, FINDING_IDS, result.volumeNode) > 0
