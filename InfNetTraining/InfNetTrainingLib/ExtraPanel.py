import qt
import slicer
from slicer.i18n import tr as _


class ExtraPanel:
    """The part of the panel with the folders of extra slices."""

    def __init__(self, ui):
        self._ui = ui
        self._parameterNode = None
        ui.extraList.maximumHeight = 60
        ui.addExtraButton.connect("clicked(bool)", self._onAdd)
        ui.removeExtraButton.connect("clicked(bool)", self._onRemove)

    def show(self, parameterNode):
        """Take up the scene's parameters; None while the scene is closed."""
        self._parameterNode = parameterNode
        folders = parameterNode.config().extraFolders if parameterNode else ()
        self._ui.removeExtraButton.enabled = bool(folders)
        if folders != self._shown():
            self._ui.extraList.clear()
            for folder in folders:
                self._ui.extraList.addItem(folder)

    def _shown(self):
        return tuple(self._ui.extraList.item(row).text() for row in range(self._ui.extraList.count))

    def _onAdd(self, checked=False):
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of extra slices"))
        if folder and folder not in self._shown():
            self._set((*self._shown(), folder))

    def _onRemove(self, checked=False):
        row = self._ui.extraList.currentRow
        self._set(folder for number, folder in enumerate(self._shown()) if number != row)

    def _set(self, folders):
        self._parameterNode.extraFolders = "".join(f"{folder}\n" for folder in folders)
