"""Kills a semi-supervised training at random moments and looks whether anything is lost by that.

    python Testing/infnet/twenty_kills.py [--kills 20] [--threads 1] [--folder DIR]

One run of the command line is left in peace. Each of the others is killed (SIGKILL) at a random moment, its files are
read, and it is started again to its end, which has to have the weights of the first, the same live Dice, and no file
that was left unfinished. The network is a tiny one, the slices are toys, and a checkpoint is written after every step,
so that a kill may meet one half written.
A kill takes nothing from the disk's cache: a power cut is more than this shows.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / name) for name in ("InfNetSegmentation", "Testing", "Testing/infnet")]

OPTIONS = ["--network", "tiny", "--network-option", "batch_norm=true", "--network-option", "dropout=0.2"]
OPTIONS += ["--size", "64", "--scales", "1", "--epochs", "8", "--batch-size", "2", "--ema-decay", "0.9"]
OPTIONS += ["--device", "cpu"]
OPTIONS += ["--hold-out-fold", "0", "--folds", "3"]
OPTIONS += ["--k", "4", "--rounds", "2", "--round-epochs", "2", "--pre-training-epochs", "3", "--refresh"]


def worker(arguments):
    """The command line with the tiny network and a checkpoint after every step."""
    import tinynetwork
    from infnet.training.checkpoints import Checkpoints

    write = Checkpoints.__init__
    Checkpoints.__init__ = lambda self, folder, seconds, *rest: write(self, folder, 0, *rest)
    tinynetwork.NETWORKS["tiny"] = tinynetwork.TINY
    return tinynetwork.main(arguments)


def make_data(folder):
    from toyslices import make_slices

    make_slices(folder / "labelled", 6)
    make_slices(folder / "unlabelled", 12, seed=1)
    shutil.rmtree(folder / "unlabelled/GT")
    for path in (folder / "unlabelled/Imgs").iterdir():
        path.rename(path.with_name(f"u{path.name}"))


def start(folder, run, threads):
    command = ["semi-supervised", folder / "labelled", folder / "unlabelled", "-o", run, *OPTIONS, "--progress", "json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        [sys.executable, __file__, "worker", *map(str, command)],
        env=environment,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def undisturbed(folder, run, threads):
    """How many lines a run writes: its progress, and its result."""
    process = start(folder, run, threads)
    lines, _ = process.communicate()
    assert process.returncode == 0
    return lines.count("\n")


def killed(folder, run, threads, lines, seconds):
    """Kill a run that many ``seconds`` after that many ``lines``; returns the last thing that it said."""
    process = start(folder, run, threads)
    said = [process.stdout.readline() for _ in range(lines)]
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    *_, last = [line for line in "".join([*said, rest]).splitlines() if line.endswith("}")]
    event = json.loads(last)
    return "{stage} {done}/{total}".format(**event) if event["event"] == "progress" else event["event"]


def read_everything(run):
    """How many files there are; any error of reading one is raised. Hidden ones are those that were never finished."""
    import torch
    from PIL import Image
    from safetensors import safe_open

    def weights(path):
        with safe_open(path, "pt") as file:
            return [file.get_tensor(key) for key in file.keys()]  # noqa: SIM118

    readers = {
        ".png": lambda path: Image.open(path).load(),
        ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
        ".ckpt": lambda path: torch.load(path, weights_only=True),
        ".csv": lambda path: list(csv.reader(path.read_text(encoding="utf-8").splitlines())),
        ".safetensors": weights,
        ".sha256": lambda path: bytes.fromhex(path.read_text(encoding="utf-8")),
        ".yaml": lambda path: path.read_text(encoding="utf-8"),
    }
    paths = [path for path in run.rglob("*") if path.is_file() and not path.name.startswith(".")]
    for path in paths:
        readers[path.suffix](path)
    return len(paths)


def weights_of(run):
    return json.loads((run / "model" / f"{run.name}.json").read_text(encoding="utf-8"))["sha256"]


def live_dice_of(run):
    return {path.relative_to(run): path.read_bytes() for path in run.rglob("validation.csv")}


def experiment(folder, kills, threads=1, seed=0):
    """Of ``kills`` runs, how many ended with other weights than the undisturbed one."""
    make_data(folder)
    lines = undisturbed(folder, folder / "undisturbed/run", threads)
    expected = weights_of(folder / "undisturbed/run")
    print(f"undisturbed: {lines} words of progress, weights {expected[:12]}", flush=True)
    moments, different = random.Random(seed), 0
    for number in range(1, kills + 1):
        run = folder / f"killed-{number:02}/run"  # the model is called as its folder
        doing = killed(folder, run, threads, moments.randrange(1, lines - 1), moments.uniform(0, 0.1))
        files = read_everything(run)
        process = start(folder, run, threads)
        process.communicate()
        assert process.returncode == 0, f"{run} could not be resumed"
        read_everything(run)
        assert not list(run.rglob(".*")), "left unfinished"
        assert live_dice_of(run) == live_dice_of(folder / "undisturbed/run")
        equal = weights_of(run) == expected
        different += not equal
        told = "the same weights" if equal else "OTHER WEIGHTS"
        print(f"{number}: killed after {doing}; {files} files readable; resumed: {told}", flush=True)
    return different


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="new folder for the runs; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        different = experiment(folder, options.kills, options.threads, options.seed)
    print(f"{options.kills} kills, {different} with other weights")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(worker(sys.argv[2:]) if sys.argv[1:2] == ["worker"] else main())
