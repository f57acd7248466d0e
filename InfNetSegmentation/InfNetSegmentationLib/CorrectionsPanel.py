import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from InfNetSegmentationLib.Corrections import canTrain, editSegments, useForTraining
from InfNetSegmentationLib.SegmentationResult import EDITED_ATTRIBUTE


class CorrectionsPanel(VTKObservationMixin):
    """The part of the results for corrections by hand: edit, measure again, learn from it.

    measure() - measures the segments as they are now, and shows the new result
    """

    def __init__(self, ui, measure):
        super().__init__()
        self._ui = ui
        self._result = None
        ui.editSegmentsButton.connect("clicked(bool)", self._onEdit)
        ui.measureButton.connect("clicked(bool)", lambda checked=False: measure())
        ui.useForTrainingButton.connect("clicked(bool)", self._onUseForTraining)

    def show(self, result):
        """Take up a result, or nothing for None."""
        self._result = result
        self.removeObservers()
        if result is None:
            return
        self._ui.editedLabel.visible = result.isEdited
        segmentation = result.segmentationNode.GetSegmentation()
        for event in (slicer.vtkSegmentation.SourceRepresentationModified, slicer.vtkSegmentation.SegmentRemoved):
            self.addObserver(segmentation, event, self._onSegmentsModified)
        self._ui.measureButton.enabled = result.regionsNode is not None
        self._ui.useForTrainingButton.enabled = canTrain()

    def _onSegmentsModified(self, caller, event):
        self._result.segmentationNode.SetAttribute(EDITED_ATTRIBUTE, "1")
        self._ui.editedLabel.visible = True

    def _onEdit(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("Segment Editor could not be opened.")):
            editSegments(self._result)

    def _onUseForTraining(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The case could not be added.")):
            useForTraining(self._result)
