"""The devices that can be chosen, without importing torch."""

import shutil
import subprocess
import sys

from slicer.i18n import tr as _

_SECONDS = 5


def deviceChoices(withGraphicsCards=True):
    """(value, title) of each device: automatic, each graphics card with its free memory, the processor.

    To ask for the cards takes a program of the driver some time: a second, if it fares badly.
    """
    choices = [("auto", _("Automatic"))]
    if withGraphicsCards:
        choices += [(f"cuda:{index}", title) for index, title in enumerate(_graphicsCards())]
    if sys.platform == "darwin":
        choices.append(("mps", _("Apple graphics (MPS)")))
    return [*choices, ("cpu", _("Processor (CPU)"))]


def _graphicsCards():
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = ["--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    try:
        finished = subprocess.run(
            [program, *query],
            capture_output=True,
            encoding="utf-8",
            timeout=_SECONDS,
            check=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        cards = [line.rsplit(",", 1) for line in finished.stdout.splitlines() if line.strip()]
        return [_("{name}, {free:.0f} GB free").format(name=name, free=int(mib) / 1024) for name, mib in cards]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []  # a driver that does not answer; "auto" still finds what there is
