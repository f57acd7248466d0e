"""The numbers of a result whose segments have changed, measured here by the backend's own functions."""

import numpy as np
from slicer.i18n import tr as _

from InfNetSegmentationLib.Images import imageOf, imageOnGrid, labelsOf
from InfNetSegmentationLib.Regions import regionsOf
from InfNetSegmentationLib.Scene import FINDING_IDS, setProvenance
from InfNetSegmentationLib.SegmentationResult import storeResult


def measureAgain(result, **provenance):
    """Measure the segments as they are now; ``provenance`` tells what has changed. Returns the new result.

    Infection just outside the lungs' mask belongs to the nearest lung and lobe, as in the backend, whose mask of the
    lungs takes up the infection that was found beside it; not so where the user gave that mask.
    """
    from infnet.anatomy.lobes import Lobes
    from infnet.anatomy.regions import LUNGS
    from infnet.quantification.label_images import AS_GIVEN
    from infnet.quantification.measurements import measure

    if result.regionsNode is None:
        raise ValueError(_("The lungs of this result were deleted, so nothing can be measured; press Apply again."))
    volumeNode = result.volumeNode
    findings = labelsOf(result.segmentationNode, FINDING_IDS, volumeNode)

    def regionImage(regions):
        labels = labelsOf(result.regionsNode, [region.segment_id for region in regions], volumeNode)
        if not str(result.provenance.get("lungs")).endswith(AS_GIVEN):
            labels = filledFromNearest(labels, findings > 0, volumeNode)
        return imageOnGrid(labels, volumeNode)

    parts = regionsOf(result.lobeSource)
    lobes = None
    if parts:
        approximate = bool(result.provenance.get("lobes_approximate"))
        lobes = Lobes(regionImage(parts), result.lobeSource, approximate, [], parts)
    measured = measure(imageOf(volumeNode), imageOnGrid(findings, volumeNode), regionImage(LUNGS), lobes)
    newWarnings = [warning for warning in measured.warnings if warning not in result.warnings]
    values = {
        "table": measured.rows,
        "severity": measured.severity,
        "provenance": {**result.provenance, **provenance},
        "warnings": [*result.warnings, *newWarnings],
        "seconds": result.seconds,
    }
    setProvenance(result.segmentationNode, values["provenance"])
    return storeResult(result.segmentationNode, volumeNode, values)


def filledFromNearest(labels, where, volumeNode):
    """The labels, with voxels of ``where`` that have none given the nearest label."""
    from scipy import ndimage

    missing = where & (labels == 0)
    if not missing.any() or not labels.any():
        return labels
    (box,) = ndimage.find_objects((missing | (labels > 0)).view(np.uint8))  # the rest of the CT need not be searched
    nearest = ndimage.distance_transform_edt(
        labels[box] == 0, volumeNode.GetSpacing()[::-1], return_distances=False, return_indices=True
    )
    filled = labels.copy()
    filled[box] = np.where(missing[box], labels[box][tuple(nearest)], labels[box])
    return filled
