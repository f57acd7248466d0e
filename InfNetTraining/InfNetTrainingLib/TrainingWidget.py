import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import qt
import slicer
from InfNetSegmentationLib.Dependencies import ensureInstalled
from InfNetSegmentationLib.Remedies import wrappable
from InfNetSegmentationLib.RunWidget import RunWidget
from slicer.i18n import tr as _

from InfNetTrainingLib.CasesPanel import CasesPanel
from InfNetTrainingLib.DataPanel import DataPanel
from InfNetTrainingLib.EstimatePanel import EstimatePanel
from InfNetTrainingLib.ExtraPanel import ExtraPanel
from InfNetTrainingLib.OutcomePanel import OutcomePanel
from InfNetTrainingLib.RecipePanel import RecipePanel
from InfNetTrainingLib.RemotePanel import RemotePanel
from InfNetTrainingLib.ReviewPanel import ReviewPanel
from InfNetTrainingLib.RunPanel import RunPanel, buttonText, buttonToolTip
from InfNetTrainingLib.RunState import ABSENT, FINISHED, RESUMABLE, RUNNING, STOPPING
from InfNetTrainingLib.TrainingLogic import InfNetTrainingLogic
from InfNetTrainingLib.TrainingParameters import unusedFolder

_REQUIREMENTS = "InfNetTrainingRequirements.txt"
_LAST_RUN = "InfNetTraining/LastRun"  # of the settings: the folder of the training that was started last


class InfNetTrainingWidget(RunWidget):
    """The panel: data, recipe, run, outcome. Holds its parts together; a training goes on without it."""

    logicClass = InfNetTrainingLogic

    def __init__(self, parent=None):
        self._panels = ()
        self._ownConfig = None  # what was chosen before the settings of a run took its place
        super().__init__(parent)

    def enter(self):
        isFirst = not self._panels
        if isFirst:
            self._makePanels()
        self._recipe.refresh()
        super().enter()
        if isFirst:
            self._showLastRun()
        else:
            self._run.refresh()

    def cleanup(self):
        super().cleanup()
        self._run.close()

    def addCase(self, volumeNode, segmentationNode):
        """Add a CT of the scene and its segmentation to the labelled cases: for InfNetSegmentation."""
        self._cases.add(volumeNode, segmentationNode)
        if self._run.status.state == FINISHED:  # they are for another one
            self._onNewRun()

    def _makePanels(self):
        import ctk

        ui = self.ui
        for line in (ui.labelledFolderLine, ui.unlabelledFolderLine, ui.outputFolderLine, ui.ctFolderLine):
            line.filters = ctk.ctkPathLineEdit.Dirs
            # An emptied line does not tell a change of its path: the parameter stays what it was.
            line.connect("validInputChanged(bool)", lambda valid: self._showButtons())
        self._data = DataPanel(ui)
        self._cases = CasesPanel(
            ui, self.logic, self._onPreparing, ui.logText.appendPlainText, self._onPrepared, self._tell
        )
        self._recipe = RecipePanel(ui)
        requirements = self.resourcePath(_REQUIREMENTS)
        self._estimate = EstimatePanel(ui, self.logic, self._showButtons, requirements)
        self._panels = (self._data, ExtraPanel(ui), self._cases, self._recipe, self._estimate)
        self._run = RunPanel(ui, self._onRunChanged)
        self._review = ReviewPanel(ui)
        self._outcome = OutcomePanel(ui, self.logic, self._recipe.refresh)
        self._remote = RemotePanel(
            ui,
            lambda: self._parameterNode.config(),
            self._onBegun,
            self._onStartRemote,
        )
        ui.newRunButton.connect("clicked(bool)", self._onNewRun)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._onNodeRemoved)

    def _showLastRun(self):
        """When Slicer has been started again, the training of the last time is what is looked for."""
        folder = qt.QSettings().value(_LAST_RUN)
        hasChosen = self._run.status.state != ABSENT or self._parameterNode.config().problem() is None
        if folder and Path(folder).is_dir() and not hasChosen:
            self._parameterNode.outputFolder = Path(folder)

    def _setParameterNode(self, parameterNode):
        self._ownConfig = None
        if self._panels and parameterNode is None:
            for panel in self._panels:
                panel.show(None)
        super()._setParameterNode(parameterNode)

    def _onParametersModified(self, caller=None, event=None):
        for panel in self._panels:
            panel.show(self._parameterNode)
        self._run.follow(self._parameterNode.outputFolder)
        self._showButtons()

    def _onRunChanged(self, status):
        """A training was found, started, or has ended: its own settings are shown while it is the chosen one.

        The folder of another run may only have been passed, while a path was typed: what was chosen then comes back.
        """
        config = self._parameterNode.config()
        if status.config is not None and config != status.config:
            self._ownConfig = self._ownConfig or config
            self._parameterNode.takeUp(status.config)
        elif status.config is None and self._ownConfig is not None:
            own, self._ownConfig = self._ownConfig, None
            self._parameterNode.takeUp(replace(own, outputFolder=config.outputFolder))
        self._review.show(self._run.folder, status)
        self._outcome.show(self._run.folder, status)
        self._showButtons()

    def _onNewRun(self, checked=False):
        """Another run as that which is shown."""
        self._ownConfig = None
        self._parameterNode.outputFolder = unusedFolder(self._parameterNode.outputFolder)
        self._run.refresh()  # where the run was deleted, its folder is unused

    def _onNodeRemoved(self, caller, event):
        self._cases.refresh()

    def _onPreparing(self, stage, done, total):
        self._showButtons()
        self._tell(_("Making slices: {} of {}").format(done, total))

    def _tell(self, text):
        self.ui.stageLabel.visible = True
        self.ui.stageLabel.text = wrappable(text)

    def _onPrepared(self):
        """The making of slices has begun or ended: the line above the bar is the training's again."""
        self._run.poll()
        self._showButtons()

    def _showRunning(self, running):
        """Nothing: the state is that of the run's folder."""

    def _showButtons(self):
        state, ui = self._run.status.state, self.ui
        isMaking, isFree = self._isMakingSlices(), not self._data.isAwaited and not self.logic.preparing
        ui.applyButton.text = _("Stop") if isMaking else buttonText(state)
        ui.inputsSection.enabled = state == ABSENT and isFree
        ui.outputFolderLine.enabled = isFree
        ui.newRunButton.enabled = isFree and (state != ABSENT or _holdsSomething(self._run.folder))
        self._cases.showFolderButton()
        self._estimate.showButton(isFree=state == ABSENT and isFree)
        missing = self._whatIsMissing(state)
        ui.applyButton.enabled = isMaking or missing is None
        toolTip = missing or buttonToolTip(state) or self._startToolTip
        ui.applyButton.toolTip = _("Stops making slices") if isMaking else toolTip
        self._remote.showButtons(missing, isTaken=state != ABSENT)

    def _whatIsMissing(self, state):
        """Why the button cannot be pressed now, or None."""
        if self._parameterNode is None or self._data.isAwaited:
            return _("Wait until the slices have been looked at")
        if self.logic.preparing and state == ABSENT:
            return _("Wait until the slices are made or the time is estimated")
        if self._run.problem:
            return self._run.problem
        if state in (RUNNING, STOPPING, *RESUMABLE):
            return None
        if state == FINISHED:
            return _("This training is finished; press “New run” for another one")
        lines = (self.ui.labelledFolderLine, self.ui.unlabelledFolderLine, self.ui.outputFolderLine)
        if any(line.enabled and not line.currentPath for line in lines):
            return _("Choose a folder where a line is empty")
        if _holdsSomething(self._run.folder):
            return _("The run folder holds something else; choose a new one, or press “New run”")
        return self._parameterNode.config().problem()

    def _isMakingSlices(self):
        """Which, before a training, the button stops."""
        return self.logic.preparing and not self._estimate.isRunning and self._run.status.state == ABSENT

    def _onStartOrStop(self, checked=False):
        state, folder = self._run.status.state, self._run.folder
        if self._isMakingSlices():
            self.logic.cancel()
        elif state in (RUNNING, STOPPING):
            with slicer.util.tryWithErrorDisplay(_("The training could not be stopped.")):
                self.logic.stop(folder, byForce=state == STOPPING)
            self._run.poll()
        elif state in RESUMABLE:
            self._begin(lambda: self._resume(folder), isRemote=bool(self._run.status.remote))
        else:
            self._checkAndBegin(lambda: self.logic.start(self._parameterNode.config()))

    def _resume(self, folder):
        self._review.keepEdited()
        try:
            self.logic.resume(folder)
        finally:
            self._run.refresh()  # it may have been deleted

    def _onStartRemote(self, host, python):
        self._checkAndBegin(lambda: self.logic.startRemote(self._parameterNode.config(), host, python), isRemote=True)

    def _checkAndBegin(self, start, isRemote=False):
        self._data.check(lambda report: self._beginChecked(report, start, isRemote))
        self._showButtons()

    def _beginChecked(self, report, start, isRemote):
        self._showButtons()
        if report is None:  # which has been told
            return
        if report.canTrain:
            self._begin(start, isRemote)
        else:
            errors = [f"{problem.case}: {problem.text}" for problem in report.problems if problem.isError]
            slicer.util.errorDisplay(
                _("These slices cannot be trained on; see “Data”.\n\n{}").format("\n".join(errors[:10]))
            )

    def _begin(self, start, isRemote=False):
        with slicer.util.tryWithErrorDisplay(_("The training could not be started.")):
            if not isRemote:
                ensureInstalled(self.resourcePath(_REQUIREMENTS), "Inf-Net Training")
            start()
            self._onBegun()

    def _onBegun(self):
        qt.QSettings().setValue(_LAST_RUN, str(self._run.folder))
        self._run.follow(self._run.folder, again=True)


def _holdsSomething(folder):
    """Whether there is anything in a folder (None: none is chosen yet), where one can look."""
    if folder is None:
        return False
    with suppress(OSError), os.scandir(folder) as entries:
        return any(entries)
    return False
