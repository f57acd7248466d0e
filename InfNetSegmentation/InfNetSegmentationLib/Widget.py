import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.BatchCases import sceneCTs
from InfNetSegmentationLib.BatchPanel import BatchPanel
from InfNetSegmentationLib.ChangePanel import ChangePanel
from InfNetSegmentationLib.Dependencies import ensureInstalled, ensurePackages
from InfNetSegmentationLib.Logic import InfNetSegmentationLogic
from InfNetSegmentationLib.ModelPanel import ModelPanel
from InfNetSegmentationLib.Parameters import settingsOf
from InfNetSegmentationLib.RegionOfInterest import fitToVolume
from InfNetSegmentationLib.Remedies import remedy
from InfNetSegmentationLib.ResultsPanel import ResultsPanel
from InfNetSegmentationLib.RunWidget import RunWidget
from InfNetSegmentationLib.Views import showVolume, useLungWindow


class InfNetSegmentationWidget(RunWidget):
    """The panel: inputs, Apply that becomes Cancel, progress, results, log."""

    logicClass = InfNetSegmentationLogic

    def __init__(self, parent=None):
        super().__init__(parent)
        self._modelPanel = None
        self._resultsPanel = None

    def setupPanels(self):
        self._modelPanel = ModelPanel(self.ui, self._importCheckpoint)
        self._modelPanel.refresh()
        self._resultsPanel = ResultsPanel(self.ui, self.logic, self._saveReport, self._exportDicom, self._showChange)
        self._changePanel = ChangePanel(self.ui, self._compare, self._showResultOfInput)
        self._batchPanel = BatchPanel(self.ui, self._startBatch, self._onStartOrStop, self._showCase)
        self.ui.copyLogButton.connect("clicked(bool)", self._onCopyLog)
        self.ui.regionOfInterestSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self._onRegionOfInterestAdded)
        self._showError("")

    def cleanup(self):
        self._resultsPanel.close()
        super().cleanup()

    def enter(self):
        super().enter()
        self._selectFirstVolume()
        self._onParametersModified()

    def stopText(self):
        return _("Cancel")

    def whatIsMissing(self):
        return _("Load and select a chest CT first") if self._parameterNode.inputVolume is None else None

    def start(self):
        ensureInstalled(self.resourcePath("InfNetSegmentationRequirements.txt"), "Inf-Net Segmentation")
        self._showError("")
        self.logic.process(
            self._parameterNode.inputVolume,
            self._parameterNode.outputSegmentation,
            self._parameterNode.regionsSegmentation,
            settingsOf(self._parameterNode),
            self._parameterNode.regionOfInterest,
            waitForCompletion=False,
            completedCallback=self._onCompleted,
            **self._callbacks(),
        )
        self._showResult(None)

    def _callbacks(self):
        return {"progressCallback": self._onProgress, "logCallback": self._onLog}

    def _saveReport(self, result, path):
        def start():
            ensurePackages(self.resourcePath("InfNetReportRequirements.txt"), "Inf-Net Segmentation")
            self._startTask(self.logic.saveReport, _("The report is in {}"), result, path)

        self._startRun(start)

    def _exportDicom(self, result, folder):
        self._startRun(lambda: self._startTask(self.logic.exportDicom, _("The DICOM files are in {}"), result, folder))

    def _startBatch(self, cts, folder, onCases, onEnded):
        def start():
            ensureInstalled(self.resourcePath("InfNetSegmentationRequirements.txt"), "Inf-Net Segmentation")
            self._showError("")
            self.logic.processBatch(
                cts,
                folder,
                settingsOf(self._parameterNode),
                waitForCompletion=False,
                progressCallback=onProgress,
                logCallback=self._onLog,
                completedCallback=complete,
            )

        def onProgress(stage, done, total):
            if stage == "cases":
                onCases(done, total)
            else:
                self._onProgress(stage, done, total)

        def complete(cases, error):
            self._showRunning(False)
            onEnded()
            if error:
                self._onError(error)

        self._startRun(start)

    def _showCase(self, result):
        self._parameterNode.inputVolume = result.volumeNode
        self._parameterNode.outputSegmentation = result.segmentationNode
        showVolume(result.volumeNode)
        self._showResultOfInput()

    def _compare(self, earlier, later):
        def start():
            ensurePackages(self.resourcePath("InfNetReportRequirements.txt"), "Inf-Net Segmentation")
            self._showError("")
            self.logic.compare(earlier, later, waitForCompletion=False, completedCallback=complete, **self._callbacks())

        def complete(change, error):
            self._showRunning(False)
            if error:
                self._onError(error)

        self._startRun(start)

    def _importCheckpoint(self, path):
        def start():
            ensureInstalled(self.resourcePath("InfNetSegmentationRequirements.txt"), "Inf-Net Segmentation")
            self._startTask(self.logic.importCheckpoint, _("The model is in {}"), path)

        self._startRun(start)

    def _startTask(self, task, success, *arguments):
        """Start a run of the logic that writes files; the message ``success`` tells where they are."""
        self._showError("")

        def complete(payload, error):
            self._showRunning(False)
            if error:
                self._onError(error)
                return
            self._onLog(success.format(payload["output"]))
            if task == self.logic.importCheckpoint:
                self._modelPanel.chooseModel(payload["output"])
            slicer.util.showStatusMessage(success.format(payload["output"]), 5000)

        task(*arguments, waitForCompletion=False, completedCallback=complete, **self._callbacks())

    def _selectFirstVolume(self):
        if self._parameterNode.inputVolume is None:
            volumeNodes = sceneCTs()
            self._parameterNode.inputVolume = volumeNodes[0] if volumeNodes else None

    def _onSceneStartClose(self, caller, event):
        super()._onSceneStartClose(caller, event)
        self._modelPanel.show(None)
        self._batchPanel.show(None)
        self._showResult(None)

    def _onParametersModified(self, caller=None, event=None):
        super()._onParametersModified(caller, event)
        self._modelPanel.show(self._parameterNode)
        self._batchPanel.show(self._parameterNode)
        if not self.logic.running:
            self._showResultOfInput()

    def _showRunning(self, running):
        super()._showRunning(running)
        self.ui.toolsWidget.enabled = not running
        self._changePanel.showRunning(running)
        self._batchPanel.showRunning(running)

    def _onCompleted(self, result, error):
        if result and self._parameterNode:
            self._parameterNode.outputSegmentation = result.segmentationNode
            useLungWindow(result.volumeNode)
            showVolume(result.volumeNode)
        self._showRunning(False)
        if error:
            self._onError(error)

    def _onError(self, error):
        self._onLog(str(error))
        if error.code == "cancelled":
            return
        text = "\n\n".join(filter(None, (str(error), remedy(error.code))))
        self._showError(text)
        self.ui.logSection.collapsed = False
        slicer.util.errorDisplay(_("The run failed.\n\n{}").format(text), detailedText=self.ui.logText.plainText)

    def _showError(self, text):
        self.ui.errorLabel.text = text
        self.ui.errorLabel.visible = bool(text)

    def _showResultOfInput(self):
        """Show the result that the chosen segmentation holds, while the CT that it belongs to is selected."""
        parameterNode = self._parameterNode
        result = self.logic.result(parameterNode.outputSegmentation) if parameterNode else None
        if result and result.volumeNode is not parameterNode.inputVolume:
            result = None
        self._showResult(result)

    def _showResult(self, result):
        self._resultsPanel.show(result)
        self._showChange(result)

    def _showChange(self, result):
        self._changePanel.show(result, self._parameterNode.earlierSegmentation if self._parameterNode else None)

    def _onRegionOfInterestAdded(self, node):
        if self._parameterNode.inputVolume is not None:
            fitToVolume(node, self._parameterNode.inputVolume)

    def _onCopyLog(self, checked=False):
        import qt

        qt.QApplication.clipboard().setText(self.ui.logText.plainText)
