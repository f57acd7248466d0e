"""A fake backend for tests: a real process that speaks the JSON protocol and follows a scenario, with no network.

    python fakebackend.py SCENARIO (segment CT | train DATA) -o OUT … --progress json --stop-file F

"success" calls voxels from 100 HU ground-glass opacity and from 200 HU consolidation.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import SimpleITK as sitk


def send(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def succeed(options):
    send("message", text="Warning: thick slices")
    print("a line that is not JSON", flush=True)
    for done in range(3):
        send("progress", stage="infection", done=done + 1, total=3)
    if options.command == "train":
        Path(options.output).mkdir(parents=True)
        send("result", output=options.output)
        return
    ct = sitk.ReadImage(options.input)
    labels = sitk.Cast(ct >= 100, sitk.sitkUInt8) + sitk.Cast(ct >= 200, sitk.sitkUInt8)
    if options.scenario != "no-label-image":
        sitk.WriteImage(labels, options.output)
    row = {"volume_ml": 2000.0, "ggo_ml": 150.0, "consolidation_ml": 50.0, "infection_ml": 200.0}
    row |= {"ggo_percent": 7.5, "consolidation_percent": 2.5, "infection_percent": 10.0}
    send(
        "result",
        output=options.output,
        table=[{"region": region, **row} for region in ("right lung", "left lung", "total")],
        provenance={
            "model": "fake",
            "ct": Path(options.input).name,
            "threshold": options.threshold,
            "note": "a | b: c ^ d ~ e \\ „ü“",
        },
        warnings=["thick slices"],
        seconds={"network": 0.0},
    )


def fail(options):
    send("error", code="no-lung", message="No lung was found in ct.nrrd.")
    sys.exit(4)


def crash(options):
    print("RuntimeError: something broke deep inside", file=sys.stderr, flush=True)
    os.abort()


def beKilled(options):
    """As the system does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def missPackage(options):
    import no_such_package  # noqa: F401


def endWithoutResult(options):
    send("message", text="all is well")


def stopWhenAsked(options):
    send("progress", stage="infection", done=1, total=100)
    while not options.stop_file.exists():
        time.sleep(0.02)
    send("error", code="cancelled", message="Stopped as requested; nothing was written.")
    sys.exit(130)


def ignoreStop(options):
    """Neither this process nor the one it starts looks at the stop file."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    send("message", text=f"processes {os.getpid()} {child.pid}")
    time.sleep(600)


SCENARIOS = {
    "success": succeed,
    "no-label-image": succeed,
    "error": fail,
    "crash": crash,
    "killed": beKilled,
    "missing-package": missPackage,
    "no-result": endWithoutResult,
    "stop": stopWhenAsked,
    "ignore-stop": ignoreStop,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("command", choices=["segment", "train"])
    parser.add_argument("input")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--device")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--progress", choices=["json"], required=True)
    parser.add_argument("--stop-file", type=Path, required=True)
    arguments = parser.parse_args()
    SCENARIOS[arguments.scenario](arguments)
