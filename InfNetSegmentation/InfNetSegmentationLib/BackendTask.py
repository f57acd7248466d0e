import inspect

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from InfNetSegmentationLib.BackendProcess import BackendError, BackendProcess
from InfNetSegmentationLib.Scene import newNodesRemovedOnError


class BackendTask(VTKObservationMixin):
    """A command of the backend: what it reads is written out, it runs, and what it wrote is taken up.

    finish(payload) - makes the task's result of the backend's; None: that is the result. It may add nodes to the
        scene, which are removed if it fails
    needs - nodes that `finish` needs: the run ends by itself when one of them leaves the scene
    completedCallback(result, error) - called once, with None for one of the two
    """

    def __init__(
        self, command=None, progressCallback=None, logCallback=None, completedCallback=None, finish=None, needs=()
    ):
        super().__init__()
        self._completedCallback = completedCallback
        self._finish = finish
        self._needs = needs
        self._steps = None  # of the preparation under way
        self._timer = None
        self.result = None
        self.error = None
        self.process = BackendProcess(
            command,
            onProgress=progressCallback,
            onMessage=logCallback,
            onResult=self._onResult,
            onError=lambda error: self._complete(None, error),
        )

    @property
    def running(self):
        return self._steps is not None or self.process.running

    def start(self, prepare, useTimer):
        """``prepare(folder)`` writes what the command reads into the run's private folder and returns the arguments.

        It may be a generator: with ``useTimer`` the event loop turns between its steps. An exception of its first step
        is raised here, as that of a function; a later one is the run's error.
        """
        if self._needs:
            scene = slicer.mrmlScene
            self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved)
            self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        try:
            prepared = prepare(self.process.folder)
            self._steps = prepared if inspect.isgenerator(prepared) else _returning(prepared)
            self._step(useTimer)
            while self._steps and not useTimer:
                self._step(useTimer)
        except BaseException:  # Ctrl+C too
            self._endPreparation()
            raise
        if self._steps:
            import qt

            self._timer = qt.QTimer()
            self._timer.timeout.connect(self._onTimer)
            self._timer.start()

    def wait(self):
        """Return when the run has ended. An exception, be it a callback's or Ctrl+C, ends the run too."""
        self.process.wait()

    def cancel(self, reason):
        """Ask the run to stop; it ends soon, by force if need be."""
        if self._steps:
            self._fail(BackendError("cancelled", reason))
        else:
            self.process.cancel(reason)

    def abort(self, reason):
        """End the run before this returns."""
        if self._steps:
            self.cancel(reason)
        else:
            self.process.abort(reason)

    def _onTimer(self):
        if not self._steps:
            return  # ended by what the event loop did meanwhile
        try:
            self._step(useTimer=True)
        except Exception as error:  # whatever it is, its owner must know
            isWriting = self._steps is not None
            self._fail(BackendError("output" if isWriting and isinstance(error, OSError) else "input", str(error)))

    def _step(self, useTimer):
        """Prepare some more; at the end, start the process."""
        try:
            next(self._steps)
        except StopIteration as end:
            self._steps = None
            self._stopTimer()
            self.process.start([str(argument) for argument in end.value], useTimer)

    def _endPreparation(self):
        """Leave no file, no timer and no observer."""
        self._stopTimer()
        if self._steps:
            self._steps.close()
            self._steps = None
        self.process.discard()
        self.removeObservers()

    def _stopTimer(self):
        if self._timer:
            self._timer.stop()
            self._timer.disconnect("timeout()", self._onTimer)  # PythonQt's connections keep their slots alive
            self._timer = None

    def _fail(self, error):
        self._endPreparation()
        self._complete(None, error)

    def _onResult(self, payload):
        if self._finish is None:
            self._complete(payload, None)
            return
        try:
            with newNodesRemovedOnError():
                result = self._finish(payload)
        except Exception as error:  # whatever it is, the run has ended and its owner must know
            reason = f"{type(error).__name__}: {error}"
            self._complete(None, BackendError("import", _("The result could not be imported: {}").format(reason)))
            return
        self._complete(result, None)

    def _complete(self, result, error):
        self.removeObservers()
        self._finish, self._needs = None, ()  # which keep nodes, and with them images, that may have left the scene
        self.result, self.error = result, error
        if self._completedCallback:
            self._completedCallback(result, error)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, scene, event, node):
        if node in self._needs:
            self.cancel(_("Stopped: “{}” was removed from the scene.").format(node.GetName()))

    def _onSceneStartClose(self, scene, event):
        self.cancel(_("Stopped: the scene was closed."))


def _returning(arguments):
    """A preparation without steps."""
    return arguments
    yield
