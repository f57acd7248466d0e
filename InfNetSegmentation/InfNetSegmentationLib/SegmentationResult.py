import json
from dataclasses import dataclass

import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.Chart import fillChart
from InfNetSegmentationLib.ResultTable import fillTableNode
from InfNetSegmentationLib.Scene import referencedNode

RESULT_ATTRIBUTE = "InfNet.Result"
EDITED_ATTRIBUTE = "InfNet.Edited"
_VALUES = ("table", "severity", "provenance", "warnings", "seconds")
VOLUME_ROLE, TABLE_ROLE, CHART_ROLE = "InfNet.Volume", "InfNet.Table", "InfNet.Chart"
REGIONS_ROLE, PROBABILITY_ROLE = "InfNet.Regions", "InfNet.ProbabilityVolume"
CANDIDATES_ROLE = "InfNet.Candidates"


@dataclass
class SegmentationResult:
    """What a run leaves in the scene, and what was measured.

    volumeNode - the CT
    segmentationNode - segments "Ground-glass opacity" and "Consolidation"
    regionsNode - segmentation of the lungs and of the lobes or zones, if there are any
    probabilityNode - volume of the probability of infection, 0 to 1
    candidatesNode - label volume: the finding (1, 2) that each voxel is at any threshold; 4, 5, 6: corrected by hand to
        nothing, to ground-glass opacity, to consolidation. Both images are None where the scene was saved without them
    tableNode, chartNode - the numbers, and the share of each region that is infected; None where somebody has deleted
        them: `fillTableAndChart` makes them again
    table - one dict per region: lobes or zones, "outside every lobe", "right lung", "left lung", "total"; volumes in
        mL, percentages, mean HU, CT severity scores
    severity - CT severity score, 0 to 25, or None
    provenance - models, hashes, threshold, where lungs and lobes come from, device, versions
    seconds - duration of each stage

    All of it is kept by the scene: `storedResult` gives the result of a segmentation that was loaded with a scene.
    """

    volumeNode: slicer.vtkMRMLScalarVolumeNode
    segmentationNode: slicer.vtkMRMLSegmentationNode
    regionsNode: slicer.vtkMRMLSegmentationNode
    probabilityNode: slicer.vtkMRMLScalarVolumeNode
    candidatesNode: slicer.vtkMRMLLabelMapVolumeNode
    tableNode: slicer.vtkMRMLTableNode
    chartNode: slicer.vtkMRMLPlotChartNode
    table: list
    severity: int | None
    provenance: dict
    warnings: list
    seconds: dict

    @property
    def lobeSource(self):
        """Where the lobes come from: "atlas", "lungmask", "totalsegmentator", "existing", "zones" or "none"."""
        return self.provenance.get("lobes", "none")

    @property
    def isEdited(self):
        """Whether the findings, the lungs or the lobes were changed by hand after they were measured."""
        return self.segmentationNode.GetAttribute(EDITED_ATTRIBUTE) is not None

    @property
    def minimumLesionMl(self):
        return self.provenance.get("minimum_lesion_ml", 0.0)


def storeResult(segmentationNode, volumeNode, values):
    """Keep a result's values (a dict) with its segmentation; fill its table and its chart. Returns the result."""
    segmentationNode.SetNodeReferenceID(VOLUME_ROLE, volumeNode.GetID())
    segmentationNode.RemoveAttribute(EDITED_ATTRIBUTE)
    segmentationNode.SetAttribute(RESULT_ATTRIBUTE, json.dumps({key: values[key] for key in _VALUES}))
    return fillTableAndChart(storedResult(segmentationNode))


def fillTableAndChart(result):
    """Let table and chart tell this result and the CT's present name. Where somebody has deleted one, it is made anew.

    Returns the result with both.
    """
    segmentationNode, volumeNode = result.segmentationNode, result.volumeNode
    tableNode = referencedNode(segmentationNode, TABLE_ROLE, volumeNode, "vtkMRMLTableNode", _("{} infection volumes"))
    chartNode = referencedNode(
        segmentationNode, CHART_ROLE, volumeNode, "vtkMRMLPlotChartNode", _("{} infection chart")
    )
    fillTableNode(tableNode, result.table, volumeNode.GetName())
    fillChart(chartNode, result.table, volumeNode)
    return storedResult(segmentationNode)


def resultNodes():
    """The segmentations of the scene that hold a result."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if node.GetAttribute(RESULT_ATTRIBUTE)]


def segmentationOf(volumeNode):
    """The segmentation that holds this CT's result, or None."""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if volumeNode is not None and node.GetNodeReference(VOLUME_ROLE) is volumeNode:
            return node
    return None


def storedResult(segmentationNode):
    """The result that a segmentation is part of; None if there is none, or if its CT was deleted."""
    text = segmentationNode.GetAttribute(RESULT_ATTRIBUTE) if segmentationNode else None
    if not text:
        return None
    roles = (VOLUME_ROLE, REGIONS_ROLE, PROBABILITY_ROLE, CANDIDATES_ROLE, TABLE_ROLE, CHART_ROLE)
    volumeNode, *others = map(segmentationNode.GetNodeReference, roles)
    if volumeNode is None:
        return None
    others = [
        None if isinstance(node, slicer.vtkMRMLVolumeNode) and not node.GetImageData() else node for node in others
    ]
    return SegmentationResult(volumeNode, segmentationNode, *others, **json.loads(text))
