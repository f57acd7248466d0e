import ctk
import slicer
from InfNetSegmentationLib.Dependencies import ensureInstalled
from InfNetSegmentationLib.RunWidget import RunWidget
from slicer.i18n import tr as _

from InfNetTrainingLib.TrainingLogic import InfNetTrainingLogic
from InfNetTrainingLib.TrainingParameters import unusedFolder


class InfNetTrainingWidget(RunWidget):
    """The panel: folders, number of epochs, Start that becomes Stop, progress, log."""

    logicClass = InfNetTrainingLogic

    def setup(self):
        super().setup()
        for line in (self.ui.dataFolderLine, self.ui.outputFolderLine):
            line.filters = ctk.ctkPathLineEdit.Dirs

    def stopText(self):
        return _("Stop")

    def whatIsMissing(self):
        if (self._parameterNode.dataFolder / "Imgs").is_dir():
            return None
        return _("Choose a data folder that holds a folder “Imgs” first")

    def start(self):
        ensureInstalled(self.resourcePath("InfNetTrainingRequirements.txt"), "Inf-Net Training")
        self.logic.train(
            self._parameterNode.dataFolder,
            self._parameterNode.outputFolder,
            self._parameterNode.epochs,
            waitForCompletion=False,
            progressCallback=self._onProgress,
            logCallback=self._onLog,
            completedCallback=self._onCompleted,
        )

    def _onCompleted(self, result, error):
        self._showRunning(False)
        if result:
            self._onLog(_("The training has ended; its results are in {}").format(result["output"]))
            if self._parameterNode:
                self._parameterNode.outputFolder = unusedFolder(self._parameterNode.outputFolder)
            return
        self._onLog(str(error))
        if error.code != "cancelled":
            slicer.util.errorDisplay(_("The training failed.\n\n{}").format(error))
