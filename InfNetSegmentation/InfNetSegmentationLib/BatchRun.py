from pathlib import Path

from slicer.i18n import tr as _

from InfNetSegmentationLib.BackendProcess import BackendError
from InfNetSegmentationLib.BackendTask import BackendTask
from InfNetSegmentationLib.BatchCases import caseListSteps
from InfNetSegmentationLib.BatchResults import batchCases, forgetFailures, writeSummary


def batchSteps(cts, folder, settings):
    """Write the list of cases (``cts`` as in `caseListSteps`): a generator that returns the backend's arguments."""
    caseList = yield from caseListSteps(cts, folder)
    forgetFailures(folder)
    return ["segment", "--cases", caseList, "-o", folder, *settings.arguments()]


class BatchRun(BackendTask):
    """Many CTs, one after the other, each into a study of its own below ``folder``; its result is the `BatchCase`s.

    A CT that cannot be segmented does not end the run, nor is it the run's error: its `BatchCase` tells.
    """

    def __init__(self, command=None, folder=None, **options):
        super().__init__(command, **options)
        self._folder = Path(folder)

    def _complete(self, result, error):
        cases = batchCases(self._folder)
        if error and error.code != "cancelled" and any(case.failure for case in cases):
            error = None
        try:
            writeSummary(cases, self._folder)
        except OSError as problem:
            error = error or BackendError("output", _("The summary could not be written: {}").format(problem))
        super()._complete(None if error else cases, error)
