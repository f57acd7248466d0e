import json
import re
from contextlib import contextmanager

import slicer
import vtk
from slicer.i18n import tr as _

from InfNetSegmentationLib.Terminology import applyFinding, loadTerminology

# Segment ID and name of each label of the backend's label image: 1, 2.
FINDINGS = (("GroundGlassOpacity", "Ground-glass opacity"), ("Consolidation", "Consolidation"))
FINDING_IDS = tuple(segmentID for segmentID, _name in FINDINGS)
PROVENANCE_TAG = "InfNet.Provenance"
PROBABILITY_ATTRIBUTE = "InfNet.Probability"


def fileName(node, default):
    """The node's name, or else the default one, for files on any system."""
    return shortFileName(re.sub(r"[^A-Za-z0-9.-]+", "_", node.GetName() or default))


def shortFileName(name):
    """The beginning of a name: those of files have 255 bytes at most, with what is added to them."""
    return name.encode()[:100].decode(errors="ignore")


def readVolume(path, volumeNode):
    """Read an image file into a volume node, which need not be in the scene. Returns the node."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetForceRightHandedIJKCoordinateSystem(False)  # else slices of a left-handed image change their order
    storage.SetFileName(str(path))
    if not storage.ReadData(volumeNode):
        raise RuntimeError(_("The image {} could not be read.").format(path))
    return volumeNode


def readLabels(path):
    """The node, outside the scene, of a label image's file."""
    return readVolume(path, slicer.vtkMRMLLabelMapVolumeNode())


def importFindings(labelImagePath, volumeNode, segmentationNode=None, provenance=None):
    """Put the backend's label image into the scene as segments, and return the segmentation node.

    A given segmentation keeps its other segments; without one, a new one is made. The segments are on the grid of
    ``volumeNode``, under its transform and beside it in the subject hierarchy. ``provenance`` (a dict) goes into a
    tag of both segments, which .seg.nrrd files keep.
    """
    labelmapNode = readLabels(labelImagePath)
    if segmentationNode is None:
        segmentationNode = addNodeBeside(volumeNode, "vtkMRMLSegmentationNode", _("{} infection"))
    loadTerminology()
    with slicer.util.NodeModify(segmentationNode):
        replaceFindings(segmentationNode, labelmapNode, volumeNode)
        setProvenance(segmentationNode, provenance or {})
    placeBeside(volumeNode, segmentationNode)
    return segmentationNode


def replaceFindings(segmentationNode, labelmapNode, volumeNode):
    """Replace the voxels of the two segments by those of a label image in the volume's own coordinates.

    A segment that is not there, be it that somebody has deleted it, is made.
    """
    segmentation = segmentationNode.GetSegmentation()
    segmentIDs = vtk.vtkStringArray()
    for segmentID, name in FINDINGS:
        segmentIDs.InsertNextValue(segmentID)
        if segmentation.GetSegment(segmentID) is None:
            segmentation.AddSegment(slicer.vtkSegment(), segmentID)
            applyFinding(segmentation.GetSegment(segmentID), name)
    with inOwnCoordinates(segmentationNode, volumeNode), surfacesKept(segmentationNode):
        imported = slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(
            labelmapNode, segmentationNode, segmentIDs
        )
    if not imported:
        raise RuntimeError(_("The findings could not be imported."))


@contextmanager
def inOwnCoordinates(segmentationNode, volumeNode):
    """No transform within the block: label images are in the volume's coordinates. After it, the volume's transform,
    and with that its grid, on which Segment Editor paints: Slicer takes the grid as the transforms are.
    """
    segmentationNode.SetSourceRepresentationToBinaryLabelmap()  # surfaces take no label image
    segmentationNode.SetAndObserveTransformNodeID(None)
    try:
        yield
    finally:
        segmentationNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)


@contextmanager
def surfacesKept(segmentationNode):
    """New voxels have no surfaces: where 3D views show some, make them anew at the block's end."""
    areShown = areSurfacesShown(segmentationNode)
    yield
    if areShown:
        segmentationNode.CreateClosedSurfaceRepresentation()


def areSurfacesShown(segmentationNode):
    """Whether there are surfaces, and 3D views show them."""
    display = segmentationNode.GetDisplayNode()
    hasSurfaces = segmentationNode.GetSegmentation().ContainsRepresentation("Closed surface")
    return bool(hasSurfaces and display and display.GetVisibility() and display.GetVisibility3D())


def labelmapFromArray(labels, volumeNode):
    """A label volume node, outside the scene, on the volume's grid."""
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.CopyOrientation(volumeNode)
    slicer.util.updateVolumeFromArray(node, labels)
    return node


def checkOutput(segmentationNode, volumeNode):
    """Raises ValueError if the segmentation has other segments, which `importFindings` would move or make voxels of."""
    segmentation = segmentationNode.GetSegmentation()
    segmentIDs = {segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())}
    others = segmentIDs - set(FINDING_IDS)
    if others and segmentationNode.GetParentTransformNode() is not volumeNode.GetParentTransformNode():
        raise ValueError(
            _(
                "“{segmentation}” has other segments and is not under the same transform as “{volume}”, so they would "
                "be moved. Put both under one transform, or choose “Create new segmentation”."
            ).format(segmentation=segmentationNode.GetName(), volume=volumeNode.GetName())
        )
    if others and segmentation.GetSourceRepresentationName() != "Binary labelmap":
        raise ValueError(
            _(
                "“{}” keeps other segments as surfaces or contours, which would become voxels. Choose “Create new "
                "segmentation”."
            ).format(segmentationNode.GetName())
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
    segment = segmentationNode.GetSegmentation().GetSegment(FINDING_IDS[0])
    return json.loads(str(text)) if segment and segment.GetTag(PROVENANCE_TAG, text) else {}


def setProvenance(segmentationNode, values):
    """Note in both segments what they came from."""
    for segmentID in FINDING_IDS:
        # A .seg.nrrd file separates tags by "|", which JSON can write in another way.
        text = json.dumps(values).replace("|", "\\u007c")
        segment = segmentationNode.GetSegmentation().GetSegment(segmentID)
        if segment:  # else it was deleted by hand
            segment.SetTag(PROVENANCE_TAG, text)


def referencedNode(segmentationNode, role, volumeNode, className, name):
    """The node that a result has for this role: the same one at every run, made beside the CT at the first."""
    node = segmentationNode.GetNodeReference(role)
    if node is None:
        node = addNodeBeside(volumeNode, className, name)
        segmentationNode.SetNodeReferenceID(role, node.GetID())
    return node


def addNodeBeside(volumeNode, className, name):
    """A new node in the CT's study of the subject hierarchy. ``name`` has a place {} for the CT's name."""
    # Files are called as nodes are, and Slicer 5.13 writes an "&" of a file's name into the scene as it is: no scene
    # with it can be read again.
    name = name.format(volumeNode.GetName()).replace("&", "and")
    name = slicer.mrmlScene.GenerateUniqueName(name)
    node = slicer.mrmlScene.AddNewNodeByClass(className, name)
    if hasattr(node, "CreateDefaultDisplayNodes"):
        node.CreateDefaultDisplayNodes()
    placeBeside(volumeNode, node)
    return node


def placeBeside(volumeNode, node):
    """Into the CT's study in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volumeNode))
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, study)
