import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.Dependencies import ensureInstalled
from InfNetSegmentationLib.Logic import InfNetSegmentationLogic
from InfNetSegmentationLib.ResultTable import fillTableWidget
from InfNetSegmentationLib.RunWidget import RunWidget


class InfNetSegmentationWidget(RunWidget):
    """The panel: inputs, Apply that becomes Cancel, progress, results, log."""

    logicClass = InfNetSegmentationLogic

    def __init__(self, parent=None):
        super().__init__(parent)
        self._result = None

    def enter(self):
        super().enter()
        self._selectFirstVolume()

    def stopText(self):
        return _("Cancel")

    def whatIsMissing(self):
        return _("Load and select a chest CT first") if self._parameterNode.inputVolume is None else None

    def start(self):
        ensureInstalled(self.resourcePath("InfNetSegmentationRequirements.txt"), "Inf-Net Segmentation")
        self.logic.process(
            self._parameterNode.inputVolume,
            self._parameterNode.outputSegmentation,
            self._parameterNode.threshold,
            self._parameterNode.device,
            waitForCompletion=False,
            progressCallback=self._onProgress,
            logCallback=self._onLog,
            completedCallback=self._onCompleted,
        )
        self._setResult(None)

    def _selectFirstVolume(self):
        if self._parameterNode.inputVolume is None:
            volumeNodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            # Neither label images nor vector images, whose classes are derived from that of volumes.
            volumeNodes = [node for node in volumeNodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
            self._parameterNode.inputVolume = volumeNodes[0] if volumeNodes else None

    def _onSceneStartClose(self, caller, event):
        super()._onSceneStartClose(caller, event)
        self._setResult(None)

    def _onParametersModified(self, caller=None, event=None):
        super()._onParametersModified(caller, event)
        self._showResultOfInput()

    def _onCompleted(self, result, error):
        self._showRunning(False)
        if result:
            if self._parameterNode:
                self._parameterNode.outputSegmentation = result.segmentationNode
            self._setResult(result)
        elif error.code == "cancelled":
            self._onLog(str(error))
        else:
            self._onLog(str(error))
            self.ui.logSection.collapsed = False
            slicer.util.errorDisplay(_("The segmentation failed.\n\n{}").format(error))

    def _setResult(self, result):
        self._result = result
        if result:
            self.ui.resultsSection.text = _("Results of {}").format(result.volumeNode.GetName())
            self.ui.warningsLabel.text = "\n".join(result.warnings)
            self.ui.warningsLabel.visible = bool(result.warnings)
            fillTableWidget(self.ui.resultTable, result.table)
        self._showResultOfInput()

    def _showResultOfInput(self):
        """Show the last result only while the CT that it belongs to is selected."""
        inputVolume = self._parameterNode.inputVolume if self._parameterNode else None
        self.ui.resultsSection.visible = self._result is not None and self._result.volumeNode is inputVolume
