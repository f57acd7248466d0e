"""Which volumes of the scene can be CTs, and selectors that offer no other ones."""

import slicer

from InfNetSegmentationLib.Scene import PROBABILITY_ATTRIBUTE

REVIEW_ATTRIBUTE = "InfNetTraining.Review"  # of the picture of a slice that InfNetTraining shows


def sceneCTs():
    """The volumes of the scene that can be CTs: neither label images nor colour images, nor what we have made, nor what
    has no voxels, as when its file was not found.
    """
    # Their classes are derived from that of volumes.
    volumes = [node for node in _volumes() if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
    return [node for node in volumes if node.GetImageData() is not None and not _isOurs(node)]


def offerCTs(selector):
    """Let a selector (qMRMLNodeComboBox) not offer what we have made; to be called again when there is more of it.

    A selector can ask for an attribute of its nodes, but not refuse one, so the nodes are named.
    """
    selector.sortFilterProxyModel().hiddenNodeIDs = [node.GetID() for node in _volumes() if _isOurs(node)]


def _volumes():
    return slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")


def _isOurs(volumeNode):
    return any(volumeNode.GetAttribute(name) for name in (PROBABILITY_ATTRIBUTE, REVIEW_ATTRIBUTE))
