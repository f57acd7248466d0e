"""Lobes of the lungs, from the best source there is.

Each source is a module of its own: an existing segmentation, the networks of lungmask and of TotalSegmentator, the
atlas that comes with the package, and thirds of the lungs' height. Which one it was is part of the result.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from infnet.anatomy.existing_lobes import read_lobes
from infnet.anatomy.lobe_atlas import ATTRIBUTION, fit_atlas
from infnet.anatomy.lungmask_lobes import lungmask_lobes, lungmask_ready
from infnet.anatomy.regions import LOBES, ZONES, Region
from infnet.anatomy.totalsegmentator_lobes import totalsegmentator_lobes, totalsegmentator_ready
from infnet.anatomy.zones import lung_zones
from infnet.errors import AtlasError
from infnet.reporting import Progress, silent

SOURCES = ("auto", "atlas", "lungmask", "totalsegmentator", "zones")


@dataclass(frozen=True)
class Lobes:
    """Parts of the lungs on the CT's grid.

    image - uint8, 0 outside: labels of ``regions``
    source - "existing", "lungmask", "totalsegmentator", "atlas" or "zones"
    approximate - whether borders are those of an average patient or of a rule, not this patient's fissures
    warnings - one sentence each
    regions - what the labels mean: the five lobes, or the six zones
    attribution - what a licence asks to be said of the source, or None
    """

    image: sitk.Image
    source: str
    approximate: bool
    warnings: list[str] = field(default_factory=list)
    regions: tuple[Region, ...] = LOBES
    attribution: str | None = None


def segment_lobes(
    ct: sitk.Image,
    lungs: sitk.Image,
    source: str = "auto",
    existing: Path | None = None,
    progress: Progress = silent,
) -> Lobes:
    """The lobes of a chest CT (HU), given its lung mask (1 right, 2 left, on the CT's grid).

    ``source`` is one of `SOURCES`; ``existing``, a file with segmented lobes, goes before all of them. "auto" takes
    lungmask or TotalSegmentator where they and their weights are installed, otherwise the atlas, otherwise zones.
    Nothing is downloaded but by a source that is named. Raises what the named source raises: `InputError`,
    `AtlasError`, `MissingPackageError`, `UnavailableWeightsError` or `ToolError`.
    """
    if source not in SOURCES:
        raise ValueError(f"{source!r} is not one of {', '.join(SOURCES)}.")
    progress("lobes", 0, 2)
    if existing is not None:
        result = _segmented(read_lobes(existing, lungs), "existing")
    elif source == "lungmask" or (source == "auto" and lungmask_ready()):
        result = _segmented(lungmask_lobes(ct), "lungmask")
    elif source == "totalsegmentator" or (source == "auto" and totalsegmentator_ready()):
        result = _segmented(totalsegmentator_lobes(ct, lungs), "totalsegmentator")
    elif source == "zones":
        result = _zones(lungs, [])
    else:
        result = _atlas_or_zones(lungs, source)
    progress("lobes", 2, 2)
    return result


def _segmented(image: sitk.Image, source: str) -> Lobes:
    voxels = sitk.GetArrayViewFromImage(image)
    missing = [lobe.name for lobe in LOBES if not np.any(voxels == lobe.label)]
    warnings = [f"The segmentation of the lobes has no {', no '.join(missing)}."] if missing else []
    return Lobes(image, source, False, warnings)


def _atlas_or_zones(lungs: sitk.Image, source: str) -> Lobes:
    try:
        image = fit_atlas(lungs)
    except AtlasError as error:
        if source == "atlas":
            raise
        return _zones(lungs, [f"{error} Regions are thirds of each lung's height, not lobes."])
    warning = "The lobes are approximate: an average of hand-drawn ones, fitted to the outlines of the lungs."
    return Lobes(image, "atlas", True, [warning], attribution=ATTRIBUTION)


def _zones(lungs: sitk.Image, warnings: list[str]) -> Lobes:
    return Lobes(lung_zones(lungs), "zones", True, warnings, ZONES)
