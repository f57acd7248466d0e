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
        self.result = None
        self.error = None
        self.process = BackendProcess(
            command,
            onProgress=progressCallback,
            onMessage=logCallback,
            onResult=self._onResult,
            onError=lambda error: self._complete(None, error),
        )

    def start(self, prepare, useTimer):
        """``prepare(folder)`` writes what the command reads into the run's private folder and returns the arguments."""
        try:
            arguments = prepare(self.process.folder)
        except Exception:
            self.process.discard()
            raise
        self.process.start([str(argument) for argument in arguments], useTimer)
        if self._needs:
            scene = slicer.mrmlScene
            self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved)
            self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)

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
        self.result, self.error = result, error
        if self._completedCallback:
            self._completedCallback(result, error)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, scene, event, node):
        if node in self._needs:
            self.process.cancel(_("Stopped: “{}” was removed from the scene.").format(node.GetName()))

    def _onSceneStartClose(self, scene, event):
        self.process.cancel(_("Stopped: the scene was closed."))
