import qt
import slicer
from InfNetSegmentationLib.Remedies import wrappable
from slicer.i18n import tr as _

from InfNetTrainingLib.Outcome import readOutcome


class OutcomePanel:
    """The part of the panel that tells what came of a training, and gives the model away."""

    def __init__(self, ui, logic, onInstalled):
        self._ui = ui
        self._logic = logic
        self._onInstalled = onInstalled
        self._lines = []
        self._folder = None
        ui.outcomeTable.verticalHeader().hide()
        ui.installButton.connect("clicked(bool)", self._onInstall)
        ui.exportButton.connect("clicked(bool)", self._onExport)

    def show(self, folder, status):
        """Show the outcome of a run, if it has one."""
        self._folder = folder
        isTrained = status.modelPath is not None and status.modelPath.is_file()
        self._ui.outcomeSection.visible = isTrained
        if isTrained:
            outcome = readOutcome(folder, status.config)
            self._lines = outcome.lines()
            self._ui.outcomeLabel.text = wrappable("\n".join(self._lines))
            self._fillTable(*outcome.table())

    def _fillTable(self, headings, rows):
        table = self._ui.outcomeTable
        table.visible = bool(rows)
        table.columnCount, table.rowCount = len(headings), len(rows)
        table.setHorizontalHeaderLabels(headings)
        for row, values in enumerate(rows):
            for column, value in enumerate(values):
                table.setItem(row, column, qt.QTableWidgetItem(value))

    def _onInstall(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The model could not be installed.")):
            try:
                cardPath = self._logic.install(self._folder)
            except FileExistsError as error:
                if not slicer.util.confirmYesNoDisplay(_("{} Replace it?").format(error)):
                    return
                cardPath = self._logic.install(self._folder, replace=True)
            installed = _("Installed as “{}”: choose it as model in Inf-Net Segmentation.").format(cardPath.stem)
            self._ui.outcomeLabel.text = wrappable("\n".join([*self._lines, installed]))
            self._onInstalled()

    def _onExport(self, checked=False):
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Export model"), f"{self._folder.name}.zip", _("Zip files (*.zip)")
        )
        if path:
            with slicer.util.tryWithErrorDisplay(_("The model could not be exported.")):
                self._logic.export(self._folder, path)
                self._ui.outcomeLabel.text = wrappable("\n".join([*self._lines, _("Exported to {}.").format(path)]))
