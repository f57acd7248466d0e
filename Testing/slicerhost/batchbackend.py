"""The real command line for many cases, with thresholds in place of lungs and networks, so that no torch is loaded.

A case called "slow" waits until a file called "go" lies beside its CT, or until it is told to stop.
"""

import sys
import time

import numpy as np
import SimpleITK as sitk
from infnet import cli
from infnet.data.volumes import read_ct
from infnet.inference import case as cases
from infnet.quantification.measurements import measure
from infnet.quantification.study import Study, write_study


def segmentByThreshold(case, settings, studies, progress):
    """From 100 HU ground-glass opacity, from 200 HU consolidation; each half of the columns is a lung."""
    ct, warnings = read_ct(case.ct)
    while case.name == "slow" and not case.ct.with_name("go").exists():
        progress("infection", 1, 100)  # raises when it is told to stop
        time.sleep(0.02)
    findings = sitk.Cast(ct >= 100, sitk.sitkUInt8) + sitk.Cast(ct >= 200, sitk.sitkUInt8)
    _z, _y, x = np.indices(ct.GetSize()[::-1])
    lungs = sitk.GetImageFromArray(np.where(x < ct.GetWidth() // 2, 1, 2).astype(np.uint8))
    lungs.CopyInformation(ct)
    measured = measure(ct, findings, lungs, None)
    provenance = {**cases.weights(settings), **measured.sources, "threshold": settings.threshold, "ct": case.ct.name}
    study = Study(
        case.name,
        case.ct,
        measured.rows,
        None,
        measured.sources,
        provenance,
        warnings,
        {"network": time.monotonic()},  # like a duration, other than that of any other run
        inputs=cases.inputs(case, settings),
        folder=studies / case.name,
    )
    infection = sitk.Cast(findings, sitk.sitkFloat32) / 2
    write_study(study, findings, lungs, None, infection, lambda path: sitk.WriteImage(findings, path))


if __name__ == "__main__":
    cases.segment_into_study = segmentByThreshold
    sys.exit(cli.main(sys.argv[1:]))
