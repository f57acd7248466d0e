import slicer
import vtk
from slicer.i18n import tr as _

from InfNetSegmentationLib.BatchPanel import BatchPanel
from InfNetSegmentationLib.ChangePanel import ChangePanel
from InfNetSegmentationLib.ChosenCT import ChosenCT, chooseShownCT, showChosenCT
from InfNetSegmentationLib.Dependencies import (
    ensureInstalled,
    ensurePackages,
    missingPackages,
    missingTorchPackages,
)
from InfNetSegmentationLib.Logic import InfNetSegmentationLogic
from InfNetSegmentationLib.ModelPanel import ModelPanel
from InfNetSegmentationLib.RegionOfInterest import fitToVolume
from InfNetSegmentationLib.Remedies import remedy, unwrapped, withoutOptions, wrappable
from InfNetSegmentationLib.ResultsPanel import ResultsPanel
from InfNetSegmentationLib.RunWidget import RunWidget
from InfNetSegmentationLib.SceneCTs import offerCTs
from InfNetSegmentationLib.Views import useLungWindow


class InfNetSegmentationWidget(RunWidget):
    """The panel: inputs, Apply that becomes Cancel, progress, results, log."""

    logicClass = InfNetSegmentationLogic

    def __init__(self, parent=None):
        self._modelPanel = None
        self._resultsPanel = None
        self._chosenCT = ChosenCT()
        super().__init__(parent)

    def setupPanels(self):
        self._modelPanel = ModelPanel(self.ui, self._importCheckpoint)
        self._modelPanel.refresh()
        self._resultsPanel = ResultsPanel(self.ui, self.logic, self._saveReport, self._exportDicom, self._showChange)
        self._changePanel = ChangePanel(self.ui, self._compare, self._showResultOfInput)
        self._batchPanel = BatchPanel(self.ui, self._startBatch, self._onStartOrStop, self._choose)
        self.ui.copyLogButton.connect("clicked(bool)", lambda checked=False: _copy(self.ui.logText.plainText))
        self._offerToCopyError()
        self.ui.regionOfInterestSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self._onRegionOfInterestAdded)
        self.ui.fasterButton.connect("clicked(bool)", self._onInstallOpenVINO)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._onNodeRemoved)
        self._showError("")

    def cleanup(self):
        super().cleanup()  # which ends a run, and with that shows its CT's result again
        self._resultsPanel.close()

    def enter(self):
        super().enter()
        self._batchPanel.refresh()
        self._showWhatWillBeInstalled()
        chooseShownCT(self._parameterNode)

    def _showWhatWillBeInstalled(self):
        requirements = self.resourcePath("InfNetSegmentationRequirements.txt")
        missing = missingTorchPackages() + missingPackages(requirements)
        self.ui.firstUseLabel.visible = bool(missing)
        self.ui.firstUseLabel.text = _(
            "The first run offers to install what Slicer lacks: {packages}. PyTorch takes up to 5 GB of disk, the rest "
            "about 100 MB."
        ).format(packages=", ".join(missing))
        openVINO = self.resourcePath("InfNetOpenVINORequirements.txt")
        self.ui.fasterButton.visible = not missing and bool(missingPackages(openVINO))

    def stopText(self):
        return _("Cancel")

    def whatIsMissing(self):
        return _("Load and select a chest CT first") if self._parameterNode.inputVolume is None else None

    def start(self):
        self._ensureInstalled()
        self.logic.process(
            self._parameterNode.inputVolume,
            self._parameterNode.outputSegmentation,
            self._parameterNode.regionsSegmentation,
            self._parameterNode.settings(),
            self._parameterNode.regionOfInterest,
            waitForCompletion=False,
            completedCallback=self._onCompleted,
            **self._callbacks(),
        )
        self._showResult(None)

    def _startRun(self, start):
        self._showError("")
        super()._startRun(start)

    def _ensureInstalled(self):
        ensureInstalled(self.resourcePath("InfNetSegmentationRequirements.txt"), "Inf-Net Segmentation")
        self._showWhatWillBeInstalled()

    def _ensureReportPackages(self):
        ensurePackages(self.resourcePath("InfNetReportRequirements.txt"), "Inf-Net Segmentation")

    def _callbacks(self):
        return {"progressCallback": self._onProgress, "logCallback": self._onLog}

    def _saveReport(self, result, path):
        def start():
            self._ensureReportPackages()
            self._startTask(self.logic.saveReport, _("The report is in {}"), result, path)

        self._startRun(start)

    def _exportDicom(self, result, folder):
        self._startRun(lambda: self._startTask(self.logic.exportDicom, _("The DICOM files are in {}"), result, folder))

    def _startBatch(self, cts, folder, onStarted, onCases, onEnded):
        def start():
            self._ensureInstalled()
            self.logic.processBatch(
                cts,
                folder,
                self._parameterNode.settings(),
                waitForCompletion=False,
                progressCallback=onProgress,
                logCallback=self._onLog,
                completedCallback=complete,
            )
            onStarted()

        def onProgress(stage, done, total):
            if stage == "cases":
                onCases(done, total)
            else:
                self._onProgress(stage, done, total)

        def complete(cases, error):
            onEnded()
            self._onEnded(error)

        self._startRun(start)

    def _choose(self, result):
        """Make a result's CT and segmentation the chosen ones, and show them."""
        self._parameterNode.inputVolume = result.volumeNode
        self._parameterNode.outputSegmentation = result.segmentationNode
        useLungWindow(result.volumeNode)
        self._showChosenCT()
        self._showResult(result)

    def _showChosenCT(self):
        self._showResult(None)  # a map of change lies on another CT
        showChosenCT(self._parameterNode)

    def _compare(self, earlier, later):
        def start():
            self._ensureReportPackages()
            self.logic.compare(earlier, later, waitForCompletion=False, completedCallback=complete, **self._callbacks())

        def complete(change, error):
            self._onEnded(error)

        self._startRun(start)

    def _importCheckpoint(self, path):
        def start():
            self._ensureInstalled()
            choose = self._modelPanel.chooseModel
            self._startTask(self.logic.importCheckpoint, _("The model is in {}"), path, onWritten=choose)

        self._startRun(start)

    def _startTask(self, task, success, *arguments, onWritten=None):
        """Start a run of the logic that writes files; the message ``success`` tells where they are.

        onWritten(path) - called at its end, unless it failed
        """

        def complete(payload, error):
            self._onEnded(error)
            if error:
                return
            self._onLog(success.format(payload["output"]))
            if onWritten:
                onWritten(payload["output"])
            slicer.util.showStatusMessage(success.format(payload["output"]), 5000)

        task(*arguments, waitForCompletion=False, completedCallback=complete, **self._callbacks())

    def _onSceneStartClose(self, caller, event):
        super()._onSceneStartClose(caller, event)
        self._chosenCT.forget()
        self.logic.forgetHistory()
        self._modelPanel.show(None)
        self._batchPanel.show(None)
        self._showResult(None)
        self._showError("")

    def _onParametersModified(self, caller=None, event=None):
        if slicer.mrmlScene.IsImporting():
            return  # half of them are those of before; the end of the import takes up all
        offerCTs(self.ui.inputVolumeSelector)
        if self._parameterNode is not None and self._chosenCT.follow(self._parameterNode):
            self._showChosenCT()
        super()._onParametersModified(caller, event)
        self._modelPanel.show(self._parameterNode)
        self._batchPanel.show(self._parameterNode)
        if not self.logic.running or self._resultsPanel.result:  # a run that makes a new one has put the old one away
            self._showResultOfInput()

    def _showRunning(self, running):
        super()._showRunning(running)
        self._resultsPanel.showRunning(running, self._batchPanel.isRunning)
        self._changePanel.showRunning(running)
        self._batchPanel.showRunning(running)

    def _onCompleted(self, result, error):
        if result and self._parameterNode:
            self._choose(result)
        self._onEnded(error)

    def _onEnded(self, error):
        """A run has ended, of whatever kind."""
        self._showRunning(False)
        if error:
            self._onError(error)

    def _onError(self, error):
        self._onLog(str(error))
        if error.code == "cancelled":
            return
        text = "\n\n".join(filter(None, (withoutOptions(str(error)), remedy(error.code))))
        self._showError(text)
        self.ui.logSection.collapsed = False
        slicer.util.errorDisplay(_("The run failed.\n\n{}").format(text), detailedText=self.ui.logText.plainText)

    def _offerToCopyError(self):
        """By its context menu: what is selected in a label is copied with the marks where its lines may end."""
        import qt

        action = qt.QAction(_("Copy"), self.ui.errorLabel)
        action.connect("triggered(bool)", lambda checked=False: _copy(unwrapped(self.ui.errorLabel.text)))
        self.ui.errorLabel.addAction(action)

    def _showError(self, text):
        self.ui.errorLabel.text = wrappable(text)
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

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, scene, event, node):
        """A result that has lost its lungs, say, can do less."""
        result = self._resultsPanel.result
        if result and node in vars(result).values():
            self._showResultOfInput()

    def _onRegionOfInterestAdded(self, node):
        if self._parameterNode.inputVolume is not None:
            fitToVolume(node, self._parameterNode.inputVolume)

    def _onInstallOpenVINO(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("OpenVINO was not installed.")):
            ensurePackages(self.resourcePath("InfNetOpenVINORequirements.txt"), "Inf-Net Segmentation")
        self._showWhatWillBeInstalled()


def _copy(text):
    import qt

    qt.QApplication.clipboard().setText(text)
