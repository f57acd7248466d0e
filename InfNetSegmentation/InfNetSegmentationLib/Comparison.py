import slicer
import vtk
from slicer.i18n import tr as _

from InfNetSegmentationLib.ChangeTable import fillChangeTableNode
from InfNetSegmentationLib.Chart import fillChangeChart
from InfNetSegmentationLib.Scene import fileName, inOwnCoordinates, placeBeside, readLabels, referencedNode
from InfNetSegmentationLib.SegmentationResult import storedResult
from InfNetSegmentationLib.StudyChange import (
    CHART_ROLE,
    EARLIER_ROLE,
    MAP_ROLE,
    TABLE_ROLE,
    StudyChange,
    storeChange,
)
from InfNetSegmentationLib.StudyFolder import patientID, studySteps


def whyIncomparable(earlier, later):
    """Why two results cannot be compared, and what helps (a sentence), or None."""
    if earlier.volumeNode is later.volumeNode:
        return _("Choose the result of another CT: this is the one that is shown")
    if earlier.regionsNode is None or later.regionsNode is None:
        return _("The lungs of one of the results were deleted: segment that CT again first")
    patients = [patientID(result.volumeNode) for result in (earlier, later)]
    if None not in patients and patients[0] != patients[1]:
        return _("Choose a study of the same patient: these are of {} and {}").format(*patients)
    return None


class Comparison:
    """Two results on their way through ``infnet compare``: what is written for it, and what comes into the scene.

    Where both dates are known they tell which study is the older one. Raises ValueError (`whyIncomparable`).
    """

    def __init__(self, earlier, later):
        problem = whyIncomparable(earlier, later)
        if problem:
            raise ValueError(problem)
        self._later = later
        self._earlier = earlier
        first, second = (fileName(result.volumeNode, "CT") for result in (earlier, later))
        # The backend tells studies apart by their names, and calls the map by them.
        self._results = {first: earlier, second if second != first else f"{second}-2": later}

    def prepare(self, folder):
        """Write both studies: a generator that returns the backend's arguments."""
        self._folder = folder / "change"
        studies = []
        for number, (name, result) in enumerate(self._results.items()):
            (folder / str(number)).mkdir()
            studyFolder, _ctPath = yield from studySteps(result, folder / str(number), name)
            studies.append(studyFolder)
        return ["compare", *studies, "-o", self._folder]

    def finish(self, payload):
        """Bring table, chart and map into the scene. Returns the StudyChange."""
        # As they are now: what had been corrected was measured when the studies were written.
        results = [storedResult(self._results[study["case"]].segmentationNode) for study in payload["studies"]]
        titles = [study["date"] for study in payload["studies"]]
        if None in titles or len(set(titles)) < len(titles):
            titles = [result.volumeNode.GetName() for result in results]
        (changeMap,) = payload["maps"]
        change = StudyChange(titles, [result.table for result in results], changeMap["ml"], payload["warnings"])
        owner, volumeNode = self._later.segmentationNode, self._later.volumeNode
        _importMap(self._folder / changeMap["map"], owner, volumeNode, results[0].volumeNode)
        tableNode = referencedNode(owner, TABLE_ROLE, volumeNode, "vtkMRMLTableNode", _("{} change"))
        fillChangeTableNode(tableNode, change)
        chartNode = referencedNode(owner, CHART_ROLE, volumeNode, "vtkMRMLPlotChartNode", _("{} change chart"))
        fillChangeChart(chartNode, change, volumeNode)
        owner.SetNodeReferenceID(EARLIER_ROLE, self._earlier.segmentationNode.GetID())
        storeChange(owner, change)
        return change


def mapSegments():
    """ID, name and colour of each label of the backend's map: 1, 2, 3."""
    return (
        ("Persistent", _("Persistent disease"), (0.95, 0.75, 0.2)),
        ("New", _("New disease"), (0.85, 0.2, 0.35)),
        ("Resolved", _("Resolved disease"), (0.25, 0.55, 0.9)),
    )


def _importMap(path, owner, volumeNode, olderVolumeNode):
    """The map lies on the older CT's grid, in its anatomy."""
    mapNode = referencedNode(owner, MAP_ROLE, volumeNode, "vtkMRMLSegmentationNode", _("{} change map"))
    labelmapNode = readLabels(path)
    segmentIDs = vtk.vtkStringArray()
    with slicer.util.NodeModify(mapNode), inOwnCoordinates(mapNode, olderVolumeNode):
        mapNode.GetSegmentation().RemoveAllSegments()
        for segmentID, name, color in mapSegments():
            mapNode.GetSegmentation().AddEmptySegment(segmentID, name, color)
            segmentIDs.InsertNextValue(segmentID)
        imported = slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(
            labelmapNode, mapNode, segmentIDs
        )
    if not imported:
        raise RuntimeError(_("The map of change could not be imported."))
    mapNode.GetDisplayNode().SetVisibility(False)  # until it is asked for: it lies on the older CT
    placeBeside(olderVolumeNode, mapNode)
