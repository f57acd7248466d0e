import ctk
import slicer
from InfNetSegmentationLib.Dependencies import ensureInstalled
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from InfNetTrainingLib.TrainingLogic import InfNetTrainingLogic


class InfNetTrainingWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: folders, number of epochs, Start that becomes Stop, progress, log."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/InfNetTraining.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        for line in (self.ui.dataFolderLine, self.ui.outputFolderLine):
            line.filters = ctk.ctkPathLineEdit.Dirs
        self.logic = InfNetTrainingLogic()
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneEndClose)
        self.ui.startButton.connect("clicked(bool)", self._onStartOrStop)
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
        self.enter()

    def _setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, "ModifiedEvent", self._onParametersModified)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, "ModifiedEvent", self._onParametersModified)
            self._onParametersModified()

    def _onParametersModified(self, caller=None, event=None):
        if self.logic.running:
            return
        ready = self._parameterNode is not None and (self._parameterNode.dataFolder / "Imgs").is_dir()
        self.ui.startButton.enabled = ready
        self.ui.startButton.toolTip = (
            _("Train on the slices of the data folder")
            if ready
            else _("Choose a data folder that holds a folder “Imgs” first")
        )

    def _onStartOrStop(self, checked=False):
        if self.logic.running:
            self.logic.stop()
            self.ui.startButton.enabled = False
            self.ui.stageLabel.text = _("Stopping…")
        else:
            self._start()

    def _start(self):
        with slicer.util.tryWithErrorDisplay(_("The training could not be started.")):
            ensureInstalled(self.resourcePath("InfNetTrainingRequirements.txt"), "Inf-Net Training")
            self.ui.logText.plainText = ""
            self.logic.train(
                self._parameterNode.dataFolder,
                self._parameterNode.outputFolder,
                self._parameterNode.epochs,
                waitForCompletion=False,
                progressCallback=self._onProgress,
                logCallback=self._onLog,
                completedCallback=self._onCompleted,
            )
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
            self._onLog(_("The training has ended; its results are in the output folder."))
            return
        self._onLog(str(error))
        if error.code != "cancelled":
            slicer.util.errorDisplay(_("The training failed.\n\n{}").format(error))

    def _showRunning(self, running):
        self.ui.startButton.text = _("Stop") if running else _("Start")
        self.ui.inputsSection.enabled = not running
        self.ui.progressBar.visible = running
        self.ui.stageLabel.visible = running
        self.ui.stageLabel.text = _("Starting…")
        self.ui.progressBar.maximum = 0  # a busy bar until the first progress is told
        self.ui.startButton.enabled = True
        self._onParametersModified()
