import numpy as np
import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.Images import labelsOf, voxelMl
from InfNetSegmentationLib.Measurement import filledFromNearest, measureAgain
from InfNetSegmentationLib.Scene import FINDING_IDS, labelmapFromArray, replaceFindings


class Relabelling:
    """Another threshold, or another minimum size of lesions, for results that are there, without the network.

    The probability of infection is kept in the scene; which finding a voxel is, is known where it was once labelled.
    A voxel that a lower threshold adds takes the finding of the nearest labelled one; without any, it is ground-glass
    opacity.

    history - the `UndoHistory` that takes a change back
    """

    def __init__(self, history):
        self._history = history
        self._findings = {}  # segmentation: finding of each voxel that was labelled in this session

    def apply(self, result, threshold, minimumLesionMl=0.0):
        """Label by ``threshold`` (0 to 1), drop smaller lesions, measure. Returns the new result.

        Raises ValueError where the probability or the lungs are no longer in the scene.
        """
        from infnet.quantification.lesions import without_small_lesions

        volumeNode = result.volumeNode
        probability = self._probability(result)
        findings = self._known(result)
        infected = probability >= threshold
        findings = filledFromNearest(findings, infected, volumeNode)
        findings[infected & (findings == 0)] = 1
        labels = np.where(infected, findings, 0).astype(np.uint8)
        labels = without_small_lesions(labels, minimumLesionMl, voxelMl(volumeNode))
        self._history.keep(result)
        self._findings[result.segmentationNode] = findings
        replaceFindings(result.segmentationNode, labelmapFromArray(labels, volumeNode), volumeNode)
        return measureAgain(result, threshold=threshold, minimum_lesion_ml=minimumLesionMl)

    def forget(self, segmentationNode):
        """Another run's findings are there: nothing of this one is mixed with them."""
        self._findings.pop(segmentationNode, None)
        for gone in [node for node in self._findings if node.GetScene() is None]:
            del self._findings[gone]

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
