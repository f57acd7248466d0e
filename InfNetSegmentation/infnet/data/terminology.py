"""Coded concepts, and the text by which 3D Slicer says what a segment is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A coded concept as DICOM writes it."""

    scheme: str
    value: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.scheme}^{self.value}^{self.meaning}"


def terminology_entry(
    context: str, category: Code, kind: Code, modifier: Code | None = None, region: Code | None = None
) -> str:
    """A segment's TerminologyEntry tag: the concept's place in a terminology of Slicer's, and where in the body it is.

    The format: Slicer's developer guide, "Segmentations", "Terminology entry".
    """
    nothing = Code("", "", "")
    parts = [context, category, kind, modifier or nothing]
    parts += ["Anatomic codes - DICOM master list", region or nothing, nothing]
    return "~".join(str(part) for part in parts)
