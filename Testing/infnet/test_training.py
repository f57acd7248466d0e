"""Training runs on toy slices, on the real Lightning loop."""

import csv
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from infnet.cli import main
from infnet.data.labelled_slices import read_labelled_slices
from infnet.data.slice_dataset import SeededSampler, SliceDataset
from infnet.errors import CancelledError, InputError
from infnet.training.cross_validation import folds
from infnet.training.fit import fit
from infnet.training.recipe import Recipe
from PIL import Image

SMALL = {"encoder_weights": "none", "size": 64, "batch_size": 3, "base_channels": 4, "learning_rate": 1e-2}


def losses(run_folder):
    with (run_folder / "log" / "version_0" / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("task", ["infection", "findings"])
def test_training_lowers_the_loss(task, toy_slices, tmp_path):
    fit(read_labelled_slices(toy_slices), Recipe(task=task, epochs=10, **SMALL), tmp_path / "run")
    history = losses(tmp_path / "run")
    assert len(history) == 10
    assert np.mean(history[-2:]) < 0.8 * np.mean(history[:2])


def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(toy_slices, tmp_path):
    slices, recipe = read_labelled_slices(toy_slices), Recipe(epochs=8, **SMALL)
    undisturbed = fit(slices, recipe, tmp_path / "undisturbed").network

    def interrupt(stage, done, total):
        if done == 13:  # in the seventh of eight epochs of two steps; the last checkpoint is of the fifth
            raise CancelledError("now")

    with pytest.raises(CancelledError):
        fit(slices, recipe, tmp_path / "disturbed", progress=interrupt)
    resumed = fit(slices, recipe, tmp_path / "disturbed").network
    theirs = undisturbed.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in resumed.state_dict().items())
    assert len(losses(tmp_path / "disturbed")) == 6  # kept, while the resumed part has a file of its own


def test_a_run_folder_belongs_to_one_training(toy_slices, tmp_path, capsys):
    slices, recipe = read_labelled_slices(toy_slices), Recipe(epochs=1, **SMALL)
    fit(slices, recipe, tmp_path / "run")
    for other in (replace(recipe, learning_rate=0.5), replace(recipe, epochs=9)):
        with pytest.raises(InputError, match="holds another training"):
            fit(slices, other, tmp_path / "run")
    with pytest.raises(InputError, match="holds another training"):
        fit(slices[1:], recipe, tmp_path / "run")
    fit(slices, recipe, tmp_path / "run")
    options = ["--epochs", "1", "--batch-size", "2", "--size", "64", "--encoder-weights", "none"]
    command = ["cross-validate", str(toy_slices), "-o", str(tmp_path / "cv"), *options]
    assert main([*command, "--folds", "2", "--only-fold", "0"]) == 0
    assert main([*command, "--folds", "3", "--only-fold", "0"]) == 3
    assert "holds another training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--encoder", "vgg99"], "encoder vgg99"),
        (["--size", "16"], "size 16"),
        (["--batch-size", "1"], "a batch of 1"),
        (["--epochs", "0"], "0 epochs"),
        (["--metrics", "nowhere.json"], "nowhere.json: not the metrics"),
        (["--card", "nowhere.json"], "nowhere.json: not a model card"),
        (["--task", "findings", "--priors", "nowhere"], "nowhere"),
    ],
)
def test_options_that_cannot_work_are_told_in_one_line(options, message, toy_slices, tmp_path, capsys):
    assert main(["train", str(toy_slices), "-o", str(tmp_path / "run"), *options]) in (3, 5)
    told = capsys.readouterr().err.strip()
    assert message in told and "\n" not in told
    assert not (tmp_path / "run").exists()


def test_findings_need_a_truth_that_tells_them_apart(toy_slices, tmp_path):
    for path in (toy_slices / "GT").iterdir():
        Image.fromarray(np.asarray(Image.open(path)).clip(0, 1)).save(path)
    with pytest.raises(InputError, match="label 2"):
        fit(read_labelled_slices(toy_slices), Recipe(task="findings", **SMALL), tmp_path / "run")


def test_ctrl_c_ends_a_training_as_cancelled(toy_slices, tmp_path):
    def interrupt(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(CancelledError, match="last checkpoint"):
        fit(read_labelled_slices(toy_slices), Recipe(epochs=1, **SMALL), tmp_path / "run", progress=interrupt)


def test_augmentation_is_a_function_of_the_seed_and_keeps_labels_on_their_pixels(toy_slices):
    dataset = SliceDataset(read_labelled_slices(toy_slices), 96)
    one, same, other = dataset[0, 1], dataset[0, 1], dataset[0, 2]
    assert torch.equal(one.image, same.image) and not torch.equal(one.image, other.image)
    for seed in range(20):
        sample = dataset[seed % 6, seed]
        means = [sample.image[0][sample.labels == label].mean() for label in (0, 1, 2)]
        assert means[0] < means[1] < means[2]
        assert sample.image.min() >= 0 and sample.image.max() <= 1


def test_sampler_draws_every_slice_once_an_epoch_in_an_order_of_its_own():
    sampler = SeededSampler(10, seed=3)
    first, again = list(sampler), list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first == again != second
    assert sorted(i for i, _ in second) == list(range(10))


def test_scales_are_the_papers():
    assert Recipe().sizes() == (256, 352, 448)


def test_folds_hold_every_slice_once():
    stems = [str(i) for i in range(52)]
    dealt = folds(stems, 5, seed=0)
    assert sorted(itertools.chain(*dealt)) == sorted(stems)
    assert sorted(map(len, dealt)) == [10, 10, 10, 11, 11]
    assert dealt == folds(stems[::-1], 5, seed=0) != folds(stems, 5, seed=1)


def test_one_slice_is_too_few(toy_slices, tmp_path):
    with pytest.raises(InputError, match="two or more"):
        fit(read_labelled_slices(toy_slices)[:1], Recipe(**SMALL), tmp_path)


def test_from_training_to_prediction_on_the_command_line(toy_slices, tmp_path, capsys):
    """Both models trained, then used by name of their cards."""
    common = [str(toy_slices), "--epochs", "2", "--batch-size", "3", "--size", "64", "--progress", "json"]
    infection, findings = tmp_path / "infection", tmp_path / "findings"
    assert main(["train", *common, "-o", str(infection), "--encoder-weights", "none"]) == 0
    options = ["--task", "findings", "--base-channels", "4"]
    assert main(["train", *common, "-o", str(findings), *options]) == 0
    output = tmp_path / "predictions"
    models = ["--model", str(infection / "model"), "--labels-model", str(findings / "model")]
    capsys.readouterr()
    assert main(["predict", str(toy_slices / "Imgs"), "-o", str(output), *models, "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["event"] == "result" and events[-1]["provenance"]["infection_model"] == "infection"
    for i in range(6):
        probability = np.asarray(Image.open(output / "infection" / f"{i}.png"))
        labels = np.asarray(Image.open(output / "labels" / f"{i}.png"))
        assert probability.shape == labels.shape == (72, 60)
        sure = (probability < 127) | (probability > 128)  # rounding to 8 bits hides on which side of 0.5 those are
        assert np.array_equal(labels[sure] > 0, probability[sure] > 128)
    (toy_slices / "Imgs" / "5.png").write_bytes(b"no image")
    before = {path: path.read_bytes() for path in output.rglob("*.png")}
    assert main(["predict", str(toy_slices / "Imgs"), "-o", str(output), *models, "--threshold", "0.1"]) == 3
    assert main(["predict", str(toy_slices / "Imgs"), "-o", str(tmp_path / "new"), *models]) == 3
    assert not (tmp_path / "new").exists()
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_cross_validation_predicts_every_slice_by_a_network_that_has_not_seen_it(toy_slices, tmp_path):
    options = ["--epochs", "1", "--batch-size", "2", "--size", "64", "--encoder-weights", "none", "--folds", "2"]
    run = tmp_path / "run"
    assert main(["cross-validate", str(toy_slices), "-o", str(run), *options, "--only-fold", "1"]) == 0
    half = sorted(p.stem for p in (run / "predictions").iterdir())
    assert half == folds([str(i) for i in range(6)], 2, seed=0)[1]
    assert main(["cross-validate", str(toy_slices), "-o", str(run), *options]) == 0
    summary = json.loads((run / "metrics.json").read_text())
    assert sorted(summary["images"]) == [str(i) for i in range(6)]
    assert summary["metrics"]["dice"]["images"] == 6
