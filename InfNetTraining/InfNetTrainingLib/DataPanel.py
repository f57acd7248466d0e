import time

import qt
import slicer
from slicer.i18n import tr as _

from InfNetTrainingLib.DataCheck import DataCheck, lookedAt, recognisedFolders
from InfNetTrainingLib.SamplePicture import samplePicture

_SECONDS_A_TURN = 0.05  # of looking at slices, before Slicer's own affairs have their turn
_MOST_PROBLEMS_SHOWN = 500


class DataPanel:
    """The part of the panel that looks at the slices and tells what is wrong with them."""

    def __init__(self, ui):
        self._ui = ui
        self._parameterNode = None
        self._steps = None
        self._whenDone = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._goOn)
        ui.checkButton.connect("clicked(bool)", lambda checked=False: self.check())
        ui.problemTable.columnCount = 2
        ui.problemTable.setHorizontalHeaderLabels([_("Slice"), _("Problem")])
        ui.problemTable.horizontalHeader().stretchLastSection = True
        ui.problemTable.verticalHeader().hide()
        self._looked = None  # what of the configuration a report depends on

    def show(self, parameterNode):
        """Take up the scene's parameters. A report of other folders is not shown any longer."""
        self._parameterNode = parameterNode
        if parameterNode is None:
            self._cancel()
            return
        self._recognise()
        if self._looked != lookedAt(self._parameterNode.config()):
            self._looked = lookedAt(self._parameterNode.config())
            self._cancel()
            for widget in (self._ui.checkLabel, self._ui.sampleLabel, self._ui.problemTable):
                widget.visible = False

    @property
    def isAwaited(self):
        """Whether something waits for the check that is under way."""
        return self._whenDone is not None

    def check(self, whenDone=None):
        """Look at every slice, by and by; ``whenDone(report)`` is called at the end, with None if that went wrong."""
        self._cancel()
        self._check = DataCheck(self._parameterNode.config())
        self._whenDone = whenDone
        self._steps = self._check.steps()
        self._ui.checkLabel.visible = True
        self._ui.checkLabel.text = _("Looking at the slices…")
        self._timer.start()

    def _goOn(self):
        try:
            done, total = self._look()
        except Exception as error:  # whatever it is: nothing is trained on slices that were not all looked at
            whenDone = self._cancel()
            self._ui.checkLabel.visible = False
            reason = f"{type(error).__name__}: {error}"
            slicer.util.errorDisplay(_("The slices could not be looked at.\n\n{}").format(reason))
            if whenDone:
                whenDone(None)
            return
        if done is None:
            self._finish()
        else:
            self._ui.checkLabel.text = _("Looking at the slices: {} of {}").format(done, total)

    def _look(self):
        """For one turn. Returns (slices looked at, all slices), or (None, None) at the end."""
        end = time.monotonic() + _SECONDS_A_TURN
        while True:
            place = next(self._steps, (None, None))
            if place == (None, None) or time.monotonic() > end:
                return place

    def _finish(self):
        report, whenDone = self._check.report, self._cancel()
        self._ui.checkLabel.text = report.summary()
        self._showSamples(report.samples)
        table = self._ui.problemTable
        problems = sorted(report.problems, key=lambda problem: not problem.isError)[:_MOST_PROBLEMS_SHOWN]
        table.visible = bool(problems)
        table.rowCount = len(problems)
        for row, problem in enumerate(problems):
            text = (_("Error: {}") if problem.isError else _("Warning: {}")).format(problem.text)
            for column, value in enumerate((problem.case, text)):
                item = qt.QTableWidgetItem(value)
                item.setToolTip(value)
                table.setItem(row, column, item)
        if whenDone:
            whenDone(report)

    def _showSamples(self, samples):
        self._ui.sampleLabel.visible = bool(samples)
        if samples:
            pixmap = qt.QPixmap()
            pixmap.loadFromData(qt.QByteArray(samplePicture(samples)))
            self._ui.sampleLabel.setPixmap(pixmap)

    def _cancel(self):
        """End the check. Returns what waited for it, or None."""
        self._timer.stop()
        whenDone, self._whenDone, self._steps = self._whenDone, None, None
        return whenDone

    def _recognise(self):
        """A data set's folder stands for those of its slices."""
        chosen = self._parameterNode.labelledFolder
        labelled, unlabelled = recognisedFolders(chosen) if chosen != chosen.home() else (None, None)
        if labelled and labelled != chosen:
            self._parameterNode.labelledFolder = labelled
            if unlabelled:
                self._parameterNode.unlabelledFolder = unlabelled
