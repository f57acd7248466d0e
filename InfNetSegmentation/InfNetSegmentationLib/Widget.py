import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from InfNetSegmentationLib.Dependencies import ensureInstalled
from InfNetSegmentationLib.Logic import InfNetSegmentationLogic
from InfNetSegmentationLib.ResultTable import fillTableWidget


class InfNetSegmentationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: inputs, Apply that becomes Cancel, progress, results, log."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/InfNetSegmentation.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = InfNetSegmentationLogic()
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self._onSceneEndImport)
        self.ui.applyButton.connect("clicked(bool)", self._onApplyOrCancel)
        self.ui.resultsSection.visible = False
        self._showRunning(False)
        self.enter()

    def cleanup(self):
        self.logic.abort()
        self._setParameterNode(None)
        self.removeObservers()

    def enter(self):
        """Take up the scene's parameters, made with their defaults if there are none."""
        if self._parameterNode is None:
            self._setParameterNode(self.logic.getParameterNode())

    def _onSceneStartClose(self, caller, event):
        self._setParameterNode(None)

    def _onSceneEndClose(self, caller, event):
        self.ui.resultsSection.visible = False
        self.enter()

    def _onSceneEndImport(self, caller, event):
        # The parameters may have been read before the nodes that they refer to.
        self._setParameterNode(self.logic.getParameterNode())

    def _setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, "ModifiedEvent", self._onParametersModified)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._selectFirstVolume()
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, "ModifiedEvent", self._onParametersModified)
            self._onParametersModified()

    def _selectFirstVolume(self):
        if self._parameterNode.inputVolume is None:
            volumeNodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            # Not a label image, whose class is derived from that of volumes.
            volumeNodes = [node for node in volumeNodes if not node.IsA("vtkMRMLLabelMapVolumeNode")]
            self._parameterNode.inputVolume = volumeNodes[0] if volumeNodes else None

    def _onParametersModified(self, caller=None, event=None):
        if self.logic.running:
            return
        ready = self._parameterNode is not None and self._parameterNode.inputVolume is not None
        self.ui.applyButton.enabled = ready
        self.ui.applyButton.toolTip = (
            _("Segment the infection on the CT") if ready else _("Load and select a chest CT first")
        )

    def _onApplyOrCancel(self, checked=False):
        if self.logic.running:
            self.logic.cancel()
            self.ui.applyButton.enabled = False
            self.ui.stageLabel.text = _("Stopping…")
        else:
            self._apply()

    def _apply(self):
        with slicer.util.tryWithErrorDisplay(_("The segmentation could not be started.")):
            ensureInstalled(self.resourcePath("InfNetSegmentationRequirements.txt"), "Inf-Net Segmentation")
            self.ui.logText.plainText = ""
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
            self.ui.resultsSection.visible = False
            self._showRunning(True)

    def _onProgress(self, stage, done, total):
        self.ui.progressBar.maximum = total
        self.ui.progressBar.value = done
        self.ui.stageLabel.text = stage.capitalize()

    def _onLog(self, text):
        self.ui.logText.appendPlainText(text)

    def _onCompleted(self, result, error):
        self._showRunning(False)
        if result:
            self._showResult(result)
        elif error.code == "cancelled":
            self._onLog(str(error))
        else:
            self._onLog(str(error))
            self.ui.logSection.collapsed = False
            slicer.util.errorDisplay(_("The segmentation failed.\n\n{}").format(error))

    def _showResult(self, result):
        if self._parameterNode:
            self._parameterNode.outputSegmentation = result.segmentationNode
        fillTableWidget(self.ui.resultTable, result.table)
        self.ui.resultsSection.visible = True

    def _showRunning(self, running):
        self.ui.applyButton.text = _("Cancel") if running else _("Apply")
        self.ui.inputsSection.enabled = not running
        self.ui.progressBar.visible = running
        self.ui.stageLabel.visible = running
        self.ui.stageLabel.text = _("Starting…")
        self.ui.progressBar.maximum = 0  # a busy bar until the first progress is told
        self.ui.applyButton.enabled = True
        self._onParametersModified()
