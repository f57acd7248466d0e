"""The demo's picture: the most diseased axial and coronal slice and a 3D view, rendered by Slicer's views."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import SimpleITK as sitk
import slicer
from infnet.anatomy.lungs import segment_lungs
from InfNetSegmentationLib.Images import ijkToRAS, imageOf, labelsOf
from InfNetSegmentationLib.Scene import FINDING_IDS
from matplotlib.patches import Patch

from slicerhost.views import SliceView, ThreeDView

_VIEW_SIZE = (800, 800)
_LUNG_WINDOW, _LUNG_LEVEL = 1400, -500  # HU
_LUNG_COLOR = (0.72, 0.81, 0.9)
# Image axes as RAS axes: right-left, posterior-anterior, inferior-superior.
_ANTERIOR, _SUPERIOR = 1, 2


def savePicture(volumeNode, result, path):
    """Render the case and write it to ``path`` (PNG)."""
    segmentationNode = result.segmentationNode
    display = volumeNode.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(_LUNG_WINDOW, _LUNG_LEVEL)
    _styleSegments(segmentationNode)
    lungsNode = _addLungs(volumeNode)
    images = {}
    for orientation, name, axis in (("Axial", "Red", _SUPERIOR), ("Coronal", "Green", _ANTERIOR)):
        view = SliceView(name, orientation, _VIEW_SIZE)
        view.show(volumeNode, _mostDiseasedPoint(segmentationNode, volumeNode, axis))
        images[orientation] = view.image()
    segmentationNode.CreateClosedSurfaceRepresentation()
    lungsNode.CreateClosedSurfaceRepresentation()
    view = ThreeDView(size=_VIEW_SIZE)
    for setColor in (view.node.SetBackgroundColor, view.node.SetBackgroundColor2):
        setColor(0, 0, 0)
    view.fit()
    images["From the front"] = view.image()
    slicer.mrmlScene.RemoveNode(lungsNode)
    _compose(images, volumeNode.GetName(), segmentationNode, result.table[-1], path)


def _styleSegments(segmentationNode):
    display = segmentationNode.GetDisplayNode()
    display.SetOpacity2DFill(0.5)
    display.SetOpacity2DOutline(1.0)
    display.SetSliceIntersectionThickness(2)


def _addLungs(volumeNode):
    """The lungs as a translucent surface in the 3D view, so that the place of a finding can be seen."""
    labels = sitk.GetArrayFromImage(segment_lungs(imageOf(volumeNode)))
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.CreateDefaultDisplayNodes()
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentID = segmentationNode.GetSegmentation().AddEmptySegment("Lungs", "Lungs", _LUNG_COLOR)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        (labels > 0).astype(np.uint8), segmentationNode, segmentID, volumeNode
    )
    display = segmentationNode.GetDisplayNode()
    display.SetVisibility2D(False)
    display.SetOpacity3D(0.15)
    return segmentationNode


def _mostDiseasedPoint(segmentationNode, volumeNode, rasAxis):
    """A RAS point on the slice with most infected voxels across ``rasAxis``; the middle of the CT if there are none."""
    infected = labelsOf(segmentationNode, FINDING_IDS, volumeNode) > 0
    matrix = ijkToRAS(volumeNode)
    voxelAxis = int(np.argmax(np.abs(matrix[rasAxis, :3])))  # i, j or k; arrays are (k, j, i)
    center = (np.array(infected.shape[::-1]) - 1) / 2
    if infected.any():
        arrayAxis = 2 - voxelAxis
        perSlice = infected.sum(axis=tuple(axis for axis in range(3) if axis != arrayAxis))
        center[voxelAxis] = np.argmax(perSlice)
    return (matrix @ [*center, 1])[:3]


def _compose(images, case, segmentationNode, total, path):
    figure, axes = plt.subplots(1, len(images), figsize=(5 * len(images), 5.9), facecolor="black", dpi=120)
    for plot, (title, image) in zip(axes, images.items(), strict=True):
        plot.imshow(image)
        plot.set_title(title, color="white", fontsize=12)
        plot.set_axis_off()
    segmentation = segmentationNode.GetSegmentation()
    segments = [segmentation.GetNthSegment(i) for i in range(segmentation.GetNumberOfSegments())]
    volumes = (total["ggo_ml"], total["consolidation_ml"])
    figure.legend(
        handles=[
            Patch(color=segment.GetColor(), label=f"{segment.GetName()}: {volume:.1f} mL")
            for segment, volume in zip(segments, volumes, strict=True)
        ],
        loc="lower center",
        ncols=len(segments),
        facecolor="black",
        labelcolor="white",
        frameon=False,
        fontsize=12,
    )
    figure.suptitle(f"{case}: infection found by Inf-Net (research only)", color="white", fontsize=14)
    figure.subplots_adjust(left=0.005, right=0.995, top=0.88, bottom=0.08, wspace=0.01)
    figure.savefig(path, facecolor="black")
    plt.close(figure)
