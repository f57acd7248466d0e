"""Which lobe or lung a segment of somebody else's segmentation is: by its SNOMED CT code, else by its name.

Codes: SNOMED CT International Edition. A structure goes with a laterality (24028007 right, 7771000 left); the
lobes and lungs of one side also have codes of their own. Names: those of TotalSegmentator's class map, lungmask,
the Chest Imaging Platform and Lung CT Segmenter.
"""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from infnet.anatomy.regions import LEFT, LOBES, LOWER_LOBE, LUNG, LUNGS, MIDDLE_LOBE, RIGHT, UPPER_LOBE, ZONES, Region
from infnet.data.terminology import Code

_REGIONS = {(region.structure.value, region.laterality.value): region for region in (*LOBES, *LUNGS)}
_ONE_SIDED = {
    "42400003": (UPPER_LOBE, RIGHT),
    "72481006": (MIDDLE_LOBE, RIGHT),  # it needs no laterality: there is one
    "266005": (LOWER_LOBE, RIGHT),
    "44714003": (UPPER_LOBE, LEFT),
    "41224006": (LOWER_LOBE, LEFT),
    "3341006": (LUNG, RIGHT),
    "44029006": (LUNG, LEFT),
}
_SIDES = {"right": RIGHT, "r": RIGHT, "left": LEFT, "l": LEFT}
_LOBES = {
    "upper": UPPER_LOBE,
    "superior": UPPER_LOBE,
    "middle": MIDDLE_LOBE,
    "lower": LOWER_LOBE,
    "inferior": LOWER_LOBE,
}
_SHORT = {"rul": (UPPER_LOBE, RIGHT), "rml": (MIDDLE_LOBE, RIGHT), "rll": (LOWER_LOBE, RIGHT)}
_SHORT |= {"lul": (UPPER_LOBE, LEFT), "lll": (LOWER_LOBE, LEFT)}
_OPEN = {"", "85756007", LUNG.value, UPPER_LOBE.value, LOWER_LOBE.value}  # 85756007: tissue, 3D Slicer's default
_FILLERS = {"lung", "lungs", "lobe", "of", "the", "mask"}

# Bits of a voxel's value that are the label, and the lobes' labels, where a file does not name them: those of
# infnet lobes, lungmask (LTRCLobes and LTRCLobes_R231), TotalSegmentator 2 (task "total") and 1, the Chest Imaging
# Platform, whose low byte is a chest region and whose high byte a type of tissue, and zones.
LUNGMASK = {1: LOBES[3], 2: LOBES[4], 3: LOBES[0], 4: LOBES[1], 5: LOBES[2]}
LABEL_MAPS: tuple[tuple[int, Mapping[int, Region]], ...] = (
    (0xFFFF, {lobe.label: lobe for lobe in LOBES}),
    (0xFFFF, LUNGMASK),
    (0xFFFF, {10: LOBES[3], 11: LOBES[4], 12: LOBES[0], 13: LOBES[1], 14: LOBES[2]}),
    (0xFFFF, {13: LOBES[3], 14: LOBES[4], 15: LOBES[0], 16: LOBES[1], 17: LOBES[2]}),
    (0x00FF, dict(zip((4, 5, 6, 7, 8), LOBES, strict=True))),
    (0xFFFF, {zone.label: zone for zone in ZONES}),  # the last: with its label 6, an image is none of lobes
)


def label_table(regions: Mapping[int, Region], size: int = 256) -> NDArray[np.uint8]:
    """The regions' own labels by the labels that somebody else's image has for them; 0 for those of no region."""
    table = np.zeros(size, np.uint8)
    table[list(regions)] = [region.label for region in regions.values()]
    return table


def recognise(name: str, terminology: str = "") -> Region | None:
    """The lobe or the lung that a segment is; None if it is neither.

    ``terminology`` is the segment's TerminologyEntry tag as 3D Slicer writes it ("" if it has none). A code goes before
    a name; a name is looked at where there is no code, or one that leaves open which structure or which side it is.
    """
    # Context, category, type, modifier, and the region, which may be the lung of a vessel or of a nodule.
    structure, laterality = (_code(part) for part in [*terminology.split("~"), "", "", "", ""][2:4])
    if structure in _ONE_SIDED:
        return _region(*_ONE_SIDED[structure])
    if (structure, laterality) in _REGIONS:
        return _REGIONS[structure, laterality]
    return _by_name(name) if structure in _OPEN else None


def _code(part: str) -> str:
    scheme, value = [*part.split("^"), ""][:2]
    return value if scheme == "SCT" else value and f"{scheme} {value}"  # another scheme's code is no SNOMED code


def _by_name(name: str) -> Region | None:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word for word in re.split(r"[^a-z]+", spaced.lower()) if word and word not in _FILLERS]
    if len(words) == 1 and words[0] in _SHORT:
        return _region(*_SHORT[words[0]])
    sides = [_SIDES[word] for word in words if word in _SIDES]
    structures = [_LOBES[word] for word in words if word in _LOBES]
    if len(words) != len(sides) + len(structures) or len(structures) > 1:
        return None  # it names something else too: a vessel, a part of a lobe
    if structures == [MIDDLE_LOBE] and not sides:
        sides = [RIGHT]
    if len(sides) != 1 or not re.search("lung|lobe", name, re.I):
        return None
    return _REGIONS.get(((structures or [LUNG])[0].value, sides[0].value))


def _region(structure: Code, laterality: Code) -> Region:
    return _REGIONS[structure.value, laterality.value]
