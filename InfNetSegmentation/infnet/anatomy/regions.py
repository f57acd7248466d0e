"""The regions of the lungs: label, name, colour and codes of each lung, each lobe and each zone.

SNOMED CT, a structure and its laterality: whole lungs and lobes as 3D Slicer and TotalSegmentator code them, which are
DICOM's codes too (PS3.16, CID 7151 and 6170), and zones as DICOM does (CID 6171).
"""

from dataclasses import dataclass

from infnet.data.terminology import Code, terminology_entry

_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
_ANATOMY = Code("SCT", "123037004", "Anatomical Structure")

LUNG = Code("SCT", "39607008", "Lung")
UPPER_LOBE = Code("SCT", "45653009", "Upper lobe of lung")
MIDDLE_LOBE = Code("SCT", "72481006", "Middle lobe of right lung")
LOWER_LOBE = Code("SCT", "90572001", "Lower lobe of lung")
UPPER_ZONE = Code("SCT", "281392002", "Upper zone of lung")
MIDDLE_ZONE = Code("SCT", "281393007", "Middle zone of lung")
LOWER_ZONE = Code("SCT", "281394001", "Lower zone of lung")
RIGHT = Code("SCT", "24028007", "Right")
LEFT = Code("SCT", "7771000", "Left")


@dataclass(frozen=True)
class Region:
    """A part of the lungs. ``lung`` is the label of the lung that it is in, ``colour`` 8-bit RGB."""

    label: int
    name: str
    colour: tuple[int, int, int]
    structure: Code
    laterality: Code

    @property
    def lung(self) -> int:
        return 1 if self.laterality == RIGHT else 2

    @property
    def segment_id(self) -> str:
        """The name in one word, as 3D Slicer's segments are called by programs."""
        return self.name.title().replace(" ", "")

    @property
    def terminology(self) -> str:
        """The region as 3D Slicer writes it into a segment's tag."""
        return terminology_entry(_CONTEXT, _ANATOMY, self.structure, self.laterality)


LUNGS = (
    Region(1, "right lung", (224, 186, 162), LUNG, RIGHT),
    Region(2, "left lung", (202, 164, 140), LUNG, LEFT),
)
LOBES = (
    Region(1, "right upper lobe", (177, 122, 101), UPPER_LOBE, RIGHT),
    Region(2, "right middle lobe", (214, 188, 120), MIDDLE_LOBE, RIGHT),
    Region(3, "right lower lobe", (111, 142, 178), LOWER_LOBE, RIGHT),
    Region(4, "left upper lobe", (141, 168, 110), UPPER_LOBE, LEFT),
    Region(5, "left lower lobe", (150, 120, 168), LOWER_LOBE, LEFT),
)
ZONES = (
    Region(1, "right upper zone", (177, 122, 101), UPPER_ZONE, RIGHT),
    Region(2, "right middle zone", (214, 188, 120), MIDDLE_ZONE, RIGHT),
    Region(3, "right lower zone", (111, 142, 178), LOWER_ZONE, RIGHT),
    Region(4, "left upper zone", (141, 168, 110), UPPER_ZONE, LEFT),
    Region(5, "left middle zone", (196, 202, 120), MIDDLE_ZONE, LEFT),
    Region(6, "left lower zone", (150, 120, 168), LOWER_ZONE, LEFT),
)
