from InfNetSegmentationLib.BackendProcess import BackendProcess


class BackendTask:
    """A command of the backend whose result is files: a report, a DICOM export, an imported model.

    ``prepare(folder)`` writes what the command reads into the run's private folder and returns the arguments.
    ``completedCallback(result, error)`` is called once, with None for one of the two.
    """

    def __init__(self, command=None, progressCallback=None, logCallback=None, completedCallback=None):
        self._completedCallback = completedCallback
        self.result = None
        self.error = None
        self.process = BackendProcess(
            command,
            onProgress=progressCallback,
            onMessage=logCallback,
            onResult=lambda payload: self._complete(payload, None),
            onError=lambda error: self._complete(None, error),
        )

    def start(self, prepare, useTimer):
        try:
            arguments = prepare(self.process.folder)
        except Exception:
            self.process.discard()
            raise
        self.process.start([str(argument) for argument in arguments], useTimer)

    def _complete(self, result, error):
        self.result, self.error = result, error
        if self._completedCallback:
            self._completedCallback(result, error)
