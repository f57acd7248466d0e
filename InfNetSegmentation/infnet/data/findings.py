"""The findings: label, name, colour and code of each. The Slicer side's terminology file says the same."""

from dataclasses import dataclass

from infnet.data.terminology import Code, terminology_entry


@dataclass(frozen=True)
class Finding:
    """A kind of infected lung. ``colour`` is 8-bit RGB, the red and green of Fan et al., IEEE TMI 2020, softened."""

    label: int
    segment_id: str
    name: str
    colour: tuple[int, int, int]
    code: Code

    @property
    def terminology(self) -> str:
        """The finding as 3D Slicer writes it into a segment's tag."""
        return terminology_entry(TERMINOLOGY, CATEGORY, self.code, region=REGION)


TERMINOLOGY = "Inf-Net findings"
CATEGORY = Code("SCT", "49755003", "Morphologically Altered Structure")
REGION = Code("SCT", "39607008", "Lung")

GROUND_GLASS_OPACITY = Finding(
    1,
    "GroundGlassOpacity",
    "Ground-glass opacity",
    (221, 62, 62),
    Code("DCM", "112120", "Ground glass opacity"),  # DICOM PS3.16, CID 6104
)
CONSOLIDATION = Finding(
    2,
    "Consolidation",
    "Consolidation",
    (62, 183, 84),
    Code("SCT", "9656002", "Consolidation"),  # the morphology in HL7 FHIR's example of a consolidated lung
)
FINDINGS = (GROUND_GLASS_OPACITY, CONSOLIDATION)
