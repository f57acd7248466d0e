"""A CT of many thin slices, made from another one, and what segmenting it takes.

    python Testing/infnet/large_ct.py CT SLICES OUT.nrrd           # makes it
    python Testing/infnet/large_ct.py CT SLICES OUT.nrrd STUDY     # and runs infnet segment OUT.nrrd --study STUDY

The second tells the seconds of every stage and, as Linux does, the most memory that the process had up to then.
"""

import json
import subprocess
import sys
from pathlib import Path

import SimpleITK as sitk


def make(source, slices, path):
    ct = sitk.ReadImage(source)
    width, height, depth = ct.GetSize()
    spacing = (*ct.GetSpacing()[:2], ct.GetSpacing()[2] * (depth - 1) / (slices - 1))
    thin = sitk.Resample(
        ct, (width, height, slices), sitk.Transform(), sitk.sitkLinear, ct.GetOrigin(), spacing, ct.GetDirection()
    )
    sitk.WriteImage(thin, path)


def segment(ct, study):
    """Seconds by stage, and the peak memory in MB: up to the last word of each stage, and at the end."""
    command = [sys.executable, "-m", "infnet", "segment", ct, "--study", study, "--progress", "json"]
    peaks = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "progress":
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                peaks[event["stage"]] = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    if event["event"] != "result":
        sys.exit(event["message"])
    return event["seconds"], peaks | {"end": round(event["peak_memory_mb"])}


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    if sys.argv[4:]:
        seconds, peaks = segment(*sys.argv[3:])
        print("seconds:", ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items()))
        print("peak memory up to there, MB:", ", ".join(f"{stage} {value}" for stage, value in peaks.items()))
