"""The devices that can be chosen, without importing torch."""

import shutil
import sys

from slicer.i18n import tr as _

_MILLISECONDS = 5000


class DeviceBox:
    """The devices as the choices of a `ChoiceBox`: automatic, graphics cards with their free memory, the processor.

    The cards join when a program of the driver has told them, which takes it seconds at worst; one that does not
    answer is ended, and "automatic" still finds what there is.
    """

    def __init__(self, choiceBox):
        import qt

        self._choiceBox = choiceBox
        # The same one every time, since it must not go while it tells that it has finished; it goes with the panel.
        self._process = qt.QProcess(choiceBox.comboBox)
        self._process.finished.connect(self._onFinished)
        self._timer = qt.QTimer(choiceBox.comboBox)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_MILLISECONDS)
        self._timer.timeout.connect(self._process.kill)
        choiceBox.setChoices(deviceChoices())

    def refresh(self):
        """Look for graphics cards and their free memory; returns at once."""
        import qt

        program = shutil.which("nvidia-smi")
        if program is None or self._process.state() != qt.QProcess.NotRunning:
            return
        self._process.start(program, ["--query-gpu=name,memory.free", "--format=csv,noheader,nounits"])
        self._timer.start()

    def _onFinished(self, *_exit):  # which are one in Qt 5, or two
        self._timer.stop()
        output = self._process.readAllStandardOutput().data().decode(errors="replace")
        self._choiceBox.setChoices(deviceChoices(graphicsCards(output) if self._process.exitCode() == 0 else []))


def deviceChoices(cards=()):
    """(value, title) of each device; ``cards``: the titles of the graphics cards."""
    choices = [("auto", _("Automatic")), *((f"cuda:{index}", title) for index, title in enumerate(cards))]
    if sys.platform == "darwin":
        choices.append(("mps", _("Apple graphics (MPS)")))
    return [*choices, ("cpu", _("Processor (CPU)"))]


def graphicsCards(output):
    """The titles of the cards that the driver's program tells, a line each; none where it tells something else."""
    cards = [line.rsplit(",", 1) for line in output.splitlines() if line.strip()]
    try:
        return [_("{name}, {free:.0f} GB free").format(name=name, free=int(mib) / 1024) for name, mib in cards]
    except ValueError:
        return []
