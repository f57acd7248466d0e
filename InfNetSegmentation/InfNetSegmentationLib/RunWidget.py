import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from InfNetSegmentationLib.Progress import RemainingTime

# Slicer's wrapper observes its node for good, and the node outlives a panel. Were the wrapper collected as garbage,
# Slicer would crash when the node is modified the next time; so each one that was tied to widgets is kept.
_keptParameterNodes = []


class RunWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """A panel for runs of the backend: parameters that the scene keeps, a button that starts and stops, progress, log.

    A subclass gives the logic, and says when a run can start, how, and what follows it.
    """

    logicClass = None

    def __init__(self, parent=None):
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        super().__init__(parent)  # last, since it calls `setup` where there is no parent

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = self.logicClass()
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self._onSceneStartImport)
        # After the selectors, which list the nodes anew at that event.
        self.addObserver(scene, scene.EndImportEvent, self._onSceneEndImport, priority=-100.0)
        # Before the selectors, which choose the next node of their list in place of a deleted one.
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved, priority=100.0)
        self._startText, self._startToolTip = self.ui.applyButton.text, self.ui.applyButton.toolTip
        self.ui.applyButton.connect("clicked(bool)", self._onStartOrStop)
        self.setupPanels()
        self._showRunning(False)
        self.enter()

    def setupPanels(self):
        """Overridden by a panel that has parts of its own; called once, before anything is shown."""

    def cleanup(self):
        self.logic.abort()
        self._setParameterNode(None)
        self.removeObservers()

    def enter(self):
        """Take up the scene's parameters, made with their defaults if there are none, and what else has changed."""
        if self._parameterNode is None:
            self._setParameterNode(self.logic.getParameterNode())
        else:
            self._onParametersModified()

    def stopText(self):
        """The button's text during a run; else it is that of the .ui file."""
        raise NotImplementedError

    def whatIsMissing(self):
        """What the user has to do before a run can start (a sentence for the button's tooltip), or None."""
        raise NotImplementedError

    def start(self):
        """Start a run that calls `_onProgress`, `_onLog` and `_onCompleted`. An exception is shown to the user."""
        raise NotImplementedError

    def _onSceneStartClose(self, caller, event):
        self._setParameterNode(None)

    def _onSceneEndClose(self, caller, event):
        self.enter()

    def _onSceneStartImport(self, caller, event):
        # The selectors lose their nodes at the import's end (Slicer's issue 4570), and tell it as somebody's choice.
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)

    def _onSceneEndImport(self, caller, event):
        # The parameters may have been read before the nodes that they refer to.
        self._setParameterNode(self.logic.getParameterNode())
        self.enter()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, scene, event, node):
        """What was chosen is chosen no longer: no other node takes its place unseen."""
        if self._parameterNode:
            for name in self._parameterNode.allParameters:
                if self._parameterNode.getValue(name) is node:
                    self._parameterNode.setValue(name, None)

    def _setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, "ModifiedEvent", self._onParametersModified)
        self._parameterNode = parameterNode
        if self._parameterNode:
            _keptParameterNodes.append(self._parameterNode)
            self._parameterNodeGuiTag = self._parameterNode.connectParametersToGui(self._parameterWidgets())
            self.addObserver(self._parameterNode, "ModifiedEvent", self._onParametersModified)
            self._onParametersModified()

    def _parameterWidgets(self):
        """The widget of each parameter, as the .ui file names it.

        Slicer's connectGui finds them too, but does not return the tag that disconnectGui needs.
        """
        widgets = {widget.property("SlicerParameterName"): widget for widget in vars(self.ui).values()}
        return {name: widget for name, widget in widgets.items() if name}

    def _onParametersModified(self, caller=None, event=None):
        if self.logic.running:
            return
        missing = self.whatIsMissing() if self._parameterNode else None
        self.ui.applyButton.enabled = self._parameterNode is not None and missing is None
        self.ui.applyButton.toolTip = missing or self._startToolTip

    def _onStartOrStop(self, checked=False):
        if self.logic.running:
            self.ui.applyButton.enabled = False
            self.ui.stageLabel.text = _("Stopping…")
            self.logic.cancel()  # last: what has no process yet has ended when this returns
            return
        self._startRun(self.start)

    def _startRun(self, start):
        """Start a run by calling ``start``; while it runs, the button stops it."""
        with slicer.util.tryWithErrorDisplay(_("The run could not be started.")):
            self.ui.logText.plainText = ""
            self._remainingTime = RemainingTime()
            start()
            self._showRunning(True)

    def _onProgress(self, stage, done, total):
        self.ui.progressBar.maximum = total
        self.ui.progressBar.value = done
        self.ui.stageLabel.text = self._remainingTime.text(stage, done, total)

    def _onLog(self, text):
        self.ui.logText.appendPlainText(text)

    def _showRunning(self, running):
        self.ui.applyButton.text = self.stopText() if running else self._startText
        self.ui.inputsSection.enabled = not running
        self.ui.progressBar.visible = running
        self.ui.stageLabel.visible = running
        self.ui.stageLabel.text = _("Starting…")
        self.ui.progressBar.maximum = 0  # a busy bar until the first progress is told
        self.ui.applyButton.enabled = True
        self._onParametersModified()
