from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from InfNetTrainingLib.Remote import commandLine, slurmScript
from InfNetTrainingLib.SshErrors import scriptCommand
from InfNetTrainingLib.SshScript import hostProblem, writeSshRun

_MESSAGE_MS = 3000


class RemotePanel:
    """The part of the panel that starts the training on another computer, or writes it down for one."""

    def __init__(self, ui, config, onWritten, onStart):
        """``config()`` - what is chosen now; ``onWritten()`` - called when the run's folder has been made;
        ``onStart(host, python)`` - called when the training there is to be started.
        """
        self._ui = ui
        self._config = config
        self._onWritten = onWritten
        self._missing, self._isTaken = None, False
        self._toolTips = {button: button.toolTip for button in (ui.startSshButton, ui.saveSshButton)}
        self._commandToolTips = {button: button.toolTip for button in (ui.copyCommandButton, ui.saveSlurmButton)}
        ui.hostLine.connect("textChanged(QString)", lambda text: self.showButtons(self._missing, self._isTaken))
        ui.copyCommandButton.connect("clicked(bool)", self._onCopyCommand)
        ui.saveSlurmButton.connect("clicked(bool)", self._onSaveSlurm)
        ui.saveSshButton.connect("clicked(bool)", self._onSaveSsh)
        ui.startSshButton.connect(
            "clicked(bool)", lambda checked=False: onStart(ui.hostLine.text, ui.remotePythonLine.text)
        )

    def showButtons(self, missing, isTaken):
        """``missing``: why no training can start now, wherever it is (a sentence for the tooltips), or None;
        ``isTaken``: whether the run folder has a training already, whose command can be had all the same.
        """
        self._missing, self._isTaken = missing, isTaken
        taken = _("The run folder holds a training already; press “New run” for another one") if isTaken else missing
        _enable(self._toolTips, taken or hostProblem(self._ui.hostLine.text))
        _enable(self._commandToolTips, None if isTaken else missing)

    def _onCopyCommand(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("There is no such command.")):
            qt.QApplication.clipboard().setText(commandLine(self._config(), self._ui.gpusBox.value))
            slicer.util.showStatusMessage(_("The command was copied."), _MESSAGE_MS)

    def _onSaveSlurm(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The script could not be written.")):
            config, ui = self._config(), self._ui
            text = slurmScript(config, ui.nodesBox.value, ui.gpusBox.value, ui.hoursBox.value)
            path = qt.QFileDialog.getSaveFileName(
                slicer.util.mainWindow(), _("Save Slurm script"), "infnet.sbatch", _("Scripts (*.sbatch *.sh)")
            )
            if path:
                Path(path).write_text(text, encoding="utf-8", newline="\n")

    def _onSaveSsh(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The script could not be written.")):
            path = writeSshRun(self._config(), self._ui.hostLine.text, self._ui.remotePythonLine.text)
            qt.QApplication.clipboard().setText(scriptCommand(path.parent))
            self._onWritten()


def _enable(toolTips, problem):
    """Enable buttons, {button: its tooltip}, or tell by their tooltips why they are not."""
    for button, toolTip in toolTips.items():
        button.enabled = problem is None
        button.toolTip = problem or toolTip
