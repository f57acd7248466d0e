"""Another threshold, or another minimum size of lesions, for a result that is there, without the network."""

import numpy as np
import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.Images import labelsOf, voxelMl
from InfNetSegmentationLib.Measurement import measureAgain
from InfNetSegmentationLib.Scene import FINDING_IDS, labelmapFromArray, replaceFindings

_BY_HAND = 4  # added to the label, in the candidates, of a voxel that was corrected


def relabel(result, threshold, minimumLesionMl, history):
    """Label by ``threshold`` (0 to 1), drop smaller lesions, measure. Returns the new result.

    The findings are those of a run with that threshold, voxel for voxel: the scene keeps the probability of infection,
    and the finding of each voxel from the lowest threshold on. What was corrected by hand stays as it was corrected.

    history - the `UndoHistory` that takes it back

    Raises ValueError where the probability, the findings or the lungs are no longer in the scene.
    """
    problem = whyNotRelabelled(result)
    if problem:
        raise ValueError(problem)
    volumeNode = result.volumeNode
    present = labelsOf(result.segmentationNode, FINDING_IDS, volumeNode)
    candidates = _withCorrections(result, present)
    labels = _labelled(result, candidates, threshold, minimumLesionMl)
    history.keep(result, present)
    slicer.util.updateVolumeFromArray(result.candidatesNode, candidates)
    replaceFindings(result.segmentationNode, labelmapFromArray(labels, volumeNode), volumeNode)
    return measureAgain(result, labels, threshold=threshold, minimum_lesion_ml=minimumLesionMl)


def whyNotRelabelled(result):
    """Why a result cannot be labelled by another threshold, and what helps (a sentence), or None."""
    if None not in (result.probabilityNode, result.candidatesNode, result.regionsNode):
        return None
    return _("The probability, the findings or the lungs of this result were deleted, or never made; press Apply.")


def _withCorrections(result, present):
    """The candidates, with a mark where the segments (labels) are labelled otherwise than the backend would."""
    candidates = slicer.util.arrayFromVolume(result.candidatesNode)
    labels = _labelled(result, candidates, result.provenance["threshold"], result.minimumLesionMl)
    return np.where(present != labels, _BY_HAND + present, candidates)


def _labelled(result, candidates, threshold, minimumLesionMl):
    """The labels (uint8) of the backend with this threshold, with the corrections that ``candidates`` notes."""
    from infnet.quantification.lesions import without_small_lesions

    probability = slicer.util.arrayFromVolume(result.probabilityNode)
    byHand = candidates >= _BY_HAND
    labels = candidates * (~byHand & (probability >= threshold))
    labels = without_small_lesions(labels, minimumLesionMl, voxelMl(result.volumeNode))
    labels[byHand] = candidates[byHand] - _BY_HAND
    return labels
