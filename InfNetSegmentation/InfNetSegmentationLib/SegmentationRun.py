import re

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from InfNetSegmentationLib.BackendProcess import BackendError, BackendProcess
from InfNetSegmentationLib.Regions import writeRegions
from InfNetSegmentationLib.ResultImport import importResult
from InfNetSegmentationLib.Scene import newNodesRemovedOnError, writeVolume


class SegmentationRun(VTKObservationMixin):
    """One CT on its way through the backend: written out, segmented, brought back into the scene.

    The run ends by itself if the CT leaves the scene. ``finish(result)`` returns what becomes of the backend's result.
    ``completedCallback(result, error)`` is called once, with None for one of the two.
    """

    def __init__(
        self, volumeNode, segmentationNode, regionsNode, finish, command=None, progressCallback=None, logCallback=None,
        completedCallback=None,
    ):  # fmt: skip
        super().__init__()
        self._volumeNode = volumeNode
        self._segmentationNode = segmentationNode
        self._regionsNode = regionsNode
        self._finish = finish
        self._completedCallback = completedCallback
        self.result = None
        self.error = None
        self.process = BackendProcess(
            command,
            onProgress=progressCallback,
            onMessage=logCallback,
            onResult=self._onResult,
            onError=self._complete,
        )

    def start(self, settings, useTimer):
        # The name of the file is the CT's name in messages and in the provenance.
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", self._volumeNode.GetName() or "ct")
        volumePath = self.process.folder / f"{name}.nrrd"
        self._labelImagePath = self.process.folder / f"{name}-findings.nrrd"
        self._studyFolder = self.process.folder / "study"
        try:
            writeVolume(self._volumeNode, volumePath)
            regions = []
            if self._regionsNode is not None:
                regions = writeRegions(self._regionsNode, self._volumeNode, self.process.folder)
        except Exception:
            self.process.discard()
            raise
        arguments = ["segment", volumePath, "-o", self._labelImagePath, "--study", self._studyFolder]
        arguments += [*regions, *settings.arguments()]
        self.process.start([str(argument) for argument in arguments], useTimer)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved)
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)

    def _onResult(self, payload):
        try:
            with newNodesRemovedOnError():
                result = importResult(
                    payload, self._labelImagePath, self._studyFolder, self._volumeNode, self._segmentationNode
                )
                self.result = self._finish(result)
        except Exception as error:  # whatever it is, the run has ended and its owner must know
            reason = f"{type(error).__name__}: {error}"
            self._complete(BackendError("import", _("The result could not be imported: {}").format(reason)))
            return
        self._complete(None)

    def _complete(self, error):
        self.error = error
        self.removeObservers()
        if self._completedCallback:
            self._completedCallback(self.result, error)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, scene, event, node):
        if node is self._volumeNode:
            self.process.cancel(_("Stopped: the CT was removed from the scene."))
        elif node is self._segmentationNode:
            self._segmentationNode = None  # the result goes into a new one

    def _onSceneStartClose(self, scene, event):
        self.process.cancel(_("Stopped: the scene was closed."))
