"""What a run will take: told from a few steps, for the very trainings that it is made of."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tinynetwork
import torch
from infnet.cli import main
from infnet.data.labelled_slices import read_labelled_slices, read_slices
from infnet.networks import NETWORKS
from infnet.training import estimate as estimates
from infnet.training import semi_supervised
from infnet.training.estimate import PlannedSemiSupervision, Training, estimate
from infnet.training.modules import SliceModule
from infnet.training.recipe import Recipe
from infnet.training.semi_recipe import SemiRecipe
from infnet.training.semi_supervised import SemiSupervision
from toyslices import make_slices

SECONDS_A_PIXEL = 1e-6
OPTIONS = ["--network", "tiny", "--size", "64", "--scales", "1", "--epochs", "2", "--device", "cpu", "--estimate"]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", tinynetwork.TINY)


@pytest.fixture
def data(tmp_path):
    make_slices(tmp_path / "labelled", 5)
    shutil.rmtree(make_slices(tmp_path / "unlabelled", 6, seed=1) / "GT")
    for path in (tmp_path / "unlabelled/Imgs").iterdir():
        path.rename(path.with_name(f"u{path.name}"))
    return tmp_path


def recipe(**changes):
    return Recipe(**{"network": "tiny", "network_options": {}, "size": 64, "batch_size": 2, "epochs": 2, **changes})


@pytest.fixture
def clock(monkeypatch):
    """Time that passes in training steps alone, by their pixels, and half a second in each prediction."""
    now = SimpleNamespace(seconds=0.0)
    step, said = SliceModule.training_step, estimates.predict

    def training_step(module, batch, index):
        now.seconds += SECONDS_A_PIXEL * len(batch.image) * module.recipe.size_at(module.global_step) ** 2
        return step(module, batch, index)

    def predict(model, slice_, device):
        now.seconds += 0.5
        return said(model, slice_, device)

    monkeypatch.setattr(SliceModule, "training_step", training_step)
    monkeypatch.setattr(estimates, "predict", predict)
    monkeypatch.setattr(estimates, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.mark.parametrize("multi_scale", ["random", "all"])
def test_the_time_is_that_of_all_pixels_whatever_sizes_were_timed(data, clock, multi_scale):
    scales = (0.5, 1.0, 1.5)
    one = Training("one", read_labelled_slices(data / "labelled")[:4], recipe(scales=scales, multi_scale=multi_scale))
    two = Training("two", one.slices, recipe(scales=(2.0,), epochs=7, batch_size=4))
    found = estimate([one, two, two], data / "no/such/run", "cpu")
    a_slice = SECONDS_A_PIXEL * np.mean([32**2, 64**2, 96**2]) * (3 if multi_scale == "all" else 1)
    assert found.stages["one"] == pytest.approx(4 * 2 * a_slice)
    assert found.stages["two"] == pytest.approx(2 * 4 * 7 * SECONDS_A_PIXEL * 128**2)
    assert found.seconds == pytest.approx(sum(found.stages.values()))
    assert found.timed_steps == 12 and found.gpu_bytes is None and found.free_bytes > found.disk_bytes > 0


@pytest.mark.parametrize(
    ("labelled", "healthy", "batch"), [(3, 20, 9), (5, 30, 4), (5, 0, 3)], ids=["few", "a rest of three", "of two"]
)
def test_the_time_is_that_of_the_slices_that_are_drawn(data, clock, labelled, healthy, batch):
    """Fewer than there are, where most are healthy; and the last batch of an epoch has fewer than the others."""
    slices = read_labelled_slices(data / "labelled")[:labelled]
    slices += [replace(slices[0], labels=slices[0].labels * 0)] * healthy
    training = Training("training", slices, recipe(scales=(1.0,), batch_size=batch, healthy_share=0.4))
    drawn = labelled + round(0.4 * labelled if healthy else 0)
    found = estimate([training], data, "cpu")
    assert found.seconds == pytest.approx(SECONDS_A_PIXEL * 2 * drawn * 64**2)


def test_long_steps_are_not_timed_for_long(data, clock, monkeypatch):
    monkeypatch.setattr("test_estimate.SECONDS_A_PIXEL", 0.01)
    training = Training("training", read_labelled_slices(data / "labelled")[:4], recipe(scales=(1.0,)))
    assert estimate([training], data, "cpu").timed_steps == 3


def test_the_plan_is_what_is_trained(data, monkeypatch):
    trained, labelled = [], []
    fit, label = semi_supervised.fit, semi_supervised.write_pseudo_label

    def recorded_fit(slices, recipe, folder, device, progress, stage, *rest, **more):
        trained.append((stage, [s.stem for s in slices], recipe))
        return fit(slices, recipe, folder, device, progress, stage, *rest, **more)

    def recorded_label(folder, s, probability):
        labelled.append(s.stem)
        label(folder, s, probability)

    monkeypatch.setattr(semi_supervised, "fit", recorded_fit)
    monkeypatch.setattr(semi_supervised, "write_pseudo_label", recorded_label)
    semi = SemiRecipe(k=4, round_epochs=1, pre_training_epochs=1, refresh=True)
    given = (read_labelled_slices(data / "labelled"), read_slices(data / "unlabelled"), recipe(epochs=1), semi)
    run = SemiSupervision(*given, data / "run", "cpu", "32")
    run.supervised()
    run.two_steps(run.propagate())
    plan = PlannedSemiSupervision(*given, data / "planned")
    plan.supervised()
    plan.two_steps(plan.propagate())
    assert [(t.stage, [s.stem for s in t.slices], t.recipe) for t in plan.trainings] == trained
    assert [s.stem for s in plan.pseudo_labelled] == labelled and len(labelled) == 4 + 6 + 6
    assert not (data / "planned").exists()


def test_pseudo_labels_take_time_and_room(data, clock):
    training = Training("training", read_labelled_slices(data / "labelled")[:4], recipe())
    unlabelled = list(read_slices(data / "unlabelled"))
    without, with_ = (estimate([training], data, "cpu", pseudo_labelled=p) for p in ([], 10 * unlabelled))
    assert with_.stages["pseudo-labels"] == pytest.approx(60 * 0.5)
    image = np.prod(unlabelled[0].image.shape)
    assert 60 * image / 2 < with_.disk_bytes - without.disk_bytes < 60 * image * 3


@pytest.mark.parametrize(
    ("command", "stages"),
    [
        (["train", "labelled"], ["training"]),
        (["cross-validate", "labelled", "--folds", "2"], ["fold 1", "fold 2"]),
        (
            ["semi-supervised", "labelled", "unlabelled", "--k", "3", "--hold-out-fold", "0"],
            ["supervised", "fine-tuning", "pre-training", "semi-supervised", "pseudo-labels"],
        ),
    ],
)
def test_every_training_command_estimates_and_writes_nothing(command, stages, data, monkeypatch, capsys):
    monkeypatch.chdir(data)
    monkeypatch.setattr("tempfile.tempdir", str(data / "temporary"))
    (data / "temporary").mkdir()
    assert main([*command, "-o", "run", *OPTIONS, "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert list(events[-1]["stages"]) == stages and events[-1]["seconds"] > 0
    assert {event["stage"] for event in events[:-1]} == {"timing"}
    assert not (data / "run").exists() and not any((data / "temporary").iterdir())


def test_an_estimate_can_be_stopped(data, capsys):
    (data / "stop").touch()
    options = ["train", str(data / "labelled"), "-o", str(data / "run"), *OPTIONS, "--stop-file", str(data / "stop")]
    assert main(options) == 130
    assert "Stopped as requested" in capsys.readouterr().err and not (data / "run").exists()


def test_a_pause_after_each_making_of_pseudo_labels_changes_nothing(data):
    options = [word for word in OPTIONS if word != "--estimate"]
    options += ["--k", "3", "--rounds", "2", "--round-epochs", "1", "--pre-training-epochs", "1", "--refresh"]

    def run(folder, *more):
        folders = [str(data / name) for name in ("labelled", "unlabelled", folder)]
        return main(["semi-supervised", *folders[:2], "-o", folders[2], *options, *more])

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert run("run", "--pause") == 130
        assert len((data / "run/round-001/slices.csv").read_text().splitlines()) == 4, "what is to be looked at"
        assert [run("run", "--pause") for _ in range(3)] == [130, 130, 0]
        assert run("other/run") == 0
    finally:
        torch.set_num_threads(threads)
    cards = [json.loads((data / folder / "model/run.json").read_text()) for folder in ("run", "other/run")]
    assert cards[0]["sha256"] == cards[1]["sha256"]
