"""Work for the tests of cohorts, in a module of its own so that worker processes can import it."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk
from infnet.errors import NoLungError
from infnet.quantification.measurements import measure
from infnet.quantification.study import Study, write_study


@dataclass(frozen=True)
class StubWork:
    """Writes a study of a labelled square; a case called bad has no lung, and deadly kills its process once."""

    folder: Path

    def __call__(self, case):
        with (self.folder / "log").open("a") as log:
            log.write(f"{case.name} {os.getpid()}\n")
        if case.name == "bad":
            raise NoLungError(f"{case.ct}: no lung")
        if case.name == "odd":
            raise KeyError("a bug")
        marker = self.folder / "died"
        if case.name == "deadly" and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        lungs = sitk.Image(4, 4, 4, sitk.sitkUInt8) + 1
        ct = sitk.Cast(lungs, sitk.sitkInt16) - 800
        measured = measure(ct, lungs, lungs, None)
        write_study(
            Study(case.name, case.ct, measured.rows, None, {}, {}, [], {}, folder=self.folder / case.name), lungs, lungs
        )
