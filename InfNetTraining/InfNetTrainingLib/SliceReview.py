from pathlib import Path

import numpy as np
import slicer
from InfNetSegmentationLib.Images import imageOf, imageOnGrid
from InfNetSegmentationLib.Lesions import jumpTo, toWorld
from InfNetSegmentationLib.Views import showVolume
from slicer.i18n import tr as _

_ATTRIBUTE = "InfNetTraining.Review"
_SEGMENT_ID = "Infection"
_RED = (0.95, 0.2, 0.2)
# A picture lies as the training slices do: its columns run from front to back, its rows from right to left.
_FRONT_TO_BACK, _RIGHT_TO_LEFT, _DOWN = (0, -1, 0), (-1, 0, 0), (0, 0, -1)


class SliceReview:
    """A pseudo-labelled slice in the scene: in its CT where that is loaded under its name, else as a picture alone.

    volumeNode, segmentationNode - what Segment Editor needs; the segmentation has one segment, the infection
    """

    def __init__(self, stem, image, mask, unlabelledFolder=None):
        self.stem = stem
        self._shape = image.shape
        self._place, ctNode = _inItsCT(stem, unlabelledFolder)
        self.volumeNode = ctNode or _pictureNode(stem, image)
        self.segmentationNode = _segmentationNode(stem, self.volumeNode)
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            self._onVolume(mask), self.segmentationNode, _SEGMENT_ID, self.volumeNode
        )

    @property
    def isInScene(self):
        return all(node.GetScene() for node in (self.volumeNode, self.segmentationNode))

    def show(self):
        """Bring the slice into the slice views."""
        showVolume(self.volumeNode)
        center = np.argwhere(self._onVolume(np.ones(self._shape, bool))).mean(axis=0)
        jumpTo(toWorld(self.volumeNode, center[::-1]))

    def mask(self):
        """The segment as it is now, as the slice lies, (H, W) bool."""
        array = slicer.util.arrayFromSegmentBinaryLabelmap(self.segmentationNode, _SEGMENT_ID, self.volumeNode)
        if self._place is None:
            return array[0] > 0
        from infnet.data.orientation import AxialView

        return self._place.part_of(AxialView(imageOnGrid(array, self.volumeNode)).array()) > 0

    def _onVolume(self, mask):
        """A mask of the slice on the grid of its volume, (k, j, i) uint8."""
        if self._place is None:
            return mask[None].astype(np.uint8)
        import SimpleITK as sitk
        from infnet.data.prepared import put_back

        maps = {self.stem: mask.astype(np.uint8)}
        return sitk.GetArrayFromImage(put_back(imageOf(self.volumeNode), [self._place], maps))


def _inItsCT(stem, unlabelledFolder):
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
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
                if node.GetName() == places[stem].volume and node.GetImageData() is not None:
                    return places[stem], node
    return None, None


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
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentationNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    segmentation.AddEmptySegment(_SEGMENT_ID, _("Infection"), _RED)
    segmentationNode.GetDisplayNode().SetOpacity2DFill(0.15)  # what it covers shall be seen
    return segmentationNode


def _node(className):
    """The review's node of this class: there is one, whichever slice is looked at."""
    for node in slicer.util.getNodesByClass(className):
        if node.GetAttribute(_ATTRIBUTE):
            return node
    node = slicer.mrmlScene.AddNewNodeByClass(className)
    node.SetAttribute(_ATTRIBUTE, "1")
    return node
