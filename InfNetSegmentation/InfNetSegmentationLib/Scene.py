import json
from contextlib import contextmanager

import slicer
import vtk
from slicer.i18n import tr as _

from InfNetSegmentationLib.Terminology import applyFinding, loadTerminology

# Segment ID and name of each label of the backend's label image: 1, 2.
FINDINGS = (("GroundGlassOpacity", "Ground-glass opacity"), ("Consolidation", "Consolidation"))
PROVENANCE_TAG = "InfNet.Provenance"
_TABLE_ROLE = "InfNet.Table"


def writeVolume(volumeNode, path):
    """Write a volume as NRRD, in its own coordinates: a transform above it is not applied."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()  # not in the scene: the node keeps its own file name
    storage.SetFileName(str(path))
    storage.SetUseCompression(False)
    if not storage.WriteData(volumeNode):
        raise RuntimeError(f"“{volumeNode.GetName()}” could not be written to {path}.")


def importFindings(labelImagePath, volumeNode, segmentationNode=None, provenance=None):
    """Put the backend's label image into the scene as segments, and return the segmentation node.

    A given segmentation keeps its other segments; without one, a new one is made. The segments are on the grid of
    ``volumeNode``, under its transform and beside it in the subject hierarchy. ``provenance`` (a dict) goes into a
    tag of both segments, which .seg.nrrd files keep.
    """
    labelmapNode = _readLabelImage(labelImagePath)
    if segmentationNode is None:
        segmentationNode = _addNode("vtkMRMLSegmentationNode", f"{volumeNode.GetName()} infection")
        segmentationNode.CreateDefaultDisplayNodes()
    loadTerminology()
    with slicer.util.NodeModify(segmentationNode):
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        segmentIDs = vtk.vtkStringArray()
        for segmentID, name in FINDINGS:
            applyFinding(_segment(segmentationNode.GetSegmentation(), segmentID), name)
            segmentIDs.InsertNextValue(segmentID)
        # The label image is in the volume's own coordinates, so it is imported while no transform is set.
        segmentationNode.SetAndObserveTransformNodeID(None)
        try:
            imported = slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(
                labelmapNode, segmentationNode, segmentIDs
            )
        finally:
            segmentationNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        if not imported:
            raise RuntimeError(f"The label image {labelImagePath} could not be imported.")
        for segmentID, _name in FINDINGS:
            segment = segmentationNode.GetSegmentation().GetSegment(segmentID)
            segment.SetTag(PROVENANCE_TAG, _asTag(provenance or {}))
    _placeBeside(volumeNode, segmentationNode)
    return segmentationNode


def checkOutput(segmentationNode, volumeNode):
    """Raises ValueError if the segmentation has segments that `importFindings` would move in space."""
    segmentation = segmentationNode.GetSegmentation()
    segmentIDs = {segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())}
    others = segmentIDs - {segmentID for segmentID, _name in FINDINGS}
    if others and segmentationNode.GetParentTransformNode() is not volumeNode.GetParentTransformNode():
        raise ValueError(
            _(
                "“{segmentation}” has other segments and is not under the same transform as “{volume}”, so they would "
                "be moved. Put both under one transform, or choose “Create new segmentation”."
            ).format(segmentation=segmentationNode.GetName(), volume=volumeNode.GetName())
        )


@contextmanager
def newNodesRemovedOnError():
    """If the block ends by an exception, remove the nodes that it has added to the scene."""
    added = []

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(scene, event, node):
        added.append(node)

    tag = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, onNodeAdded)
    try:
        yield
    except Exception:
        for node in added:
            slicer.mrmlScene.RemoveNode(node)
        raise
    finally:
        slicer.mrmlScene.RemoveObserver(tag)


def provenance(segmentationNode):
    """What the segmentation's findings came from: models, hashes, device, versions (a dict)."""
    text = vtk.reference("")
    segment = segmentationNode.GetSegmentation().GetSegment(FINDINGS[0][0])
    return json.loads(str(text)) if segment and segment.GetTag(PROVENANCE_TAG, text) else {}


def resultTableNode(segmentationNode, volumeNode):
    """The segmentation's table node: the same one at every run."""
    tableNode = segmentationNode.GetNodeReference(_TABLE_ROLE)
    if tableNode is None:
        tableNode = _addNode("vtkMRMLTableNode", f"{volumeNode.GetName()} infection volumes")
        segmentationNode.SetNodeReferenceID(_TABLE_ROLE, tableNode.GetID())
        _placeBeside(volumeNode, tableNode)
    return tableNode


def _readLabelImage(path):
    labelmapNode = slicer.vtkMRMLLabelMapVolumeNode()
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(labelmapNode):
        raise RuntimeError(f"The label image {path} could not be read.")
    return labelmapNode


def _segment(segmentation, segmentID):
    if segmentation.GetSegment(segmentID) is None:
        segmentation.AddSegment(slicer.vtkSegment(), segmentID)
    return segmentation.GetSegment(segmentID)


def _asTag(value):
    # A .seg.nrrd file separates tags by "|", which JSON can write in another way.
    return json.dumps(value).replace("|", "\\u007c")


def _addNode(className, name):
    return slicer.mrmlScene.AddNewNodeByClass(className, slicer.mrmlScene.GenerateUniqueName(name))


def _placeBeside(volumeNode, node):
    """Into the CT's study in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volumeNode))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
