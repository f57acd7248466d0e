"""What the segmentations and the report have in common: coded concepts, the algorithms, who made the object."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from highdicom import AlgorithmIdentificationSequence
from highdicom.sr import AlgorithmIdentification, CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as PydicomCode

import infnet
from infnet.data.terminology import Code

NOTICE = "For research, not for clinical use"
MANUFACTURER, MODEL = "InfNet", "infnet"
PRIVATE_SCHEME = "99INFNET"

# The value that 3D Slicer and TotalSegmentator use. CID 7150, which may be extended, has 91723000 today.
ANATOMY = CodedConcept("123037004", "SCT", "Anatomical Structure")
INFECTION = CodedConcept.from_code(codes.DCM.Opacity)
"""Ground glass and consolidation together: the general concept of CID 6104, abnormal opacities."""

_FAMILIES = {  # of our own methods, CID 7162
    "threshold and morphology": codes.DCM.MorphologicalOperations,
    "zones": codes.DCM.MorphologicalOperations,
    "atlas": codes.DCM.DeformableModels,
    "lungmask": codes.DCM.ArtificialIntelligence,
    "totalsegmentator": codes.DCM.ArtificialIntelligence,
}


def concept(code: Code) -> CodedConcept:
    return CodedConcept(code.value, code.scheme, code.meaning)


@dataclass(frozen=True)
class Algorithm:
    """What made a segmentation. ``family`` is of CID 7162, ``parameters`` say what there is no attribute for."""

    name: str
    version: str = infnet.__version__
    family: PydicomCode = codes.DCM.ArtificialIntelligence
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_findings(cls, provenance: Mapping[str, Any]) -> "Algorithm":
        """The networks that a result's provenance names, with their weights' SHA-256."""
        models = [str(provenance[key]) for key in ("infection_model", "findings_model") if provenance.get(key)]
        keys = ("infection_weights_sha256", "findings_weights_sha256", "threshold", "window_hu")
        return cls(
            name=_long_string(" ".join(["InfNet", *dict.fromkeys(models)])),  # one can be both
            version=_long_string(str(provenance.get("infnet") or infnet.__version__)),
            parameters={key: provenance[key] for key in keys if key in provenance},
        )

    @classmethod
    def of_regions(cls, regions: str, source: str) -> "Algorithm":
        """``regions`` ("lungs", "lobes") of one of our sources, or of a file that was given, whoever made it."""
        if source in _FAMILIES:
            return cls(_long_string(f"InfNet {regions}: {source}"), family=_FAMILIES[source])
        return cls(_long_string(f"Existing {regions}: {source}"))

    def for_segmentation(self) -> AlgorithmIdentificationSequence:
        """As PS3.3, table 10-19, "Algorithm Identification", writes it."""
        return AlgorithmIdentificationSequence(
            name=self.name,
            family=self.family,
            version=self.version,
            source=MANUFACTURER,
            parameters={key: str(value) for key, value in self.parameters.items()} or None,
        )

    def for_report(self) -> AlgorithmIdentification:
        """As PS3.16, TID 4019, writes it."""
        return AlgorithmIdentification(
            name=self.name,
            family=self.family,
            version=self.version,
            manufacturer=MANUFACTURER,
            parameters=[f"{key} = {value}" for key, value in self.parameters.items()] or None,
        )


def _long_string(text: str) -> str:
    """As the value representation LO allows."""
    return text.replace("\\", "/")[:64]
