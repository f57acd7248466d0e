"""Whether a contrast agent was given: by what the CT's DICOM header says, and by how dense heart and vessels are."""

import re

import numpy as np
import SimpleITK as sitk

from infnet.anatomy.regions import LUNGS
from infnet.data.orientation import AxialView

_SPACING_MM = 4.0  # of the means that are looked at, so that noise and calcified arteries do not count
_TISSUE_HU, _METAL_HU = 0.0, 600.0  # fat is below the one, implants above the other
_ENHANCED_HU = 130.0  # blood and muscle without contrast agent: 30 to 70; bone is mostly behind the region
_NOTABLE_SHARE = 0.2
_SMALLEST_ML = 50.0  # of soft tissue; of less, nothing is told

AGENT_TAG = "0018|0010"  # Contrast/Bolus Agent, DICOM PS3.3, C.7.6.4; absent where none was given
# What people type all the same.
_NO_AGENT = re.compile(r"0|-*|n/?a|native|unenhanced|non[-_ ]?contrast.*|(no|none|not|without|w/o)(?![a-z]).*", re.I)


def contrast_warnings(ct: sitk.Image, lungs: sitk.Image, agent: str = "") -> list[str]:
    """A sentence if the CT seems to have been made with a contrast agent, or none.

    ct - HU
    lungs - 1 right, 2 left, on its grid
    agent - what its DICOM header calls the agent; "" where it names none, or where there is no such header
    """
    named = not _NO_AGENT.fullmatch(agent.strip())
    if not named and not _is_enhanced(ct, lungs):
        return []
    evidence = f"the DICOM header names {agent.strip()}" if named else "heart and vessels are denser than without one"
    return [
        f"A contrast agent seems to have been given: {evidence}. The models were not tested on such scans; vessels in "
        "the lungs may be called consolidation, and densities are not comparable."
    ]


def _is_enhanced(ct: sitk.Image, lungs: sitk.Image) -> bool:
    """Whether the soft tissue between the lungs is as dense as blood with contrast agent is.

    Looked at is what has the right lung on one side and the left on the other, in front of the lungs' middle: heart and
    great vessels, without the spine. Above 130 HU is less than 7 % of its soft tissue in six CTs without contrast agent
    (docs/quantification.md); a fifth is notable.
    """
    sizes = zip(ct.GetSpacing(), ct.GetSize(), strict=True)
    means = sitk.BinShrink(ct, [min(size, max(1, round(_SPACING_MM / spacing))) for spacing, size in sizes])
    coarse = AxialView(means).image
    hu = sitk.GetArrayViewFromImage(coarse)
    mask = sitk.GetArrayFromImage(sitk.Resample(lungs, coarse, sitk.Transform(), sitk.sitkNearestNeighbor))
    right, left = (mask == lung.label for lung in LUNGS)
    between = np.logical_or.accumulate(right, axis=2) & np.logical_or.accumulate(left[..., ::-1], axis=2)[..., ::-1]
    rows = (mask > 0).sum(axis=(0, 2))
    if not rows.any():
        return False
    middle = np.average(np.arange(len(rows)), weights=rows)
    in_front = (np.arange(len(rows)) < middle)[:, None]
    tissue = hu[between & in_front & (mask == 0) & (hu > _TISSUE_HU) & (hu < _METAL_HU)]
    enough = tissue.size * np.prod(coarse.GetSpacing()) / 1000 > _SMALLEST_ML
    return bool(enough and np.mean(tissue > _ENHANCED_HU) >= _NOTABLE_SHARE)
