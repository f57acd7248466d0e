"""Lungs and lobes: recognised in somebody's segmentation, written for the backend, and brought into the scene."""

from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _

from InfNetSegmentationLib.Images import imageOnGrid, labelsOf
from InfNetSegmentationLib.Scene import fileName

ZONES_SOURCE = "zones"


def recognisedRegions(segmentationNode):
    """ID of the segment for each lobe and lung that is recognised, by terminology, else by name."""
    from infnet.anatomy.recognition import recognise

    segmentation = segmentationNode.GetSegmentation()
    recognised = {}
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        terminology = vtk.reference("")
        segment.GetTag(segment.GetTerminologyEntryTagName(), terminology)
        region = recognise(segment.GetName(), str(terminology))
        if region is not None:
            recognised.setdefault(region, segmentation.GetNthSegmentID(number))
    return recognised


def isMadeOn(segmentationNode, volumeNode):
    """Whether a segmentation, or None, is known to have been made on this CT."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return None not in (segmentationNode, volumeNode) and segmentationNode.GetNodeReference(role) is volumeNode


def checkRegions(segmentationNode, volumeNode):
    """Raises ValueError if no lung and no lobe is recognised, or if the node is not under the CT's transform."""
    if not recognisedRegions(segmentationNode):
        segmentation = segmentationNode.GetSegmentation()
        names = [segmentation.GetNthSegment(i).GetName() for i in range(segmentation.GetNumberOfSegments())]
        raise ValueError(
            _(
                "No lung and no lobe is recognised in “{segmentation}” (segments: {names}). Name the segments like "
                "“left upper lobe” or “right lung”, give them a terminology, or choose “Compute”."
            ).format(segmentation=segmentationNode.GetName(), names=", ".join(names) or _("none"))
        )
    if segmentationNode.GetParentTransformNode() is not volumeNode.GetParentTransformNode():
        raise ValueError(
            _("“{segmentation}” is not under the same transform as “{volume}”. Put both under one transform.").format(
                segmentation=segmentationNode.GetName(), volume=volumeNode.GetName()
            )
        )


def writeRegions(segmentationNode, volumeNode, folder, crop=None):
    """Write the recognised lungs and lobes as label images. Returns the backend's arguments that name the files.

    crop(image) - gives the part of an image on the CT's grid that the backend reads; None: the whole

    Lungs are given only where both are there: a mask of one would call the other healthy tissue.
    """
    import SimpleITK as sitk
    from infnet.anatomy.regions import LOBES, LUNGS
    from infnet.data.segmentations import write_segmentation

    recognised = recognisedRegions(segmentationNode)
    # The name of a file is the segmentation's name in the provenance.
    name = fileName(segmentationNode, "regions")

    def image(regions):
        segmentIDs = [recognised.get(region) for region in regions]
        whole = imageOnGrid(labelsOf(segmentationNode, segmentIDs, volumeNode), volumeNode)
        return crop(whole) if crop else whole

    arguments = []
    if all(lung in recognised for lung in LUNGS):
        path = Path(folder) / f"{name}-lungs.nrrd"
        sitk.WriteImage(image(LUNGS), str(path))
        arguments += ["--lungs", str(path)]
    if any(lobe in recognised for lobe in LOBES):
        path = Path(folder) / f"{name}-lobes.seg.nrrd"
        write_segmentation(image(LOBES), path, {}, LOBES)
        arguments += ["--lobes", str(path)]
    return arguments


def regionsOf(source):
    """What the labels of the lobes' image are, by where it comes from: the five lobes, six zones, or nothing."""
    from infnet.anatomy.regions import LOBES, ZONES

    if source == ZONES_SOURCE:
        return ZONES
    return () if source in (None, "none") else LOBES


def importRegions(segmentationNode, labelmapNodes):
    """Replace the regions of a segmentation; its other segments stay. ``labelmapNodes``: [(label image's node, its
    regions), …].

    Each segment gets the region's name, colour and terminology.
    """
    from infnet.anatomy.regions import LOBES, LUNGS, ZONES

    segmentation = segmentationNode.GetSegmentation()
    for region in (*LOBES, *ZONES, *LUNGS):
        if segmentation.GetSegment(region.segment_id):
            segmentation.RemoveSegment(region.segment_id)
    for labelmapNode, regions in labelmapNodes:
        segmentIDs = vtk.vtkStringArray()
        for region in regions:
            segment = slicer.vtkSegment()
            segment.SetName(region.name.capitalize())
            segment.SetColor([value / 255 for value in region.colour])
            segment.SetTag(segment.GetTerminologyEntryTagName(), region.terminology)
            segmentation.AddSegment(segment, region.segment_id)
            segmentIDs.InsertNextValue(region.segment_id)
        imported = slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(
            labelmapNode, segmentationNode, segmentIDs
        )
        if not imported:
            raise RuntimeError(_("The lungs and lobes could not be imported."))


def showRegionsByDefault(segmentationNode):
    """Lobes as outlines in slices, hidden until they are asked for."""
    display = segmentationNode.GetDisplayNode()
    display.SetVisibility(False)
    display.SetVisibility3D(False)
    display.SetOpacity2DFill(0.15)
    display.SetOpacity3D(0.25)


def showLungsWithoutLobes(segmentationNode):
    """Of new segments all are shown, and lungs would lie over their lobes or zones."""
    from infnet.anatomy.regions import LOBES, LUNGS, ZONES

    segmentation = segmentationNode.GetSegmentation()
    haveLobes = any(segmentation.GetSegment(part.segment_id) for part in (*LOBES, *ZONES))
    for lung in LUNGS:
        segmentationNode.GetDisplayNode().SetSegmentVisibility(lung.segment_id, not haveLobes)
