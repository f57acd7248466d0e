from InfNetSegmentationLib.BackendTask import BackendTask
from InfNetSegmentationLib.ModelFile import exportModel, installModel
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from InfNetTrainingLib.DataCheck import checkData
from InfNetTrainingLib.Outcome import readOutcome
from InfNetTrainingLib.RunFolder import runScript, startRun, stopRun
from InfNetTrainingLib.RunState import RunReader
from InfNetTrainingLib.SceneCases import caseSteps
from InfNetTrainingLib.Schedule import Schedule
from InfNetTrainingLib.SshScript import writeSshRun
from InfNetTrainingLib.TrainingConfig import SEMI_SUPERVISED, SUPERVISED, TrainingConfig
from InfNetTrainingLib.TrainingParameters import TrainingParameters


class InfNetTrainingLogic(ScriptedLoadableModuleLogic):
    """Training of Inf-Net, from Python as from the panel:

    from InfNetTraining import InfNetTrainingLogic, TrainingConfig

    logic = InfNetTrainingLogic()
    print(logic.check("labelled", "unlabelled").summary())
    config = TrainingConfig.withPreset(
        "small machine", "labelled", "run1", kind="semi-supervised", unlabelledFolder="unlabelled", holdOut=True
    )
    logic.start(config)          # a process of its own: Slicer may be closed
    print(logic.status("run1"))  # any time later, in any Slicer
    logic.stop("run1")
    logic.resume("run1")
    print(logic.outcome("run1").lines())
    logic.install("run1")        # the model is then listed in InfNetSegmentation
    """

    def __init__(self, command=None):
        """``command`` - how the backend is started; None: with Slicer's Python."""
        super().__init__()
        self._command = command
        self._task = None

    @property
    def preparing(self):
        """Whether slices are being made of CTs, or time is estimated; this, unlike a training, ends with the panel."""
        return self._task is not None and self._task.running

    def getParameterNode(self):
        return TrainingParameters(super().getParameterNode())

    def check(self, labelledFolder, unlabelledFolder="", **choices):
        """Look at every slice and mask before anything is trained. Returns a `DataReport`.

        ``choices``: other fields of the `TrainingConfig` that shall train on them, as holdOut.
        """
        kind = SEMI_SUPERVISED if unlabelledFolder else SUPERVISED
        values = {"kind": kind, "unlabelledFolder": str(unlabelledFolder), **choices}
        return checkData(TrainingConfig(str(labelledFolder), "", **values))

    def estimate(self, config, waitForCompletion=True, **callbacks):
        """What a training will take on this computer, judged by a few of its steps, which take a minute or so.

        Returns a dict: seconds, disk_bytes, free_bytes, gpu_bytes (or None), device, timed_steps. The rest as in
        `prepareCases`; raises ValueError for what cannot be trained.
        """
        problem = config.problem()
        if problem:
            raise ValueError(problem + ".")
        arguments = [*config.trainingArguments(), "--estimate"]

        def finish(payload):
            # An extra training for the held-out slices, of the same recipe, takes as long a slice.
            schedule = Schedule.of(config)
            others = schedule.slicesOf("fold 1") / (schedule.slices - schedule.slicesOf("fold 1"))
            return {**payload, "seconds": payload["seconds"] * (1 + others)}

        return self._run(lambda folder: arguments, waitForCompletion, {**callbacks, "finish": finish})

    def prepareCases(self, cases, outputFolder, waitForCompletion=True, **callbacks):
        """Make slices of cases of the scene, (CT volume node, segmentation node) each, in a new folder.

        They are labelled ones, or unlabelled ones where every segmentation node is None.

        waitForCompletion - return the result when it is there; else return at once and leave the rest to the
            callbacks, which the Qt event loop calls: progressCallback(stage, done, total), logCallback(text),
            completedCallback(result, error)

        Returns what the backend reports (a dict), or None if it did not wait. Raises ValueError for cases that cannot
        be used, RuntimeError where slices are being made already, and BackendError if the backend gave no result.
        """

        def arguments(folder):
            ctFolder, labelsFolder = yield from caseSteps(cases, folder)
            labels = ["--labels", labelsFolder] if labelsFolder else []
            return ["prepare", ctFolder, *labels, "-o", outputFolder]

        return self._run(arguments, waitForCompletion, callbacks)

    def prepareFolder(self, ctFolder, outputFolder, labelsFolder=None, waitForCompletion=True, **callbacks):
        """Make slices of a folder of CTs (files, or folders of DICOM slices), labelled ones with ``labelsFolder``.

        The rest as in `prepareCases`.
        """
        labels = ["--labels", labelsFolder] if labelsFolder else []
        arguments = ["prepare", ctFolder, *labels, "-o", outputFolder]
        return self._run(lambda folder: arguments, waitForCompletion, callbacks)

    def start(self, config):
        """Start a training and return at once. It goes on when Slicer is closed; see `status`.

        Raises ValueError for what cannot be trained or the folder of something else, RuntimeError if it is running.
        """
        startRun(config, self._command)

    def startRemote(self, config, host, python="python3"):
        """Start a training on another machine, reached by SSH, and return at once; `writeSshRun` says the rest.

        Raises ValueError for what cannot be trained there, or a folder that holds something.
        """
        runScript(writeSshRun(config, host, python).parent)

    def resume(self, folder):
        """Go on with a training that was stopped, failed or killed, from its last checkpoint; errors as `start`."""
        config = RunReader(folder).read().config
        if config is None:
            raise ValueError(_("{} holds no training.").format(folder))
        startRun(config, self._command)

    def status(self, folder):
        """The `TrainingStatus` of a run's folder, started by this Slicer or another one."""
        return RunReader(folder).read()

    def stop(self, folder, byForce=False):
        """Ask a training to stop; it can be resumed. ``byForce`` ends it at once."""
        stopRun(folder, byForce)

    def outcome(self, folder):
        """What a run is worth on the slices that it held out. Returns an `Outcome`."""
        return readOutcome(folder, self._finished(folder).config)

    def install(self, folder, replace=False):
        """Copy a run's model to where InfNetSegmentation lists it, by `installModel`. Returns the card's path there."""
        return installModel(self._finished(folder).modelPath, replace)

    def export(self, folder, zipPath):
        """Write a run's model into a file that another Slicer imports (`installModel`). Returns its path."""
        return exportModel(self._finished(folder).modelPath, zipPath)

    def cancel(self):
        """Ask the making of slices or the estimate to stop."""
        if self.preparing:
            self._task.cancel(_("Cancelled."))

    def abort(self):
        """End the making of slices or the estimate before this returns. A training is left running."""
        if self.preparing:
            self._task.abort(_("Stopped."))

    def _finished(self, folder):
        status = self.status(folder)
        if status.modelPath is None or not status.modelPath.is_file():
            raise ValueError(_("{} holds no trained model yet.").format(folder))
        return status

    def _run(self, arguments, waitForCompletion, callbacks):
        if self.preparing:
            raise RuntimeError(_("Slices are being made, or time is estimated; wait until that is done."))
        self._task = BackendTask(self._command, **callbacks)
        self._task.start(arguments, useTimer=not waitForCompletion)
        if not waitForCompletion:
            return None
        self._task.wait()
        if self._task.error:
            raise self._task.error
        return self._task.result
