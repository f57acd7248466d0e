from pathlib import Path

from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from InfNetSegmentationLib.BackendTask import BackendTask
from InfNetSegmentationLib.BatchRun import BatchRun, batchSteps
from InfNetSegmentationLib.Comparison import Comparison
from InfNetSegmentationLib.Measurement import measureAgain
from InfNetSegmentationLib.Models import importModelArguments
from InfNetSegmentationLib.Parameters import Parameters, Settings
from InfNetSegmentationLib.Regions import checkRegions
from InfNetSegmentationLib.Relabelling import relabel
from InfNetSegmentationLib.Scene import checkOutput
from InfNetSegmentationLib.SceneCTs import sceneCTs
from InfNetSegmentationLib.SegmentationResult import storedResult
from InfNetSegmentationLib.SegmentationRun import SegmentationRun
from InfNetSegmentationLib.StudyFolder import seriesSteps, studySteps
from InfNetSegmentationLib.UndoHistory import UndoHistory


class InfNetSegmentationLogic(ScriptedLoadableModuleLogic):
    """Segmentation of COVID-19 lung infection, from Python as from the panel:

    from InfNetSegmentation import InfNetSegmentationLogic

    logic = InfNetSegmentationLogic()
    volumeNode = slicer.util.loadVolume("ct.nrrd")
    result = logic.process(volumeNode)
    slicer.util.saveNode(result.segmentationNode, "ct.seg.nrrd")
    for row in result.table:
        print(row["region"], row["ggo_ml"], row["consolidation_ml"])
    result = logic.relabel(result, threshold=0.4)
    logic.saveReport(result, "ct.html")
    """

    def __init__(self, command=None):
        """``command`` - how the backend is started; None: with Slicer's Python."""
        super().__init__()
        self._command = command
        self._run = None
        self._history = UndoHistory()

    @property
    def running(self):
        return self._run is not None and self._run.running

    def getParameterNode(self):
        return Parameters(super().getParameterNode())

    def process(
        self,
        volumeNode,
        segmentationNode=None,
        regionsNode=None,
        settings=None,
        roiNode=None,
        waitForCompletion=True,
        progressCallback=None,
        logCallback=None,
        completedCallback=None,
        **values,
    ):
        """Segment ground-glass opacity and consolidation on a chest CT, and measure them.

        volumeNode - vtkMRMLScalarVolumeNode, in Hounsfield units
        segmentationNode - receives the segments "Ground-glass opacity" and "Consolidation", and the CT's transform;
            None makes a new one
        regionsNode - segmentation with lungs or lobes, known by terminology or name; None computes them
        settings - `Settings`; or give its fields by name (threshold=0.4, device="cpu", lobeSource="atlas", …)
        roiNode - vtkMRMLMarkupsROINode: only the box around it, along the CT's axes, is read; None: the whole CT
        waitForCompletion - return the result when it is there; else return at once and leave the rest to the
            callbacks, which the Qt event loop calls
        progressCallback(stage, done, total), logCallback(text) - called during the run
        completedCallback(result, error) - called at the end, with None for one of the two

        Returns a SegmentationResult, or None if it did not wait. Raises ValueError for input that cannot be used,
        RuntimeError if a run is under way, and BackendError, which tells the cause, if the backend gave no result.
        """
        settings = settings or Settings(**values)
        if volumeNode not in sceneCTs():
            raise ValueError(_("Choose a CT volume that has voxels."))
        if segmentationNode is not None:
            checkOutput(segmentationNode, volumeNode)
        if regionsNode is not None:
            checkRegions(regionsNode, volumeNode)
        run = SegmentationRun(volumeNode, segmentationNode, regionsNode, roiNode, settings)

        def finish(payload):
            previous = self.result(segmentationNode)
            isKept = previous is not None and previous.volumeNode is volumeNode
            if isKept:
                self._history.keep(previous, beforeRun=True)
            else:
                self._history.forget(segmentationNode)
            try:
                return run.finish(payload)
            except Exception:
                if isKept:
                    self._history.undo(previous)
                raise

        callbacks = {
            "progressCallback": progressCallback,
            "logCallback": logCallback,
            "completedCallback": completedCallback,
        }
        return self._runTask(run.prepare, waitForCompletion, callbacks, finish, needs=(volumeNode,))

    def processBatch(self, cts, folder, settings=None, waitForCompletion=True, **callbacks):
        """Segment many CTs, each into a study of its own below ``folder``, which also receives tables of all.

        cts - path of a folder of CTs or of a list (docs/cohorts.md), or a list of volume nodes
        settings, waitForCompletion, callbacks - as in `process`. The stage "cases"
            tells how many cases are done.

        Returns a `BatchCase` for each, or None if it did not wait. Run again, it goes on: what holds is kept. The
        scene is not changed. Raises InputError (of infnet) where there are no cases, and errors as `process` does.
        """

        def prepare(_temporaryFolder):
            return batchSteps(cts, folder, settings or Settings())

        return self._runTask(prepare, waitForCompletion, callbacks, task=BatchRun, folder=folder)

    def result(self, segmentationNode):
        """The SegmentationResult that a segmentation of the scene is part of, or None."""
        return storedResult(segmentationNode)

    def relabel(self, result, threshold, minimumLesionMl=0.0):
        """Label a result by another threshold, from 0.05 on, without the network, and measure it.

        Returns the new result, whose findings are those of a run with that threshold; corrections by hand stay.
        `undo` takes it back. Raises ValueError where the result's probability, findings or lungs were deleted.
        """
        return relabel(result, threshold, minimumLesionMl, self._history)

    def canUndo(self, segmentationNode):
        """Whether there is a `relabel` or a run that `undo` can take back."""
        return self._history.canUndo(segmentationNode)

    def undo(self, result):
        """The result as it was before the last `relabel`, or before the last run for this CT and segmentation."""
        return self._history.undo(result)

    def forgetHistory(self):
        """Nothing can be undone any more, and no image is kept, be it of the last run: the scene is closed."""
        self._history = UndoHistory()
        if not self.running:
            self._run = None

    def measure(self, result):
        """Measure the segments as they are now, after corrections in Segment Editor. Returns the new result."""
        return measureAgain(result)

    def compare(self, earlier, later, waitForCompletion=True, **callbacks):
        """Compare two results of one patient: numbers, and where disease is new, resolved or persistent.

        Where both CTs come from DICOM, their dates tell which is the older one. Returns a StudyChange, or None if it
        did not wait; map, table and chart are kept with the segmentation of ``later``. ``callbacks`` and errors as in
        `process`.
        """
        comparison = Comparison(earlier, later)
        nodes = [node for result in (earlier, later) for node in (result.volumeNode, result.segmentationNode)]
        return self._runTask(comparison.prepare, waitForCompletion, callbacks, comparison.finish, needs=nodes)

    def saveReport(self, result, path, waitForCompletion=True, **callbacks):
        """Write a report: ``path`` ends in .html or .pdf. ``callbacks`` and errors as in `process`."""

        def prepare(folder):
            studyFolder, ctPath = yield from studySteps(result, folder)
            return ["report", studyFolder, "-o", path, "--ct", ctPath]

        return self._runTask(prepare, waitForCompletion, callbacks)

    def exportDicom(self, result, folder, waitForCompletion=True, **callbacks):
        """Write DICOM segmentations and a measurement report into ``folder``. The CT must come from DICOM.

        ``callbacks`` and errors as in `process`.
        """

        def prepare(temporaryFolder):
            seriesFolder = yield from seriesSteps(result.volumeNode, temporaryFolder / "series")
            studyFolder, _ctPath = yield from studySteps(result, temporaryFolder, withProbability=True)
            return ["dicom", studyFolder, "--series", seriesFolder, "-o", folder]

        return self._runTask(prepare, waitForCompletion, callbacks)

    def importCheckpoint(self, path, waitForCompletion=True, **callbacks):
        """Make a model of a checkpoint of the original code; it is then listed by `modelChoices`.

        Returns what the backend tells (a dict; "output" is the card's path), or None if it did not wait.
        ``callbacks`` and errors as in `process`.
        """
        return self._runTask(lambda folder: importModelArguments(Path(path)), waitForCompletion, callbacks)

    def cancel(self):
        """Stop the run under way; it ends soon, by force if need be."""
        if self.running:
            self._run.cancel(_("Cancelled."))

    def abort(self):
        """End the run under way before this returns."""
        if self.running:
            self._run.abort(_("Cancelled."))

    def _runTask(self, prepare, waitForCompletion, callbacks, finish=None, task=BackendTask, **options):
        if self.running:
            raise RuntimeError(_("A run is under way already."))
        self._run = task(self._command, finish=finish, **options, **callbacks)
        self._run.start(prepare, useTimer=not waitForCompletion)
        if not waitForCompletion:
            return None
        self._run.wait()
        if self._run.error:
            raise self._run.error
        return self._run.result
