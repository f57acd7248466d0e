import slicer
from InfNetSegmentationLib.Dependencies import ensureInstalled
from InfNetSegmentationLib.Remedies import wrappable
from slicer.i18n import tr as _

from InfNetTrainingLib.PanelWords import inPanelWords
from InfNetTrainingLib.RunPanel import bytesText, durationText


class EstimatePanel:
    """The part of the panel that tells, before the start, what a training will take on this computer."""

    def __init__(self, ui, logic, onStateChanged, requirements):
        self._ui = ui
        self._logic = logic
        self._onStateChanged = onStateChanged
        self._requirements = requirements
        self._parameterNode = None
        self._config = None  # that the shown estimate is of
        self.isRunning = False
        self._toolTip = ui.estimateButton.toolTip
        ui.estimateButton.connect("clicked(bool)", self._onEstimate)

    def show(self, parameterNode):
        """Take up the scene's parameters. An estimate of other ones is not shown any longer."""
        self._parameterNode = parameterNode
        if parameterNode is None or parameterNode.config() != self._config:
            self._config = None
            self._ui.estimateLabel.visible = False
        self.showButton(isFree=True)

    def showButton(self, isFree):
        """``isFree``: nothing else is going on."""
        problem = self._parameterNode.config().problem() if self._parameterNode else None
        self._ui.estimateButton.text = _("Cancel the estimate") if self.isRunning else _("Estimate time and disk")
        self._ui.estimateButton.enabled = self.isRunning or (isFree and problem is None)
        self._ui.estimateButton.toolTip = problem or self._toolTip

    def _onEstimate(self, checked=False):
        if self.isRunning:
            self._logic.cancel()
            self._say(_("Stopping…"))
            return
        with slicer.util.tryWithErrorDisplay(_("The estimate could not be started.")):
            ensureInstalled(self._requirements, "Inf-Net Training")
            self._config = self._parameterNode.config()
            self._logic.estimate(
                self._config,
                waitForCompletion=False,
                progressCallback=self._onProgress,
                completedCallback=self._onCompleted,
            )
            self.isRunning = True
            self._say(_("Starting…"))
            self._onStateChanged()

    def _onProgress(self, stage, done, total):
        self._say(_("Timing training steps: {} of at most {}").format(done, total))

    def _onCompleted(self, estimate, error):
        self.isRunning = False
        if error is None:
            self._say("\n".join(estimateLines(estimate)))
        elif error.code != "cancelled":
            self._say(_("No estimate: {}").format(inPanelWords(str(error))))
        if self._config is None or (error and error.code == "cancelled"):  # it is of other parameters, or of none
            self._ui.estimateLabel.visible = False
        self._onStateChanged()

    def _say(self, text):
        self._ui.estimateLabel.visible = True
        self._ui.estimateLabel.text = wrappable(text)


def estimateLines(estimate):
    """What the panel says of the backend's estimate, of `InfNetTrainingLogic.estimate`."""
    told = _("Time: {time} on this computer ({device}), as busy as it is now; judged by {steps} training steps").format(
        time=durationText(estimate["seconds"]), device=estimate["device"], steps=estimate["timed_steps"]
    )
    room = _("Disk: up to {}; {} are free").format(bytesText(estimate["disk_bytes"]), bytesText(estimate["free_bytes"]))
    if estimate["disk_bytes"] > estimate["free_bytes"]:
        room = _("Too little room: {}").format(room)
    lines = [told, room]
    if estimate["gpu_bytes"] is not None:
        lines.append(_("GPU memory: {} in these steps").format(bytesText(estimate["gpu_bytes"])))
    return lines
