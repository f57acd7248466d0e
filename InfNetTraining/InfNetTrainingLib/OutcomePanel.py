import qt
import slicer
from slicer.i18n import tr as _

from InfNetTrainingLib.Outcome import readOutcome

_MONTAGE_WIDTH = 380  # pixels


class OutcomePanel:
    """The part of the panel that tells what came of a training, and gives the model away."""

    def __init__(self, ui, logic):
        self._ui = ui
        self._logic = logic
        self._folder = None
        self._montages = []
        ui.installButton.connect("clicked(bool)", self._onInstall)
        ui.exportButton.connect("clicked(bool)", self._onExport)
        ui.openMontageButton.connect("clicked(bool)", self._onOpenMontage)
        ui.montageSelector.connect("currentIndexChanged(int)", self._onMontageChosen)

    def show(self, folder, status):
        """Show the outcome of a run; while it runs, its pseudo-labels."""
        self._folder = folder
        isTrained = status.modelPath is not None and status.modelPath.is_file()
        outcome = readOutcome(folder, status.config) if status.config else None
        montages = outcome.montages if outcome else []
        if montages != self._montages:
            self._montages = montages
            self._ui.montageSelector.clear()
            for path in montages:
                self._ui.montageSelector.addItem(path.parent.name)
            self._ui.montageSelector.currentIndex = len(montages) - 1
        self._ui.outcomeLabel.text = "\n".join(outcome.lines()) if isTrained else _("There is no trained model yet.")
        self._ui.installButton.enabled = self._ui.exportButton.enabled = isTrained
        for widget in (self._ui.montageSelector, self._ui.openMontageButton, self._ui.montageLabel):
            widget.visible = bool(montages)
        self._ui.outcomeSection.visible = isTrained or bool(montages)

    def _onInstall(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The model could not be installed.")):
            try:
                cardPath = self._logic.install(self._folder)
            except FileExistsError as error:
                if not slicer.util.confirmYesNoDisplay(_("{} Replace it?").format(error)):
                    return
                cardPath = self._logic.install(self._folder, replace=True)
            self._ui.outcomeLabel.text += "\n" + _("Installed as “{}”.").format(cardPath.stem)

    def _onExport(self, checked=False):
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Export model"), f"{self._folder.name}.zip", _("Zip files (*.zip)")
        )
        if path:
            with slicer.util.tryWithErrorDisplay(_("The model could not be exported.")):
                self._logic.export(self._folder, path)

    def _onMontageChosen(self, index):
        if not 0 <= index < len(self._montages):
            return
        picture = qt.QPixmap(str(self._montages[index]))
        if not picture.isNull():
            self._ui.montageLabel.setPixmap(picture.scaledToWidth(_MONTAGE_WIDTH, qt.Qt.SmoothTransformation))

    def _onOpenMontage(self, checked=False):
        path = self._montages[self._ui.montageSelector.currentIndex]
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))
