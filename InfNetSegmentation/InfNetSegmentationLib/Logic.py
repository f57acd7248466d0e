from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from InfNetSegmentationLib.Parameters import Parameters
from InfNetSegmentationLib.Scene import checkOutput
from InfNetSegmentationLib.SegmentationRun import SegmentationRun


class InfNetSegmentationLogic(ScriptedLoadableModuleLogic):
    """Segmentation of COVID-19 lung infection, from Python as from the panel:

    from InfNetSegmentation import InfNetSegmentationLogic

    volumeNode = slicer.util.loadVolume("ct.nrrd")
    result = InfNetSegmentationLogic().process(volumeNode)
    slicer.util.saveNode(result.segmentationNode, "ct.seg.nrrd")
    for row in result.table:
        print(row["region"], row["ggo_ml"], row["consolidation_ml"])
    """

    def __init__(self, command=None):
        """``command`` - how the backend is started; None: with Slicer's Python."""
        super().__init__()
        self._command = command
        self._run = None

    @property
    def running(self):
        return self._run is not None and self._run.process.running

    def getParameterNode(self):
        return Parameters(super().getParameterNode())

    def process(
        self,
        volumeNode,
        segmentationNode=None,
        threshold=0.5,
        device="auto",
        waitForCompletion=True,
        progressCallback=None,
        logCallback=None,
        completedCallback=None,
    ):
        """Segment ground-glass opacity and consolidation on a chest CT.

        volumeNode - vtkMRMLScalarVolumeNode, in Hounsfield units
        segmentationNode - receives the segments "Ground-glass opacity" and "Consolidation", and the CT's transform;
            None makes a new one
        threshold - probability from which a voxel counts as infected, 0 to 1
        device - "auto", "cpu", "cuda", "cuda:N" or "mps"
        waitForCompletion - return the result when it is there; else return at once and leave the rest to the
            callbacks, which the Qt event loop calls
        progressCallback(stage, done, total), logCallback(text) - called during the run
        completedCallback(result, error) - called at the end, with None for one of the two

        Returns a SegmentationResult, or None if it did not wait. Raises ValueError for input that cannot be used,
        RuntimeError if a run is under way, and BackendError, which tells the cause, if the backend gave no result.
        """
        if volumeNode is None or volumeNode.GetImageData() is None:
            raise ValueError(_("Choose a CT volume that has voxels."))
        if segmentationNode is not None:
            checkOutput(segmentationNode, volumeNode)
        if self.running:
            raise RuntimeError(_("A segmentation is under way already."))
        self._run = SegmentationRun(
            volumeNode, segmentationNode, self._command, progressCallback, logCallback, completedCallback
        )
        self._run.start(threshold, device, useTimer=not waitForCompletion)
        if not waitForCompletion:
            return None
        self._run.process.wait()
        if self._run.error:
            raise self._run.error
        return self._run.result

    def cancel(self):
        """Stop the run under way; it ends soon, by force if need be."""
        if self.running:
            self._run.process.cancel(_("Cancelled."))

    def abort(self):
        """End the run under way before this returns."""
        if self.running:
            self._run.process.abort(_("Cancelled."))
