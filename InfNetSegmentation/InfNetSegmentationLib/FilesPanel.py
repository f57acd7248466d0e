import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.ResultTable import asText
from InfNetSegmentationLib.SegmentationResult import fillTableAndChart
from InfNetSegmentationLib.StudyFolder import whyNoSeries, whyNoStudy


class FilesPanel:
    """The part of the results that gives them away: table, report, DICOM files.

    measured() - the result that is shown, with the numbers of its segments as they are
    saveReport(result, path), exportDicom(result, folder) - start these runs of the backend
    """

    def __init__(self, ui, measured, saveReport, exportDicom):
        self._ui = ui
        self._measured = measured
        self._saveReport = saveReport
        self._exportDicom = exportDicom
        self._result = None
        self._running = False
        self._toolTips = {
            button: button.toolTip for button in (ui.saveHtmlButton, ui.savePdfButton, ui.exportDicomButton)
        }
        for button, slot in (
            (ui.copyTableButton, self._onCopyTable),
            (ui.saveTableButton, self._onSaveTable),
            (ui.saveHtmlButton, lambda checked=False: self._onSaveReport(".html", _("Web page (*.html)"))),
            (ui.savePdfButton, lambda checked=False: self._onSaveReport(".pdf", _("PDF (*.pdf)"))),
            (ui.exportDicomButton, self._onExportDicom),
        ):
            button.connect("clicked(bool)", slot)

    def show(self, result):
        """Take up a result, or nothing for None."""
        self._result = result
        self._showButtons()

    def showRunning(self, running):
        """A run has begun or ended: there is one at a time."""
        self._running = running
        self._showButtons()

    def _showButtons(self):
        """A button that cannot be pressed says why."""
        if self._result is None:
            return
        problem = _("Wait until the run has ended") if self._running else whyNoStudy(self._result)
        for button, toolTip in self._toolTips.items():
            isDicom = button is self._ui.exportDicomButton
            missing = problem or (whyNoSeries(self._result.volumeNode) if isDicom else None)
            button.enabled = missing is None
            button.toolTip = missing or toolTip

    def _onCopyTable(self, checked=False):
        import qt

        result = self._measured()
        qt.QApplication.clipboard().setText(asText(result.table, result.volumeNode.GetName()))

    def _onSaveTable(self, checked=False):
        path = self._askForPath(_("Save table"), ".csv", _("Table (*.csv)"))
        if path and not slicer.util.saveNode(fillTableAndChart(self._measured()).tableNode, path):
            slicer.util.errorDisplay(_("{} could not be written.").format(path))

    def _onSaveReport(self, ending, fileType):
        path = self._askForPath(_("Save report"), ending, fileType)
        if path:
            self._saveReport(self._result, path)

    def _onExportDicom(self, checked=False):
        import qt

        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder for the DICOM files"))
        if folder:
            self._exportDicom(self._result, folder)

    def _askForPath(self, title, ending, fileType):
        """The path that the user chooses, with this ending; "" if none."""
        import qt

        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in self._result.volumeNode.GetName())
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, name + ending, fileType)
        return path if not path or path.lower().endswith(ending) else path + ending
