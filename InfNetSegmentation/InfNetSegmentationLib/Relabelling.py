import json
import zlib

import numpy as np
import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.Images import labelsOf, voxelMl
from InfNetSegmentationLib.Measurement import filledFromNearest, measureAgain
from InfNetSegmentationLib.Scene import FINDING_IDS, labelmapFromArray, replaceFindings, setProvenance
from InfNetSegmentationLib.SegmentationResult import storeResult

_STATES_KEPT = 20


class Relabelling:
    """Another threshold, or another minimum size of lesions, for results that are there, without the network.

    The probability of infection is kept in the scene; which finding a voxel is, is known where it was once labelled.
    A voxel that a lower threshold adds takes the finding of the nearest labelled one; without any, it is ground-glass
    opacity.
    """

    def __init__(self):
        self._findings = {}  # segmentation: finding of each voxel that was labelled in this session
        self._states = {}  # segmentation: what `undo` goes back to, packed, the latest last

    def apply(self, result, threshold, minimumLesionMl=0.0):
        """Label by ``threshold`` (0 to 1), drop smaller lesions, measure. Returns the new result.

        Raises ValueError where the probability or the lungs are no longer in the scene.
        """
        volumeNode = result.volumeNode
        probability = self._probability(result)
        findings = self._known(result)
        infected = probability >= threshold
        findings = filledFromNearest(findings, infected, volumeNode)
        findings[infected & (findings == 0)] = 1
        labels = np.where(infected, findings, 0).astype(np.uint8)
        labels = withoutSmallLesions(labels, minimumLesionMl / voxelMl(volumeNode))
        self._keepState(result)
        self._findings[result.segmentationNode] = findings
        replaceFindings(result.segmentationNode, labelmapFromArray(labels, volumeNode), volumeNode)
        return measureAgain(result, threshold=threshold, minimum_lesion_ml=minimumLesionMl)

    def dropSmallLesions(self, result, minimumLesionMl):
        """Drop the smaller lesions of a result as it is, and measure. Returns the new result."""
        volumeNode = result.volumeNode
        labels = self._known(result)
        self._findings[result.segmentationNode] = labels
        labels = withoutSmallLesions(labels, minimumLesionMl / voxelMl(volumeNode))
        replaceFindings(result.segmentationNode, labelmapFromArray(labels, volumeNode), volumeNode)
        return measureAgain(result, minimum_lesion_ml=minimumLesionMl)

    def canUndo(self, segmentationNode):
        return bool(self._states.get(segmentationNode))

    def undo(self, result):
        """Segments and numbers as they were before the last `apply`. Returns that result."""
        packed, shape, values = self._states[result.segmentationNode].pop()
        labels = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)
        replaceFindings(result.segmentationNode, labelmapFromArray(labels, result.volumeNode), result.volumeNode)
        values = json.loads(values)
        setProvenance(result.segmentationNode, values["provenance"])
        return storeResult(result.segmentationNode, result.volumeNode, values)

    def forget(self, segmentationNode):
        """A new run has begun anew: nothing of an earlier one is mixed with it."""
        for kept in (self._findings, self._states):
            kept.pop(segmentationNode, None)
            for gone in [node for node in kept if node.GetScene() is None]:
                del kept[gone]

    def _probability(self, result):
        node = result.probabilityNode
        if node is None or node.GetImageData() is None:
            raise ValueError(_("The probability of this result was deleted; press Apply to make it again."))
        return slicer.util.arrayFromVolume(node)

    def _known(self, result):
        labels = labelsOf(result.segmentationNode, FINDING_IDS, result.volumeNode)
        known = self._findings.get(result.segmentationNode)
        # What is labelled now, corrections by hand included, goes before what was labelled once.
        return labels if known is None else np.where(labels > 0, labels, known)

    def _keepState(self, result):
        labels = labelsOf(result.segmentationNode, FINDING_IDS, result.volumeNode)
        keys = ("table", "severity", "provenance", "warnings", "seconds")
        values = json.dumps({key: getattr(result, key) for key in keys})
        states = self._states.setdefault(result.segmentationNode, [])
        states.append((zlib.compress(labels.tobytes(), 1), labels.shape, values))
        del states[:-_STATES_KEPT]


def withoutSmallLesions(labels, minimumVoxels):
    """The labels without the smaller connected pieces: of both findings together, over faces, edges and corners."""
    from scipy import ndimage

    minimumVoxels = round(minimumVoxels, 6)  # two voxels' volume is that of two voxels, whatever the arithmetic
    if minimumVoxels <= 1 or not labels.any():
        return labels
    pieces, _count = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    isKept = np.bincount(pieces.ravel()) >= minimumVoxels
    return np.where(isKept[pieces], labels, 0).astype(np.uint8)
