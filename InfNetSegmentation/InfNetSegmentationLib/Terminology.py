from pathlib import Path

import slicer

CONTEXT_NAME = "Inf-Net findings"
_CONTEXT_FILE = Path(__file__).parents[1] / "Resources" / "InfNetFindings.term.json"
_REGION_CONTEXT_NAME = "Anatomic codes - DICOM master list"


def loadTerminology():
    """Make the findings known to Slicer, which has neither in its own lists.

    Ground-glass opacity is DICOM code 112120 (CID 6104), consolidation SNOMED CT 9656002.
    """
    if not _logic().LoadTerminologyFromFile(str(_CONTEXT_FILE)):
        raise RuntimeError(f"The terminology file {_CONTEXT_FILE} cannot be read.")


def applyFinding(segment, segmentName):
    """Give a segment the name, the colour and the terminology of a finding in the lung."""
    entry = _entry(segmentName)
    entry.SetRegionContextName(_REGION_CONTEXT_NAME)
    lung = entry.GetRegionObject()
    lung.SetCodingSchemeDesignator("SCT")
    lung.SetCodeValue("39607008")
    lung.SetCodeMeaning("Lung")
    segment.SetName(segmentName)
    segment.SetColor(findingColor(segmentName))
    segment.SetTag(segment.GetTerminologyEntryTagName(), _logic().SerializeTerminologyEntry(entry))


def findingColor(segmentName):
    """The finding's colour in the terminology: red, green, blue, 0 to 1."""
    return [value / 255 for value in _entry(segmentName).GetTypeObject().GetRecommendedDisplayRGBValue()]


def _entry(segmentName):
    entry = slicer.vtkSlicerTerminologyEntry()
    if not _logic().FindTypeInTerminologyBy3dSlicerLabel(CONTEXT_NAME, segmentName, entry):
        raise ValueError(f"“{segmentName}” is not in the terminology “{CONTEXT_NAME}”.")
    return entry


def _logic():
    return slicer.modules.terminologies.logic()
