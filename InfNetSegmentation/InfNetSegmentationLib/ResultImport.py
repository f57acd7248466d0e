"""From the files of a run to the nodes of the scene."""

import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.Regions import importRegions, regionsOf, showRegionsByDefault
from InfNetSegmentationLib.Scene import (
    PROBABILITY_ATTRIBUTE,
    importFindings,
    inOwnCoordinates,
    readLabels,
    readVolume,
    referencedNode,
)
from InfNetSegmentationLib.SegmentationResult import PROBABILITY_ROLE, REGIONS_ROLE, storeResult


def importResult(payload, labelImagePath, studyFolder, volumeNode, segmentationNode=None):
    """Bring findings, lungs, lobes, probability and numbers into the scene. Returns the SegmentationResult.

    payload - what the backend told at its end (a dict)
    segmentationNode - receives the findings; what else its last result had, is replaced too. None makes a new one
    """
    segmentationNode = importFindings(labelImagePath, volumeNode, segmentationNode, payload["provenance"])
    _importRegions(studyFolder, segmentationNode, volumeNode, regionsOf(payload["provenance"].get("lobes")))
    _importProbability(studyFolder, segmentationNode, volumeNode)
    return storeResult(segmentationNode, volumeNode, payload)


def _importRegions(studyFolder, segmentationNode, volumeNode, parts):
    from infnet.anatomy.regions import LUNGS

    isNew = segmentationNode.GetNodeReference(REGIONS_ROLE) is None
    regionsNode = referencedNode(segmentationNode, REGIONS_ROLE, volumeNode, "vtkMRMLSegmentationNode", _("{} lobes"))
    images = [("lobes.nrrd", parts)] if parts else []
    images.append(("lungs.nrrd", LUNGS))
    labelmaps = [(readLabels(studyFolder / name), regions) for name, regions in images]
    with slicer.util.NodeModify(regionsNode), inOwnCoordinates(regionsNode, volumeNode):
        regionsNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        importRegions(regionsNode, labelmaps)
    if isNew:
        showRegionsByDefault(regionsNode, parts)


def _importProbability(studyFolder, segmentationNode, volumeNode):
    name = _("{} probability of infection")
    node = referencedNode(segmentationNode, PROBABILITY_ROLE, volumeNode, "vtkMRMLScalarVolumeNode", name)
    node.SetAttribute(PROBABILITY_ATTRIBUTE, "1")
    readVolume(studyFolder / "infection.nrrd", node)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
