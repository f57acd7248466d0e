import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from InfNetSegmentationLib.Corrections import canTrain, editSegments, useForTraining
from InfNetSegmentationLib.StudyFolder import whyNoStudy


class CorrectionsPanel(VTKObservationMixin):
    """The part of the results for corrections by hand: edit, measure again, learn from it.

    measure() - measures the segments as they are now, and shows the new result
    """

    def __init__(self, ui, measure):
        super().__init__()
        self._ui = ui
        self._result = None
        self._measureToolTip = ui.measureButton.toolTip
        ui.editSegmentsButton.connect("clicked(bool)", self._onEdit)
        ui.measureButton.connect("clicked(bool)", lambda checked=False: measure())
        ui.useForTrainingButton.connect("clicked(bool)", self._onUseForTraining)

    def show(self, result):
        """Take up a result, or nothing for None."""
        self._result = result
        self.removeObservers()
        if result is None:
            return
        self._showWhetherEdited()
        self.addObserver(result.segmentationNode, "ModifiedEvent", self._showWhetherEdited)
        problem = whyNoStudy(result)
        self._ui.measureButton.enabled = problem is None
        self._ui.measureButton.toolTip = problem or self._measureToolTip
        self._ui.useForTrainingButton.enabled = canTrain()

    def _showWhetherEdited(self, caller=None, event=None):
        self._ui.editedLabel.visible = self._result.isEdited

    def _onEdit(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("Segment Editor could not be opened.")):
            editSegments(self._result)

    def _onUseForTraining(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The case could not be added.")):
            useForTraining(self._result)
