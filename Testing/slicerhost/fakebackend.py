"""A fake backend for tests: a real process that speaks the JSON protocol and follows a scenario, with no network.

    python fakebackend.py SCENARIO (segment CT | train DATA | report STUDY | dicom STUDY | convert-checkpoint FILE)
        -o OUT … --progress json --stop-file F

"success" calls voxels from 100 HU ground-glass opacity and from 200 HU consolidation. The right lung is the first
half of the rows, its lobes are thirds of the columns; the left lung is the other half, its lobes are halves.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def send(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def succeed(options):
    send("message", text="Warning: thick slices")
    print("a line that is not JSON", flush=True)
    for done in range(3):
        send("progress", stage="infection", done=done + 1, total=3)
    COMMANDS[options.command](options)


def train(options):
    Path(options.output).mkdir(parents=True)
    send("result", output=options.output)


def segment(options):
    send("result", **segmented(options))


def segmented(options):
    """Write the images of a run, and return what its result tells."""
    ct = sitk.ReadImage(options.input)
    labels = sitk.Cast(ct >= 100, sitk.sitkUInt8) + sitk.Cast(ct >= 200, sitk.sitkUInt8)
    if options.minimum_lesion_ml:
        from infnet.quantification.lesions import without_small_lesions

        voxelMl = float(np.prod(ct.GetSpacing())) / 1000
        kept = without_small_lesions(sitk.GetArrayFromImage(labels), options.minimum_lesion_ml, voxelMl)
        labels = sitk.GetImageFromArray(kept)
        labels.CopyInformation(ct)
    if options.scenario != "no-label-image":
        sitk.WriteImage(labels, options.output)
    lobes = "existing" if options.lobes else {"auto": "atlas"}.get(options.lobe_source, options.lobe_source)
    if options.study:
        writeStudy(ct, options, lobes)
    return {
        "output": str(options.output),
        "table": rows(lobes),
        "severity": 10 if lobes in ("existing", "atlas") else None,
        "provenance": {
            "model": "fake",
            "ct": Path(options.input).name,
            "threshold": options.threshold or THRESHOLD,
            "minimum_lesion_ml": options.minimum_lesion_ml,
            "smoothing_mm": options.smoothing_mm,
            "mirror_images": options.mirror_images,
            "lungs": Path(options.lungs).name if options.lungs else "threshold and morphology",
            "lobes": lobes,
            "lobes_approximate": lobes in ("atlas", "zones"),
            "models": [options.model, options.labels_model],
            "precision": options.precision,
            "note": "a | b: c ^ d ~ e \\ „ü“",
        },
        "warnings": ["thick slices"],
        "seconds": {"network": 0.0},
    }


def writeStudy(ct, options, lobes):
    """Lungs, lobes and a probability that reaches the threshold at 100 HU.

    What a lower threshold adds is consolidation up to 40 HU, so that nobody can guess it.
    """
    options.study.mkdir(parents=True)
    hu = sitk.GetArrayFromImage(ct)
    _z, y, x = np.indices(hu.shape)
    right = y < hu.shape[1] // 2
    lungs = np.where(right, 1, 2)
    parts = np.where(right, 1 + 3 * x // hu.shape[2], 4 + 2 * x // hu.shape[2])
    if lobes == "zones":
        parts = np.where(right, 1, 4) + 3 * x // hu.shape[2]
    probability = np.clip((options.threshold or THRESHOLD) + (hu - 100) / 400, 0, 1)
    images = {"lungs": lungs.astype(np.uint8), "infection": probability.astype(np.float32)}
    finding = np.where((hu >= 200) | (hu < 40), 2, 1)
    images["candidates"] = np.where(images["infection"] >= 0.05, finding, 0).astype(np.uint8)
    if lobes != "none":
        images["lobes"] = parts.astype(np.uint8)
    for name, values in images.items():
        image = sitk.GetImageFromArray(values)
        image.CopyInformation(ct)
        sitk.WriteImage(image, options.study / f"{name}.nrrd")
    copied = {"lungs": options.lungs, "lobes": options.lobes}
    for name, path in copied.items():
        if path:
            sitk.WriteImage(sitk.Cast(sitk.ReadImage(path), sitk.sitkUInt8), options.study / f"{name}.nrrd")


def rows(lobes):
    row = {"volume_ml": 2000.0, "ggo_ml": 150.0, "consolidation_ml": 50.0, "infection_ml": 200.0}
    row |= {"ggo_percent": 7.5, "consolidation_percent": 2.5, "infection_percent": 10.0, "severity": None}
    row |= {"volume_mean_hu": -700.0, "ggo_mean_hu": -400.0, "consolidation_mean_hu": 20.0, "infection_mean_hu": -300.0}
    for name, percent in (
        ("hyperinflated", 5.0),
        ("well_aerated", 70.0),
        ("poorly_aerated", 15.0),
        ("non_aerated", 10.0),
    ):
        row |= {f"{name}_ml": 20 * percent, f"{name}_percent": percent}
    parts = [(part, 2) for part in LOBES]
    if lobes == "zones":
        parts = [
            (f"{side} {height} zone", None) for side in ("right", "left") for height in ("upper", "middle", "lower")
        ]
    if lobes == "none":
        parts = []
    elif parts:
        parts.append(("outside every lobe", None))
    parts += [(region, None) for region in ("right lung", "left lung", "total")]
    return [{**row, "region": region, "severity": severity} for region, severity in parts]


def report(options):
    """A report that says what the study holds."""
    study = json.loads((Path(options.input) / "result.json").read_text(encoding="utf-8"))
    files = sorted(path.name for path in Path(options.input).iterdir())
    text = json.dumps(
        {"case": study["case"], "table": study["table"], "files": files, "ct": Path(options.ct).is_file()}
    )
    Path(options.output).write_text(text, encoding="utf-8")
    send("result", output=options.output, case=study["case"], warnings=[])


def exportDicom(options):
    """Names of the slices that it was given."""
    Path(options.output).mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in Path(options.series).iterdir())
    (Path(options.output) / "findings.dcm").write_text("\n".join(names), encoding="utf-8")
    send("result", output=options.output, objects={"findings": "findings.dcm"}, warnings=[])


def convertCheckpoint(options):
    folder, name = Path(options.output), Path(options.input).stem
    folder.mkdir(parents=True, exist_ok=True)
    card = {"name": name, "task": "infection", "summary": "Imported.", "network": {}, "input_size": 352}
    card |= {"licence": "of the original", "threshold": 0.35, "sha256": ""}
    (folder / f"{name}.json").write_text(json.dumps(card), encoding="utf-8")
    send("result", output=str(folder / f"{name}.json"), network={})


def fail(options):
    send("error", code="no-lung", message="No lung was found in ct.nrrd.")
    sys.exit(4)


def lackMemory(options):
    send("progress", stage="infection", done=0, total=61)
    message = "There is not enough memory for one slice; close other programs."
    send("error", code="out-of-memory", message=message)
    sys.exit(6)


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


THRESHOLD = 0.5
LOBES = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")
COMMANDS = {
    "segment": segment,
    "train": train,
    "report": report,
    "dicom": exportDicom,
    "convert-checkpoint": convertCheckpoint,
}
SCENARIOS = {
    "success": succeed,
    "no-label-image": succeed,
    "error": fail,
    "out-of-memory": lackMemory,
    "crash": crash,
    "killed": beKilled,
    "missing-package": missPackage,
    "no-result": endWithoutResult,
    "stop": stopWhenAsked,
    "ignore-stop": ignoreStop,
}


def parse(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("input")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--minimum-lesion-ml", type=float, default=0.0)
    parser.add_argument("--smoothing-mm", type=float, default=0.0)
    parser.add_argument("--mirror-images", type=int, choices=[1, 2, 4], default=4)
    parser.add_argument("--lobe-source", default="auto")
    parser.add_argument("--study", type=Path)
    for option in ("--lungs", "--lobes", "--model", "--labels-model", "--device", "--precision", "--ct", "--series"):
        parser.add_argument(option)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--progress", choices=["json"])
    parser.add_argument("--stop-file", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    SCENARIOS[options.scenario](options)
