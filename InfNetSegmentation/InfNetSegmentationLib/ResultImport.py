"""From the files of a run to the nodes of the scene."""

import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.Edits import watchResults
from InfNetSegmentationLib.Regions import importRegions, regionsOf, showLungsWithoutLobes, showRegionsByDefault
from InfNetSegmentationLib.Scene import (
    PROBABILITY_ATTRIBUTE,
    importFindings,
    inOwnCoordinates,
    readLabels,
    readVolume,
    referencedNode,
    surfacesKept,
)
from InfNetSegmentationLib.SegmentationResult import CANDIDATES_ROLE, PROBABILITY_ROLE, REGIONS_ROLE, storeResult


def importResult(payload, labelImagePath, studyFolder, volumeNode, segmentationNode=None):
    """Bring findings, lungs, lobes, probability and numbers into the scene. Returns the SegmentationResult.

    payload - what the backend told at its end (a dict)
    segmentationNode - receives the findings; what else its last result had, is replaced too. None makes a new one
    """
    segmentationNode = importFindings(labelImagePath, volumeNode, segmentationNode, payload["provenance"])
    _importRegions(studyFolder, segmentationNode, volumeNode, regionsOf(payload["provenance"].get("lobes")))
    _importImages(studyFolder, segmentationNode, volumeNode)
    result = storeResult(segmentationNode, volumeNode, payload)
    watchResults()
    return result


def _importRegions(studyFolder, segmentationNode, volumeNode, parts):
    from infnet.anatomy.regions import LUNGS

    isNew = segmentationNode.GetNodeReference(REGIONS_ROLE) is None
    regionsNode = referencedNode(segmentationNode, REGIONS_ROLE, volumeNode, "vtkMRMLSegmentationNode", _("{} lobes"))
    images = [("lobes.nrrd", parts)] if parts else []
    images.append(("lungs.nrrd", LUNGS))
    labelmaps = [(readLabels(studyFolder / name), regions) for name, regions in images]
    with (
        slicer.util.NodeModify(regionsNode),
        inOwnCoordinates(regionsNode, volumeNode),
        surfacesKept(regionsNode),
    ):
        importRegions(regionsNode, labelmaps)
    if isNew:
        showRegionsByDefault(regionsNode)
    showLungsWithoutLobes(regionsNode)


def _importImages(studyFolder, segmentationNode, volumeNode):
    """The probability, and the finding of each voxel at any threshold; a study may have been written without them."""
    probability, candidates = _("{} probability of infection"), _("{} findings at any threshold")
    for role, className, name, fileName in (
        (PROBABILITY_ROLE, "vtkMRMLScalarVolumeNode", probability, "infection.nrrd"),
        (CANDIDATES_ROLE, "vtkMRMLLabelMapVolumeNode", candidates, "candidates.nrrd"),
    ):
        if not (studyFolder / fileName).exists():
            segmentationNode.SetNodeReferenceID(role, None)
            continue
        node = referencedNode(segmentationNode, role, volumeNode, className, name)
        node.SetAttribute(PROBABILITY_ATTRIBUTE, "1")
        readVolume(studyFolder / fileName, node)
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
