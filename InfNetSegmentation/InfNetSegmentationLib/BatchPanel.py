from contextlib import suppress
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.BatchResults import batchCases
from InfNetSegmentationLib.BatchStudy import loadCase
from InfNetSegmentationLib.ChoiceBox import ChoiceBox
from InfNetSegmentationLib.Remedies import withoutOptions
from InfNetSegmentationLib.SceneCTs import sceneCTs

RESULTS_FOLDER = "InfNet-results"  # within the folder of the CTs, if no other is chosen


class BatchPanel:
    """The part of the panel that segments many CTs and shows what was found on each.

    The table is that of the results' folder: it is there again when the folder is chosen again, in another session too.

    startBatch(cts, folder, onStarted, onCases, onEnded) - starts the run, which calls ``onStarted()``,
        ``onCases(done, total)`` and, at its end, ``onEnded()``
    stop() - asks the run under way to stop
    showResult(result) - shows a result that was brought into the scene
    """

    def __init__(self, ui, startBatch, stop, showResult):
        import ctk
        import qt

        self._ui = ui
        self._startBatch = startBatch
        self._stop = stop
        self._showResult = showResult
        self._parameterNode = None
        self.isRunning = False  # a batch, not another run
        self._anyRun = False
        self._folder = ""
        self._cases = []
        self._startText = ui.batchButton.text
        self._source = ChoiceBox(ui.batchSourceSelector, lambda value: self._set("batchSource", value))
        self._source.setChoices([("folder", _("A folder")), ("scene", _("The scene: all that are loaded"))])
        for line, name in ((ui.batchInputLine, "batchInputFolder"), (ui.batchOutputLine, "batchOutputFolder")):
            line.filters = ctk.ctkPathLineEdit.Dirs
            line.connect("currentPathChanged(QString)", lambda path, name=name: self._set(name, path))
            # The path is not told to change where the line is emptied.
            line.connect("validInputChanged(bool)", lambda valid, name=name: valid or self._set(name, ""))
        ui.batchButton.connect("clicked(bool)", self._onButton)
        ui.batchLoadButton.connect("clicked(bool)", lambda checked=False: self._load(ui.batchTable.currentRow()))
        ui.batchFolderButton.connect("clicked(bool)", self._onOpenFolder)
        ui.batchTable.connect("cellDoubleClicked(int,int)", lambda row, column: self._load(row))
        ui.batchTable.connect("itemSelectionChanged()", self._showButtons)
        titles = [_("Case"), _("Infection\nmL"), _("of the\nlungs"), _("Score"), _("Remarks")]
        ui.batchTable.setColumnCount(len(titles))
        ui.batchTable.setHorizontalHeaderLabels(titles)
        ui.batchTable.verticalHeader().hide()
        header = ui.batchTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setStretchLastSection(True)

    def show(self, parameterNode):
        """Show the scene's parameters; None while the scene is closed."""
        self._parameterNode = parameterNode
        if parameterNode is None:
            return
        self._source.setValue(parameterNode.batchSource)
        for line, path in (
            (self._ui.batchInputLine, parameterNode.batchInputFolder),
            (self._ui.batchOutputLine, parameterNode.batchOutputFolder),
        ):
            if line.currentPath != path:  # or the cursor would jump while a path is typed
                line.currentPath = path
        if self.isRunning:  # in another scene: a batch does not need the one it was started in
            self._set("batchOutputFolder", self._folder)
        elif self._folder != self._chosenFolder():
            self._folder = self._chosenFolder()
            self._showCases()
        self._showButtons()

    def refresh(self):
        """Look into the results' folder again: a script or another Slicer may have gone on in it, or it was deleted."""
        self._showCases()
        self._showButtons()

    def showRunning(self, running):
        """A run has begun or ended, of a batch or of something else."""
        self._anyRun = running
        self._showButtons()

    def _set(self, name, value):
        if self._parameterNode and getattr(self._parameterNode, name) != value:
            setattr(self._parameterNode, name, value)

    def _chosenFolder(self):
        """Where the results go; "" while that is not known."""
        node = self._parameterNode
        if node.batchOutputFolder or node.batchSource != "folder" or not node.batchInputFolder:
            return node.batchOutputFolder
        return (Path(node.batchInputFolder) / RESULTS_FOLDER).as_posix()  # as Qt writes paths

    def _whatIsMissing(self):
        """Why a batch cannot start (a sentence for the button's tooltip), or None."""
        node = self._parameterNode
        if node is None or self._anyRun:
            return _("Wait until the run has ended")
        if node.batchSource == "folder" and not _isFolder(node.batchInputFolder):
            return _("Choose the folder of the CTs first")
        return None if self._chosenFolder() else _("Choose the folder for the results first")

    def _showButtons(self):
        ui, node = self._ui, self._parameterNode
        ui.batchInputsWidget.enabled = not self.isRunning
        ofOneCT = (node.regionOfInterest, node.regionsSegmentation) if node else ()
        ui.batchNoteLabel.visible = any(chosen is not None for chosen in ofOneCT)
        ui.batchInputLine.enabled = node is not None and node.batchSource == "folder"
        missing = None if self.isRunning else self._whatIsMissing()
        ui.batchButton.text = _("Stop") if self.isRunning else self._startText
        ui.batchButton.enabled = missing is None
        ui.batchButton.toolTip = missing or _("Segments the CTs one after the other; started again, it goes on")
        ui.batchProgressBar.visible = self.isRunning
        row = ui.batchTable.currentRow()
        ui.batchLoadButton.enabled = 0 <= row < len(self._cases) and self._cases[row].study is not None
        ui.batchFolderButton.enabled = bool(self._cases)
        ui.batchTable.visible = ui.batchLabel.visible = bool(self._cases)

    def _onButton(self, checked=False):
        if self.isRunning:
            self._stop()
            return
        node = self._parameterNode
        self._folder = self._chosenFolder()
        cts = sceneCTs() if node.batchSource == "scene" else node.batchInputFolder
        self._startBatch(cts, self._folder, self._onStarted, self._onCases, self._onEnded)

    def _onStarted(self):
        self.isRunning = True
        self._ui.batchProgressBar.maximum = 0  # a busy bar until the first progress is told
        self._showCases()
        self._showButtons()

    def _onCases(self, done, total):
        self._ui.batchProgressBar.maximum = total
        self._ui.batchProgressBar.value = done
        self._showCases()

    def _onEnded(self):
        self.isRunning = False
        self._showCases()
        self._showButtons()

    def _showCases(self):
        import qt

        table = self._ui.batchTable
        self._cases = batchCases(self._folder) if self._folder else []
        table.setRowCount(len(self._cases))
        for line, case in enumerate(self._cases):
            for column, text in enumerate((case.name, *_numbers(case), _remarks(case))):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                if column in (1, 2, 3):
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(line, column, item)
        finished = sum(case.study is not None for case in self._cases)
        failed = sum(bool(case.failure) for case in self._cases)
        self._ui.batchLabel.text = _("{finished} of {count} cases finished, {failed} failed").format(
            finished=finished, count=len(self._cases), failed=failed
        )

    def _load(self, row):
        if not 0 <= row < len(self._cases) or self._cases[row].study is None:
            return
        with slicer.util.tryWithErrorDisplay(_("The result could not be loaded."), waitCursor=True):
            self._showResult(loadCase(self._cases[row]))

    def _onOpenFolder(self, checked=False):
        import qt

        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._folder))


def _isFolder(path):
    """Whether there is a folder; no for one that cannot be looked at, as others' while a path is typed."""
    with suppress(OSError):  # which pathlib raises until Python 3.14
        return bool(path) and Path(path).is_dir()
    return False


def _numbers(case):
    """Infection in mL, its share of the lungs, and the score, as the table shows them."""
    if case.study is None:
        return "", "", ""
    total, severity = case.total, case.study.severity
    share = total["infection_percent"]
    return (
        f"{total['infection_ml']:.1f}",
        "" if share is None else f"{share:.1f} %",
        "" if severity is None else str(severity),
    )


def _remarks(case):
    if case.failure:
        return _("Failed: {}").format(withoutOptions(case.failure))
    return " ".join(case.study.warnings) if case.study else _("to be done")
