from InfNetSegmentationLib.BackendProcess import BackendProcess
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from InfNetTrainingLib.TrainingParameters import TrainingParameters, unusedFolder


class InfNetTrainingLogic(ScriptedLoadableModuleLogic):
    """Training of Inf-Net on labelled slices, from Python as from the panel:

    from InfNetTraining import InfNetTrainingLogic

    InfNetTrainingLogic().train("COVID-SemiSeg", "run1", epochs=50)
    """

    def __init__(self, command=None):
        """``command`` - how the backend is started; None: with Slicer's Python."""
        super().__init__()
        self._command = command
        self._process = None
        self._error = None
        self._result = None

    @property
    def running(self):
        return self._process is not None and self._process.running

    def getParameterNode(self):
        node = super().getParameterNode()
        isNew = not node.HasParameter("outputFolder")
        parameters = TrainingParameters(node)
        if isNew:
            parameters.outputFolder = unusedFolder(parameters.outputFolder)
        return parameters

    def train(
        self,
        dataFolder,
        outputFolder,
        epochs=50,
        waitForCompletion=True,
        progressCallback=None,
        logCallback=None,
        completedCallback=None,
    ):
        """Train on a folder of slices in the layout of COVID-SemiSeg (Imgs, GT).

        waitForCompletion - return the result when it is there; else return at once and leave the rest to the
            callbacks, which the Qt event loop calls
        progressCallback(stage, done, total), logCallback(text) - called during the run
        completedCallback(result, error) - called at the end, with None for one of the two

        Returns what the backend reports (a dict), or None if it did not wait. Raises RuntimeError if a run is
        under way, and BackendError, which tells the cause, if the backend gave no result.
        """
        if self.running:
            raise RuntimeError(_("A training is under way already."))
        self._result = self._error = None

        def complete(result, error):
            self._result, self._error = result, error
            if completedCallback:
                completedCallback(result, error)

        self._process = BackendProcess(
            self._command,
            onProgress=progressCallback,
            onMessage=logCallback,
            onResult=lambda payload: complete(payload, None),
            onError=lambda error: complete(None, error),
        )
        arguments = ["train", str(dataFolder), "-o", str(outputFolder), "--epochs", str(epochs)]
        self._process.start(arguments, useTimer=not waitForCompletion)
        if not waitForCompletion:
            return None
        self._process.wait()
        if self._error:
            raise self._error
        return self._result

    def cancel(self):
        """Stop the run under way; it ends soon, by force if need be."""
        if self.running:
            self._process.cancel(_("Stopped."))

    def abort(self):
        """End the run under way before this returns."""
        if self.running:
            self._process.abort(_("Stopped."))
