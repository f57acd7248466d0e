"""The numbers of a result whose segments have changed, measured here by the backend's own functions."""

import numpy as np
from slicer.i18n import tr as _

from InfNetSegmentationLib.Images import imageOf, imageOnGrid, labelsOf
from InfNetSegmentationLib.Regions import regionsOf
from InfNetSegmentationLib.Scene import FINDING_IDS, setProvenance
from InfNetSegmentationLib.SegmentationResult import storeResult

_NEAR_MM = 10.0  # where the nearest lung of most of what is found beside the lungs' mask lies


def measureAgain(result, findings=None, **provenance):
    """Measure the segments as they are now; ``provenance`` tells what has changed. Returns the new result.

    findings - their labels, where they are known already

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
    if findings is None:
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
    (bounds,) = ndimage.find_objects(missing.view(np.uint8))
    pieces, _count = ndimage.label(missing[bounds])
    filled = labels.copy()
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[box] == number
        box = [slice(b.start + part.start, b.start + part.stop) for b, part in zip(bounds, box, strict=True)]
        filled[tuple(box)][piece] = _nearestLabels(labels, box, piece, volumeNode.GetSpacing()[::-1])
    return filled


def _nearestLabels(labels, box, piece, spacing):
    """The label nearest to each voxel of a piece, a mask within the box (slices).

    The distances from a few voxels to lungs beside them need no transform of the whole CT, which takes seconds.
    """
    from scipy import ndimage

    margin = _NEAR_MM
    while True:
        # What is within the margin of the piece is in the surroundings, whatever the rounding.
        steps = [int(margin / step) + 1 for step in spacing]
        around = [
            slice(max(0, b.start - n), min(size, b.stop + n))
            for b, n, size in zip(box, steps, labels.shape, strict=True)
        ]
        surroundings = labels[tuple(around)]
        if surroundings.any():
            distances, nearest = ndimage.distance_transform_edt(surroundings == 0, spacing, return_indices=True)
            inner = tuple(slice(b.start - a.start, b.stop - a.start) for b, a in zip(box, around, strict=True))
            if distances[inner][piece].max() <= margin or surroundings.shape == labels.shape:
                return surroundings[tuple(nearest)][inner][piece]
        margin *= 2
