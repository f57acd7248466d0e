"""What a run tells of held-out slices, live and at its end, and of what it was begun with."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tinynetwork
import torch
from infnet.cli import main
from infnet.data import files
from infnet.data.labelled_slices import LabelledSlice, digest, read_labelled_slices
from infnet.errors import CancelledError, DivergedError, InputError
from infnet.networks import NETWORKS
from infnet.reporting import JsonReporter
from infnet.training import run_folder
from infnet.training.fit import fit
from infnet.training.folds import folds
from infnet.training.held_out import dice_of
from infnet.training.recipe import preset
from infnet.training.run_folder import alone_in
from infnet.weights.store import load_model
from PIL import Image

TINY = ["--network", "tiny", "--size", "64", "--learning-rate", "0.05", "--batch-size", "3", "--device", "cpu"]
QUICK = ["--no-augmentation", "--scales", "1", "--schedule", "constant"]  # learns something at once


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", tinynetwork.TINY)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("options", "epochs", "looks"),
    [
        (["batch_norm=true", "consolidation_head=true", "--ema-decay", "0.9"], 18, [*range(2, 19, 2)]),
        (["base_channels=4", "--network", "infection-guided-unet"], 3, [1, 2, 3]),
    ],
    ids=["infection, averaged weights", "findings"],
)
def test_the_last_live_dice_is_that_of_the_final_metrics(options, epochs, looks, toy_slices, tmp_path):
    run = tmp_path / "run"
    options = [f"--network-option={word}" if "=" in word else word for word in options]
    command = ["cross-validate", str(toy_slices), "-o", str(run), *TINY, *QUICK, *options, "--epochs", str(epochs)]
    assert main([*command, "--folds", "2", "--only-fold", "0"]) == 0
    rows = rows_of(run / "fold-0/training/validation.csv")
    assert [int(row["epoch"]) for row in rows] == looks, "ten at most"
    metrics = json.loads((run / "fold-0/metrics.json").read_text())["metrics"]
    names = [name for name in rows[0] if name not in ("step", "epoch")]
    assert names == [name for name in ("dice", "ggo_dice", "consolidation_dice") if name in metrics]
    for name in names:
        assert float(rows[-1][name]) == pytest.approx(metrics[name]["mean"], abs=1e-12)
    if "dice" in names:
        assert len({row["dice"] for row in rows}) > 2, "each look is at other weights"


def test_live_dice_changes_neither_the_weights_nor_a_run_that_is_resumed(toy_slices, tmp_path):
    *slices, first, second = read_labelled_slices(toy_slices)
    options = {"batch_norm": True, "dropout": 0.2}
    recipe = preset("modern", network="tiny", network_options=options, size=64, batch_size=2, epochs=3, ema_decay=0.9)
    unwatched = fit(slices, recipe, tmp_path / "unwatched", "cpu").state_dict()
    watched = fit(slices, recipe, tmp_path / "watched", "cpu", held_out=[first, second]).state_dict()
    assert all(torch.equal(value, watched[key]) for key, value in unwatched.items())
    expected = (tmp_path / "watched/validation.csv").read_bytes()
    assert expected.count(b"\n") == 4
    for last in (2, 3):  # at a look, and after it

        def interrupt(stage, done, total, last=last):
            if done == last:
                raise CancelledError("now")

        run = tmp_path / f"stopped-{last}"
        with pytest.raises(CancelledError):
            fit(slices, recipe, run, "cpu", interrupt, held_out=[first, second])
        resumed = fit(slices, recipe, run, "cpu", held_out=[first, second]).state_dict()
        assert all(torch.equal(value, resumed[key]) for key, value in unwatched.items())
        assert (run / "validation.csv").read_bytes() == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-5] + b",x,\n"),
        lambda path: path.write_bytes(path.read_bytes().replace(b"step", b"stop")),
        lambda path: path.write_bytes(path.read_bytes().replace(b"\n2", b"\nx")),
        lambda path: path.write_bytes(path.read_bytes() + b"3\n"),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["cells", "column", "number", "cut off", "UTF-8", "folder"],
)
def test_live_dice_that_is_damaged_is_told_before_the_training_goes_on(toy_slices, tmp_path, damage):
    *slices, held_out = read_labelled_slices(toy_slices)
    recipe, path = replace(preset("modern"), **{**_SMALL, "epochs": 2}), tmp_path / "run/validation.csv"
    done = []

    def interrupt(stage, step, total):
        done.append(step)
        if done == [1, 2]:
            raise CancelledError("now")

    with pytest.raises(CancelledError):
        fit(slices, recipe, tmp_path / "run", "cpu", interrupt, held_out=[held_out])
    damage(path)
    with pytest.raises(InputError, match=r"validation\.csv: damaged .*; remove it"):
        fit(slices, recipe, tmp_path / "run", "cpu", interrupt, held_out=[held_out])
    assert done == [1, 2]
    path.rmdir() if path.is_dir() else path.unlink()
    fit(slices, recipe, tmp_path / "run", "cpu", interrupt, held_out=[held_out])
    assert done[2:] and [row["step"] for row in rows_of(path)] == [str(done[-1])]


def test_a_run_is_compared_with_the_model_that_it_started_from(toy_slices, tmp_path):
    """That tells the findings apart, the run does not: its truths need not, and are compared by infection alone."""
    first, run = tmp_path / "first", tmp_path / "run"
    head = ["--network-option", "consolidation_head=true"]
    assert main(["train", str(toy_slices), "-o", str(first), *TINY, *head, "--epochs", "1"]) == 0
    command = ["cross-validate", str(toy_slices), "-o", str(run), *TINY, *QUICK, "--epochs", "20", "--folds", "2"]
    assert main([*command, "--only-fold", "1", "--initial", str(first / "model")]) == 0
    metrics = json.loads((run / "fold-1/metrics.json").read_text())
    before = metrics["before"]
    stems = folds([str(i) for i in range(6)], 2, seed=0)[1]
    assert before["name"] == "first" and list(before["images"]) == stems
    assert before["metrics"].keys() == metrics["metrics"].keys() and "ggo_dice" not in before["metrics"]
    predict = ["predict", str(toy_slices / "Imgs"), "-o", str(tmp_path / "p"), "--model", str(first / "model")]
    assert main([*predict, "--runtime", "eager"]) == 0
    for stem in stems:
        expected = np.asarray(Image.open(tmp_path / "p/infection" / f"{stem}.png")).astype(int)
        found = np.asarray(Image.open(run / "initial/predictions" / f"{stem}.png")).astype(int)
        assert abs(expected - found).max() <= 1
    change = [metrics["images"][s]["dice"] - before["images"][s]["dice"] for s in stems]
    assert before["dice_difference"]["mean"] == pytest.approx(np.mean(change)) and any(change)


def test_dice_of_findings_is_exact():
    """Half of the consolidation too much; outside the infection nothing counts; a slice without consolidation."""
    labels = np.zeros((10, 10), np.uint8)
    labels[:4], labels[4:6] = 1, 2
    found = np.zeros((10, 10), np.uint8)
    found[2:6] = found[9] = 255
    slice_ = LabelledSlice("0", labels, labels)
    expected = {"ggo_dice": 2 * 20 / (20 + 40), "consolidation_dice": 2 * 20 / (40 + 20)}
    assert dice_of(slice_, {"predictions": found}, "findings") == pytest.approx(expected)
    without = replace(slice_, labels=labels.clip(0, 1))
    assert dice_of(without, {"predictions": found * 0}, "findings") == {"ggo_dice": 1.0, "consolidation_dice": None}
    infection = np.where(labels > 0, np.uint8(128), np.uint8(127))
    maps = {"predictions": infection, "consolidation": found}
    assert dice_of(slice_, maps, "infection") == pytest.approx({"dice": 1.0, **expected})


def test_a_listing_of_volumes_that_comes_later_is_refused(toy_slices, tmp_path, capsys):
    command = ["cross-validate", str(toy_slices), "-o", str(tmp_path / "run"), *TINY, "--epochs", "1", "--folds", "2"]
    assert main([*command, "--only-fold", "0"]) == 0
    listing = toy_slices / "slices.csv"
    listing.write_text("file,volume\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(6)))
    assert main([*command, "--only-fold", "1"]) == 3
    told = capsys.readouterr().err
    assert "other folds than when it began" in told and "Put back the slices.csv of then" in told
    listing.unlink()
    assert main(command) == 0
    listing.write_text("file,volume\n" + "".join(f"{i},{'ab'[i // 3]}\n" for i in range(6)))
    other = [*command[:3], str(tmp_path / "other"), *command[4:], "--only-fold", "0"]
    assert main(other) == 0
    listing.write_text("file,volume\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(6)))
    assert main(other) == 3


def test_a_run_says_what_it_was_begun_with(toy_slices, tmp_path, capsys):
    run = tmp_path / "run"
    command = ["train", str(toy_slices), "-o", str(run), *TINY, "--epochs", "1"]
    assert main(command) == 0
    slices = read_labelled_slices(toy_slices)
    rows = rows_of(run / "data.csv")
    assert [(row["file"], row["use"], row["sha256"]) for row in rows] == [
        (s.stem, "training", digest([s])) for s in slices
    ]
    begun = json.loads((run / "run.json").read_text())["begun_by"]
    assert begun["torch"] == torch.__version__ and begun["command"] and begun["infnet"]
    assert main([*command, "--epochs", "2", "--learning-rate", "0.1"]) == 3
    assert "another learning_rate, epochs (see run.json)" in capsys.readouterr().err
    Image.fromarray(np.zeros_like(slices[0].labels)).save(toy_slices / "GT/0.png")
    assert main(command) == 3
    assert "slices or their truths were others" in capsys.readouterr().err


def test_what_a_killed_process_left_unfinished_is_removed_and_nothing_else(toy_slices, tmp_path):
    run = tmp_path / "run"
    command = ["train", str(toy_slices), "-o", str(run), *TINY, "--epochs", "1"]
    assert main(command) == 0
    script = (
        "import sys; from pathlib import Path; from infnet.data.files import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half'); print(flush=True); sys.stdin.read()"
    )
    folder = run / "round-001"
    folder.mkdir()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writers = [
        subprocess.Popen([sys.executable, "-c", script, folder / name], **pipes) for name in ("killed.png", "alive.png")
    ]
    for writer in writers:
        writer.stdout.readline()
    killed, alive = writers
    killed.kill()
    killed.communicate()
    (folder / ".hidden.lock").touch()
    assert len(list(folder.glob(".infnet-*"))) == 4, "two files and their locks"
    assert main(command) == 0
    assert sorted(path.name[-10:] for path in folder.iterdir()) == ["-alive.png", "e.png.lock", "idden.lock"]
    alive.communicate()
    assert alive.returncode == 0 and {path.name for path in folder.iterdir()} == {".hidden.lock", "alive.png"}


def test_a_model_is_on_the_disk_before_it_gets_its_name(toy_slices, tmp_path, monkeypatch):
    """The card comes last, so that a power cut leaves none without its weights."""
    done = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(files.os, "fsync", lambda number: (done.append("sync"), sync(number)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (done.append(Path(to).suffix), rename(self, to))[1])
    model = fit(read_labelled_slices(toy_slices), replace(preset("modern"), **_SMALL), tmp_path / "run", "cpu")
    from infnet.training.model import make_model
    from infnet.weights.store import save_model

    done.clear()
    made = make_model("mine", model)
    save_model(tmp_path / "model", made.card, made.network)
    assert done == ["sync", ".safetensors", "sync", ".json"]
    assert load_model(str(tmp_path / "model")).card.name == "mine"


def test_of_two_trainings_in_one_folder_the_second_is_refused(toy_slices, tmp_path):
    slices, recipe = read_labelled_slices(toy_slices), replace(preset("modern"), **_SMALL)
    refused = []

    def begin_another(stage, done, total):
        with pytest.raises(InputError, match="another process trains there"):
            fit(slices, recipe, tmp_path / "run", "cpu")
        refused.append(done)

    fit(slices, recipe, tmp_path / "run", "cpu", begin_another)
    assert refused == [1, 2] and not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize("rank", [0, 1])
def test_of_processes_that_train_together_the_first_alone_takes_the_folder(toy_slices, tmp_path, monkeypatch, rank):
    """Another one, which claims it a moment later, would keep the first from it."""
    left = [tmp_path / ".infnet-lock", tmp_path / ".infnet-0-x.ckpt", tmp_path / ".infnet-0-x.ckpt.lock"]
    for path in left:  # of a process that was killed
        path.touch()
    taken = []
    monkeypatch.setattr(run_folder, "locked", lambda path, timeout: taken.append(path) or files.locked(path, timeout))
    monkeypatch.setattr(run_folder.rank_zero_only, "rank", rank)
    run_folder.claim(tmp_path, replace(preset("modern"), **_SMALL), read_labelled_slices(toy_slices))
    assert taken == ([] if rank else left[:1])
    assert [path for path in left if path.exists()] == (left if rank else [])


def test_a_lock_that_cannot_be_removed_is_released(tmp_path, monkeypatch):
    """Windows, which is not at hand here, removes no file that is open."""

    def refuse(path, **_):
        raise PermissionError

    with monkeypatch.context() as patch, alone_in(tmp_path):
        patch.setattr(Path, "unlink", refuse)
    with alone_in(tmp_path):
        pass


def test_an_old_checkpoint_that_is_open_elsewhere_does_not_end_the_training(toy_slices, tmp_path, monkeypatch):
    """As Windows has it: by a virus scanner, say."""
    unlink = Path.unlink

    def refuse(path, **options):
        if path.name.startswith("step-"):
            raise PermissionError
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    recipe = replace(preset("modern"), **{**_SMALL, "epochs": 2})
    fit(read_labelled_slices(toy_slices), recipe, tmp_path, "cpu", checkpoint_seconds=0)
    assert len(list(tmp_path.glob("checkpoints/step-*.ckpt"))) == 4


def test_the_memory_of_the_gpu_is_told_with_the_progress(monkeypatch):
    """A made-up report: what CUDA itself says is not looked at here."""
    stream = io.StringIO()
    JsonReporter(stream=stream).progress("training", 1, 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 123)
    JsonReporter(stream=stream).progress("training", 2, 2)
    before, after = map(json.loads, stream.getvalue().splitlines())
    assert "gpu_bytes" not in before and after["gpu_bytes"] == 123


_SMALL = {"network": "tiny", "network_options": {}, "size": 64, "batch_size": 3, "epochs": 1}


def test_a_loss_that_is_no_number_ends_the_training_with_its_remedy(toy_slices, tmp_path):
    recipe = replace(preset("modern"), **_SMALL, optimizer="sgd", schedule="constant", learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"step \d.*another folder, with less than a learning rate of 1e\+30"):
        fit(read_labelled_slices(toy_slices), replace(recipe, epochs=9), tmp_path / "run", "cpu")
