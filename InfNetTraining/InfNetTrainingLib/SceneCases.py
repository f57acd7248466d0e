"""Cases of the scene, a CT and its segmentation or a CT alone, as files that ``infnet prepare`` makes slices of."""

import re
from pathlib import Path

import numpy as np
import slicer
import vtk
from InfNetSegmentationLib.Images import isEmpty, labelsOf
from InfNetSegmentationLib.Scene import fileName
from InfNetSegmentationLib.VolumeFiles import arraySteps, volumeSteps
from slicer.i18n import tr as _

# What readers call the findings, after their proper names; a segment of infection as a whole has the label 1.
_NAMES = {
    1: r"\bggos?\b|ground[ -]?glass|\binfect|\blesion|\bcovid|\binfiltrat",
    2: r"\bconsolidation",
}


def findingsOf(segmentationNode):
    """{segment ID: label} of the segments that are findings: 1 ground-glass opacity or infection, 2 consolidation.

    Known by their terminology, or else by their names, whose words may be joined by underscores.
    """
    from infnet.data.findings import FINDINGS

    segmentation = segmentationNode.GetSegmentation()
    found = {}
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        terminology = vtk.reference("")
        segment.GetTag(segment.GetTerminologyEntryTagName(), terminology)
        byCode = [f.label for f in FINDINGS if f"{f.code.scheme}^{f.code.value}^" in str(terminology)]
        name = (segment.GetName() or "").replace("_", " ")
        byName = [label for label, pattern in _NAMES.items() if re.search(pattern, name, re.I)]
        labels = byCode or byName
        if labels:
            found[segmentation.GetNthSegmentID(number)] = labels[0]
    return found


def usesText(segmentationNode):
    """Which segments are learnt from, as what, and which are not, in words."""
    segmentation, found = segmentationNode.GetSegmentation(), findingsOf(segmentationNode)
    names = {}
    for number in range(segmentation.GetNumberOfSegments()):
        label = found.get(segmentation.GetNthSegmentID(number), 0)
        names.setdefault(label, []).append(segmentation.GetNthSegment(number).GetName())
    texts = {
        1: _("{} as infection or ground glass (label 1)"),
        2: _("{} as consolidation (label 2)"),
        0: _("not used: {}"),
    }
    return "; ".join(text.format(", ".join(names[label])) for label, text in texts.items() if label in names)


def checkCase(volumeNode, segmentationNode):
    """Raises ValueError where a CT and its segmentation (None: without labels) cannot be trained on."""
    if volumeNode is None or volumeNode.GetImageData() is None:
        raise ValueError(_("Choose a CT volume that has voxels."))
    if segmentationNode is None:
        return
    if not findingsOf(segmentationNode):
        segmentation = segmentationNode.GetSegmentation()
        names = [segmentation.GetNthSegment(i).GetName() for i in range(segmentation.GetNumberOfSegments())]
        raise ValueError(
            _(
                "No finding is recognised in “{segmentation}” (segments: {names}). Name the segments “Ground-glass "
                "opacity” and “Consolidation”, or “Infection”, or give them a terminology."
            ).format(segmentation=segmentationNode.GetName(), names=", ".join(names) or _("none"))
        )
    if segmentationNode.GetParentTransformNode() is not volumeNode.GetParentTransformNode():
        raise ValueError(
            _("“{segmentation}” is not under the same transform as “{volume}”. Put both under one transform.").format(
                segmentation=segmentationNode.GetName(), volume=volumeNode.GetName()
            )
        )


def caseLabels(volumeNode, segmentationNode):
    """The labels 0, 1, 2 on the CT's grid (uint8); where segments overlap, consolidation counts.

    Raises ValueError where nothing that was drawn lies on the CT: it belongs to another one.
    """
    findings = findingsOf(segmentationNode)
    labels = np.zeros(slicer.util.arrayFromVolume(volumeNode).shape, np.uint8)
    for segmentID, label in sorted(findings.items(), key=lambda item: item[1]):
        labels[labelsOf(segmentationNode, [segmentID], volumeNode) > 0] = label
    segmentation = segmentationNode.GetSegmentation()
    if not labels.any() and not all(isEmpty(segmentation.GetSegment(segmentID)) for segmentID in findings):
        raise ValueError(
            _("“{segmentation}” does not lie on “{volume}”. Choose the CT that it was drawn on.").format(
                segmentation=segmentationNode.GetName(), volume=volumeNode.GetName()
            )
        )
    return labels


def caseSteps(cases, folder):
    """Write the CTs and label images of ``cases``, (volume node, segmentation node) each, or all with None for it.

    A generator that returns the folder of CTs and that of labels, where both have the same name; None for that of
    labels where there are none. Raises ValueError (`checkCase`).
    """
    for case in cases:
        checkCase(*case)
    ctFolder, labelsFolder = Path(folder) / "ct", Path(folder) / "labels"
    ctFolder.mkdir()
    labelsFolder.mkdir()
    for volumeNode, segmentationNode in cases:
        name = _unusedName(caseName(volumeNode), ctFolder)
        yield from volumeSteps(volumeNode, ctFolder / f"{name}.nrrd")
        if segmentationNode is not None:
            labels = caseLabels(volumeNode, segmentationNode)
            yield
            yield from arraySteps(labels, volumeNode, labelsFolder / f"{name}.nrrd")
    return ctFolder, labelsFolder if any(labelsFolder.iterdir()) else None


def caseName(volumeNode):
    """The name of a volume's file, and so of its CT in ``slices.csv``."""
    return fileName(volumeNode, "case")


def _unusedName(base, folder):
    """``base``, with a number where two cases have one name."""
    name, number = base, 1
    while (folder / f"{name}.nrrd").exists():
        number += 1
        name = f"{base}-{number}"
    return name
