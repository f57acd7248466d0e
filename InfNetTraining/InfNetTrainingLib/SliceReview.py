from pathlib import Path

import numpy as np
import slicer
import vtk
from InfNetSegmentationLib.Images import imageOnGrid, labelsOf
from InfNetSegmentationLib.Lesions import jumpTo, toWorld
from InfNetSegmentationLib.Scene import inOwnCoordinates, labelmapFromArray
from InfNetSegmentationLib.SceneCTs import REVIEW_ATTRIBUTE
from InfNetSegmentationLib.Views import showVolume
from slicer.i18n import tr as _

from InfNetTrainingLib.SceneCases import caseName, findingsOf

_SEGMENT_ID, _LABELMAP = "Infection", "Binary labelmap"
_RED = (0.95, 0.2, 0.2)
# A picture lies as the training slices do: its columns run from front to back, its rows from right to left.
_FRONT_TO_BACK, _RIGHT_TO_LEFT, _DOWN = (0, -1, 0), (-1, 0, 0), (0, 0, -1)


class SliceReview:
    """A pseudo-labelled slice in the scene: in its CT where that is loaded under its name, else as a picture alone.

    volumeNode, segmentationNode - what Segment Editor needs; the segmentation has one segment, the infection
    """

    def __init__(self, stem, image, mask, unlabelledFolder=None):
        self.stem = stem
        self._place, ctNode = _inItsCT(stem, mask.shape, unlabelledFolder)
        self.volumeNode = ctNode or _pictureNode(stem, image)
        self.segmentationNode = _segmentationNode(stem, self.volumeNode)
        array = np.zeros(slicer.util.arrayFromVolume(self.volumeNode).shape, np.uint8)
        self._pictureIn(array)[...] = mask
        self._setSegment(array)
        self.setUnedited()

    @property
    def isInScene(self):
        return all(node.GetScene() for node in (self.volumeNode, self.segmentationNode))

    @property
    def isEdited(self):
        """Whether what is drawn is something else than it was, and neither kept nor gone."""
        return self.isInScene and self._changedAt() != self._uneditedAt

    def setUnedited(self):
        """The segment as it is now is kept somewhere."""
        self._uneditedAt = self._changedAt()

    def show(self):
        """Bring the slice into the slice views."""
        showVolume(self.volumeNode)
        marked = np.zeros(slicer.util.arrayFromVolume(self.volumeNode).shape, bool)
        picture = self._pictureIn(marked)
        picture[picture.shape[0] // 2, picture.shape[1] // 2] = True
        center = np.unravel_index(marked.argmax(), marked.shape)
        jumpTo(toWorld(self.volumeNode, center[::-1]))

    def mask(self):
        """The segment as it is now, with those added that are called a finding, as the slice lies, (H, W) bool.

        Raises ValueError where there is none: one that was deleted does not say that the slice is healthy.
        """
        segmentIDs = list(self._segments())
        if not segmentIDs:
            raise ValueError(
                _("The segment of “{}” was deleted. Draw into a new one with the name “Infection”.").format(self.stem)
            )
        return self._pictureIn(labelsOf(self.segmentationNode, segmentIDs, self.volumeNode)) > 0

    def _segments(self):
        """{segment ID: segment} of those that count."""
        segmentation = self.segmentationNode.GetSegmentation()
        counted = {_SEGMENT_ID, *findingsOf(self.segmentationNode)}
        return {name: segmentation.GetSegment(name) for name in segmentation.GetSegmentIDs() if name in counted}

    def _setSegment(self, array):
        # slicer.util.updateSegmentBinaryLabelmapFromArray leaves a display node in the scene at every call (5.13).
        segmentIDs = vtk.vtkStringArray()
        segmentIDs.InsertNextValue(_SEGMENT_ID)
        labelmapNode = labelmapFromArray(array, self.volumeNode)
        with inOwnCoordinates(self.segmentationNode, self.volumeNode):
            imported = slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(
                labelmapNode, self.segmentationNode, segmentIDs
            )
        if not imported:
            raise RuntimeError(_("The pseudo-label of “{}” could not be imported.").format(self.stem))

    def _pictureIn(self, array):
        """The slice (H, W) in an array (k, j, i) on its volume's grid, in the same memory: no CT is copied."""
        return array[0] if self._place is None else self._place.part_of(_axial(array, self.volumeNode))

    def _changedAt(self):
        labelmaps = [segment.GetRepresentation(_LABELMAP) for segment in self._segments().values()]
        return [labelmap.GetMTime() for labelmap in labelmaps if labelmap]


def _axial(array, volumeNode):
    """An array (k, j, i) on a volume's grid as axial slices (z, y, x), in the same memory."""
    from infnet.data.orientation import AxialView

    voxel = imageOnGrid(np.zeros((1, 1, 1), np.uint8), volumeNode)  # the directions alone are looked at
    return AxialView(voxel).turn(array)


def _inItsCT(stem, shape, unlabelledFolder):
    """The slice's place in its CT and the CT's node, both None where one of them is not known."""
    from infnet.data.listing import LISTING
    from infnet.data.prepared import read_listing
    from infnet.errors import InputError

    if unlabelledFolder and (Path(unlabelledFolder) / LISTING).is_file():
        try:
            places = {place.file: place for place in read_listing(Path(unlabelledFolder))}
        except InputError:  # a list that tells less, as that of COVID-SemiSeg
            places = {}
        if stem in places:
            place = places[stem]
            volumeNodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            named = [node for node in volumeNodes if place.volume in (node.GetName(), caseName(node))]
            fitting = [node for node in named if _canBeOf(place, shape, node)]
            if len(fitting) == 1:  # of two, nothing tells which patient's the slice is
                return place, fitting[0]
    return None, None


def _canBeOf(place, shape, volumeNode):
    """Whether a slice of this shape fits into the volume: another CT may have the name of its own."""
    if volumeNode.GetImageData() is None:
        return False
    axial = _axial(np.broadcast_to(np.uint8(0), slicer.util.arrayFromVolume(volumeNode).shape), volumeNode)
    return place.slice < len(axial) and place.part_of(axial).shape == shape


def _pictureNode(stem, image):
    volumeNode = _node("vtkMRMLScalarVolumeNode")
    volumeNode.SetName(_("{} (slice)").format(stem))
    volumeNode.SetIJKToRASDirections(*np.transpose([_FRONT_TO_BACK, _RIGHT_TO_LEFT, _DOWN]).ravel())
    slicer.util.updateVolumeFromArray(volumeNode, image[None])
    volumeNode.CreateDefaultDisplayNodes()
    displayNode = volumeNode.GetDisplayNode()
    displayNode.AutoWindowLevelOff()
    displayNode.SetWindowLevelMinMax(0, 255)
    return volumeNode


def _segmentationNode(stem, volumeNode):
    segmentationNode = _node("vtkMRMLSegmentationNode")
    segmentationNode.SetName(_("{} (pseudo-label)").format(stem))
    segmentationNode.CreateDefaultDisplayNodes()
    segmentation = segmentationNode.GetSegmentation()
    segmentation.RemoveAllSegments()
    segmentationNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentation.AddEmptySegment(_SEGMENT_ID, _("Infection"), _RED)
    segmentationNode.GetDisplayNode().SetOpacity2DFill(0.15)  # what it covers shall be seen
    return segmentationNode


def _node(className):
    """The review's node of this class: there is one, whichever slice is looked at."""
    for node in slicer.util.getNodesByClass(className):
        if node.GetAttribute(REVIEW_ATTRIBUTE):
            return node
    node = slicer.mrmlScene.AddNewNodeByClass(className)
    node.SetAttribute(REVIEW_ATTRIBUTE, "1")
    return node
