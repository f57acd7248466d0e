"""Another threshold, or another minimum size of lesions, for a result that is there, without the network."""

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
    if not canRelabel(result):
        raise ValueError(
            _("The probability, the findings or the lungs of this result were deleted, or never made; press Apply.")
        )
    volumeNode = result.volumeNode
    _noteCorrections(result)
    labels = _labelled(result, threshold, minimumLesionMl)
    history.keep(result)
    replaceFindings(result.segmentationNode, labelmapFromArray(labels, volumeNode), volumeNode)
    return measureAgain(result, threshold=threshold, minimum_lesion_ml=minimumLesionMl)


def canRelabel(result):
    """Whether the scene still has what `relabel` needs."""
    return None not in (result.probabilityNode, result.candidatesNode, result.regionsNode)


def _noteCorrections(result):
    """Mark in the candidates what is labelled otherwise than the backend would."""
    present = labelsOf(result.segmentationNode, FINDING_IDS, result.volumeNode)
    corrected = present != _labelled(result, result.provenance["threshold"], result.minimumLesionMl)
    if corrected.any():
        slicer.util.arrayFromVolume(result.candidatesNode)[corrected] = _BY_HAND + present[corrected]
        slicer.util.arrayFromVolumeModified(result.candidatesNode)


def _labelled(result, threshold, minimumLesionMl):
    """The labels (uint8) of the backend with this threshold, with the corrections that are noted."""
    from infnet.quantification.lesions import without_small_lesions

    probability, candidates = map(slicer.util.arrayFromVolume, (result.probabilityNode, result.candidatesNode))
    byHand = candidates >= _BY_HAND
    labels = candidates * (~byHand & (probability >= threshold))
    labels = without_small_lesions(labels, minimumLesionMl, voxelMl(result.volumeNode))
    labels[byHand] = candidates[byHand] - _BY_HAND
    return labels
