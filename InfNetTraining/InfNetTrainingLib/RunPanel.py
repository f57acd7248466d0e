import time

import qt
from InfNetSegmentationLib.Remedies import wrappable
from slicer.i18n import tr as _

from InfNetTrainingLib.Curves import diceTitles, readDice, showChart, updateChart
from InfNetTrainingLib.RunState import (
    ABSENT,
    FAILED,
    FINISHED,
    INTERRUPTED,
    RESUMABLE,
    RUNNING,
    STOPPED,
    STOPPING,
    RunReader,
    TrainingStatus,
    holdsTraining,
)

_POLL_INTERVAL_MS = 500
_IDLE_INTERVAL_MS = 3000  # of a run that a script in a terminal, or another Slicer, may go on with
_SECONDS_BETWEEN_CURVES = 5
_CURVE_SHARE = 0.05  # of the time, at most, goes into drawing


class RunPanel:
    """The part of the panel that follows a training by its folder, whoever has started it.

    onChange(status) - called when the state, the stage or the round has changed, and once for each folder
    """

    def __init__(self, ui, onChange):
        self._ui = ui
        self._onChange = onChange
        self._reader = None
        self._areCurvesWanted = self._areCurvesShown = False
        self._nextCurveAt = 0.0
        self._dice = {}  # of the trainings of the run (`readDice`)
        self.status = TrainingStatus()
        self.problem = None  # why the folder cannot be used, or None
        self._timer = qt.QTimer()
        self._timer.timeout.connect(self.poll)
        ui.curveButton.connect("clicked(bool)", self._onShowCurve)

    @property
    def folder(self):
        return self._reader.folder if self._reader else None

    def follow(self, folder, again=False):
        """Show the training in this folder from now on; ``again``: it has been started anew."""
        if self.folder == folder and not again:
            return
        self.close()
        self._reader = RunReader(folder)
        self._ui.logText.plainText = ""
        self._areCurvesWanted = self._areCurvesWanted and again
        self._areCurvesShown = self._areCurvesShown and again
        self.poll(isFirst=True)

    def refresh(self):
        """Look whether the folder has been deleted, or a training was begun in it, since the panel was left."""
        if holdsTraining(self.folder) != (self.status.state != ABSENT):
            self.follow(self.folder, again=True)

    def poll(self, isFirst=False):
        """Read and show what is new."""
        before = self.status
        try:
            self.status, self.problem = self._reader.read(), None
        except ValueError as error:
            self.status, self.problem = TrainingStatus(), str(error)
        for line in self._reader.newLines:
            self._ui.logText.appendPlainText(line)
        if self.status.isRunning:
            self._timer.start(_POLL_INTERVAL_MS)
        elif self.status.state in RESUMABLE:
            self._timer.start(_IDLE_INTERVAL_MS)
        else:
            self._timer.stop()
        hasChanged = isFirst or self.status.state != before.state
        self._readLogs(isDue=hasChanged)
        self._show()
        if hasChanged or (self.status.stage, self.status.round) != (before.stage, before.round):
            self._onChange(self.status)

    def close(self):
        """Follow no training; it goes on by itself."""
        self._timer.stop()
        self._reader = None

    def _show(self):
        status, ui = self.status, self._ui
        text = self.problem or _sentence(status, self._dice)
        if self._areCurvesWanted and not self._areCurvesShown:
            text += "\n" + _("There are no curves yet, as losses are written every ten steps; they are drawn then.")
        ui.stageLabel.text = wrappable(text)
        ui.stageLabel.visible = bool(ui.stageLabel.text)
        ui.progressBar.visible = status.isRunning
        ui.progressBar.maximum = status.total  # 0, a busy bar, until the first progress is told
        ui.progressBar.value = status.done
        ui.curveButton.enabled = status.state != ABSENT

    def _onShowCurve(self, checked=False):
        self._areCurvesWanted, self._areCurvesShown = True, False
        self._drawCurves()
        self._show()

    def _drawCurves(self):
        chartNode = updateChart(self.folder)
        if chartNode and not self._areCurvesShown:
            self._areCurvesShown = True
            showChart(chartNode)

    def _readLogs(self, isDue):
        if self.status.state == ABSENT:
            self._dice = {}
            return
        now = time.monotonic()
        if isDue or (self.status.isRunning and now >= self._nextCurveAt):
            self._dice = readDice(self.folder)
            if self._areCurvesWanted:
                self._drawCurves()
            ended = time.monotonic()
            self._nextCurveAt = ended + max(_SECONDS_BETWEEN_CURVES, (ended - now) / _CURVE_SHARE)


def buttonText(state):
    """What the one button does in this state."""
    if state == RUNNING:
        return _("Stop")
    if state == STOPPING:
        return _("End now")
    return _("Resume") if state in RESUMABLE else _("Start")


def buttonToolTip(state):
    """What will happen when it is pressed, or None for the start."""
    if state == RUNNING:
        return _("Stop at the next step, after writing a checkpoint: Resume goes on from there")
    if state == STOPPING:
        return _("End the process at once: up to five minutes of training are lost and done again by Resume")
    return _("Go on from the last checkpoint; Slicer may be closed meanwhile") if state in RESUMABLE else None


def _sentence(status, dice):
    """The state in words; ``dice``: that of `readDice`."""
    if status.state == RUNNING:
        parts = [_stageTitle(status.stage) if status.stage else _("Starting…")]
        if status.remote:
            parts.append(_("on {}").format(status.remote))
        if status.round:
            parts.append(_("round {} of {}").format(*status.round))
        if status.secondsLeft is not None:
            parts.append(_("{} left").format(durationText(status.secondsLeft)))
        curves = dice.get("fold-0" if status.stage == "fold 1" else status.stage, {})
        if curves:
            column, points = next(iter(curves.items()))
            epoch, value = points[-1]
            parts.append(_("held-out {} {:.2f} after epoch {}").format(diceTitles()[column], value, epoch))
        if status.gpuBytes is not None:
            parts.append(_("up to {} of GPU memory").format(bytesText(status.gpuBytes)))
        return ", ".join(parts)
    if status.awaitsReview:
        return _("Paused: look at the new pseudo-labels below, reject or correct them; Resume goes on.")
    if status.remote and status.state == INTERRUPTED:
        return status.error
    texts = {
        ABSENT: "",
        STOPPING: _("Stopping at the next step…"),
        STOPPED: _("Stopped; Resume goes on from the last checkpoint."),
        FINISHED: _("Finished; “New run” starts another training."),
        FAILED: _("Failed: {}").format(status.error),
        INTERRUPTED: _("Interrupted; Resume goes on from the last checkpoint. {}").format(status.error),
    }
    return texts[status.state]


def _stageTitle(stage):
    titles = {
        "training": _("Training"),
        "fold 1": _("Training without the held-out slices"),
        "supervised": _("Training on the labels"),
        "pseudo-labels": _("Making pseudo-labels"),
        "fine-tuning": _("Fine-tuning"),
        "pre-training": _("Pre-training on pseudo-labels"),
        "semi-supervised": _("Final training on the labels"),
    }
    return titles.get(stage, stage.capitalize())


def bytesText(count):
    return _("{:.1f} GB").format(count / 1e9) if count >= 1e9 else _("{:.0f} MB").format(count / 1e6)


def durationText(seconds):
    """Seconds in words, as exactly as an estimate deserves."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return _("less than a minute")
    hours, minutes = divmod(minutes, 60)
    if hours == 0:
        return _("about {} min").format(minutes)
    if hours < 48:
        return _("about {} h {} min").format(hours, minutes)
    return _("about {} days").format(round(hours / 24))
