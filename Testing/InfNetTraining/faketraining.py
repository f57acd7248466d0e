"""A fake backend for tests of training: a real process that writes what a training does, without a network.

    python faketraining.py SCENARIO (train | cross-validate | semi-supervised | prepare) … -o OUT --stop-file F

Each call adds a line to OUT/calls.txt, so that tests see what was run and how often.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path

from PIL import Image


def send(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def writeLosses(folder, version=0, first=0):
    log = folder / "log" / f"version_{version}"
    log.mkdir(parents=True, exist_ok=True)
    rows = [f"{step // 2 + step % 2 / 2},{1 / (step + 1)},{step}" for step in range(first, 10)]
    (log / "metrics.csv").write_text("\n".join(["epoch,loss,step", *rows]) + "\n", encoding="utf-8")


def writeMetrics(folder, stems, **more):
    """Dice 1 on every slice."""
    interval = {"mean": 1.0, "confidence": [1.0, 1.0], "images": len(stems)}
    told = {"metrics": {"dice": interval}, "images": {stem: {"dice": 1.0} for stem in stems}, **more}
    (folder / "metrics.json").write_text(json.dumps(told), encoding="utf-8")


def writeModel(output):
    folder = output / "model"
    folder.mkdir(exist_ok=True)
    weights = b"weights of " + output.name.encode()
    card = {"name": output.name, "task": "infection", "summary": "Trained.", "network": {}, "input_size": 64}
    card |= {"licence": "", "sha256": hashlib.sha256(weights).hexdigest()}
    (folder / f"{output.name}.safetensors").write_bytes(weights)
    (folder / f"{output.name}.json").write_text(json.dumps(card), encoding="utf-8")
    return folder / f"{output.name}.json"


def writePseudoLabels(folder, unlabelled):
    """The left half of every slice is infected."""
    for name in ("Imgs", "Soft"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    stems = []
    for path in sorted(unlabelled.glob("Imgs/*.png")):
        image = Image.open(path)
        image.save(folder / "Imgs" / path.name)
        soft = Image.new("L", image.size)
        soft.paste(200, (0, 0, image.width // 2, image.height))
        soft.save(folder / "Soft" / path.name)
        stems.append(path.stem)
    Image.new("RGB", (320, 160)).save(folder / "montage.png")
    rows = [f"{stem},0.5000,1.000,used" for stem in stems]
    (folder / "slices.csv").write_text("\n".join(["file,infected,stability,use", *rows]) + "\n", encoding="utf-8")


def finish(options):
    output = options.output
    if options.estimate:
        send("progress", stage="timing", done=1, total=12)
        values = {"disk_bytes": 3_000_000_000, "free_bytes": 20_000_000, "gpu_bytes": None, "device": "cpu"}
        send("result", seconds=3600, timed_steps=4, **values)
        return
    if options.command == "prepare":
        (output / "Imgs").mkdir(parents=True)
        (output / "labels.txt").write_text(str(options.labels), encoding="utf-8")
        send("result", output=str(output), slices=1, failed={"bad": "damaged"} if "bad" in str(options.inputs) else {})
        return
    for done in range(1, 11):
        send("progress", stage="training", done=done, total=10)
    if options.command == "cross-validate":
        writeLosses(output / "fold-0/training")
        rows = ["step,epoch,dice", "4,2,0.5", "10,5,1.0"]
        (output / "fold-0/training/validation.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        writeMetrics(output / "fold-0", ["0", "1"])
        send("result", output=str(output))
        return
    if options.command == "semi-supervised":
        for done in range(1, 4):
            send("progress", stage="rounds", done=done, total=3)
            writePseudoLabels(output / f"round-{done:03}", Path(options.inputs[1]))
            if options.pause and not (output / f"round-{done:03}/paused").exists():
                (output / f"round-{done:03}/paused").touch()
                send("error", code="review", message="Paused.")
                sys.exit(130)
    writeLosses(output)
    send("message", text="a word of the backend")
    send("result", output=str(writeModel(output)))


def stopWhenAsked(options):
    """Unless it was stopped once: then it goes on to the end."""
    calls = options.output / "calls.txt"  # of a training alone
    if not options.estimate and calls.exists() and calls.read_text(encoding="utf-8").count("\n") > 1:
        finish(options)
        return
    done = 0
    while not options.stop_file.exists():
        done = min(done + 1, 50)
        send("progress", stage="training", done=done, total=100, gpu_bytes=3_400_000_000)
        time.sleep(0.02)
    send("error", code="cancelled", message="Stopped as requested.")
    sys.exit(130)


def ignoreStop(options):
    send("progress", stage="training", done=1, total=100)
    time.sleep(600)


def fail(options):
    send("error", code="input", message="Slice 7 is damaged (--extra).")
    sys.exit(3)


def crash(options):
    print("RuntimeError: something broke deep inside", file=sys.stderr, flush=True)
    os.abort()


SCENARIOS = {"success": finish, "stop": stopWhenAsked, "ignore-stop": ignoreStop, "error": fail, "crash": crash}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("command")
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--estimate", action="store_true")
    parser.add_argument("--pause", action="store_true")
    parser.add_argument("--labels")
    parser.add_argument("--stop-file", type=Path, required=True)
    known, _others = parser.parse_known_args()
    if known.command != "prepare" and not known.estimate:
        known.output.mkdir(parents=True, exist_ok=True)
        with (known.output / "calls.txt").open("a", encoding="utf-8") as calls:
            calls.write(known.command + "\n")
    SCENARIOS[known.scenario](known)
