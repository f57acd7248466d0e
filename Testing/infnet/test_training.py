"""Training runs on toy slices, on the real Lightning loop."""

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tinynetwork
import torch
from infnet.cli import main
from infnet.data.labelled_slices import LabelledSlice, read_labelled_slices, unit_range
from infnet.data.slice_dataset import Sample, SeededSampler, SliceDataset
from infnet.errors import CancelledError, DeviceError, InputError, OutOfMemoryError
from infnet.evaluation.metrics import dice
from infnet.inference.predictor import predict_infection
from infnet.networks import NETWORKS
from infnet.networks.normalisation import normalise
from infnet.reporting import silent
from infnet.training import fit as fit_module
from infnet.training import modules
from infnet.training.batches import DealtBatches
from infnet.training.checkpoints import Checkpoints
from infnet.training.cross_validation import summarise
from infnet.training.fit import fit
from infnet.training.folds import folds
from infnet.training.model import make_model
from infnet.training.modules import FindingsModule, InfectionModule
from infnet.training.recipe import Recipe, preset
from infnet.weights.store import save_model
from PIL import Image
from safetensors.torch import load_file
from toyslices import make_slices

SMALL = {"size": 64, "batch_size": 3, "learning_rate": 1e-2}
TINY = ["--network", "tiny", "--size", "64", "--learning-rate", "0.01", "--device", "cpu"]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", tinynetwork.TINY)


def tiny(options=None, **changes):
    return preset("modern", network="tiny", network_options=options or {}, **{**SMALL, **changes})


def losses(run_folder, version=0):
    with (run_folder / "log" / f"version_{version}" / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(encoder_weights="none", epochs=6, **SMALL),
        preset("modern", "findings", network_options={"base_channels": 4}, **{**SMALL, "epochs": 10}),
        preset("paper", "findings", network_options={"base_channels": 4}, epochs=8, size=64, batch_size=3),
    ],
    ids=["inf-net", "findings", "findings as in the paper"],
)
def test_training_lowers_the_loss(recipe, toy_slices, tmp_path):
    fit(read_labelled_slices(toy_slices), recipe, tmp_path / "run", "cpu")
    history = losses(tmp_path / "run")
    assert len(history) == 2 * recipe.epochs
    assert np.mean(history[-4:]) < 0.8 * np.mean(history[:4])


def test_both_heads_learn(toy_slices, tmp_path):
    """With healthy slices among them: after a short training, the gate and the findings are mostly right."""
    slices = read_labelled_slices(toy_slices)
    slices += [replace(s, image=s.image // 4, labels=s.labels * 0) for s in slices[:3]]
    recipe = tiny(
        {"consolidation_head": True, "gate_head": True},
        epochs=25,
        learning_rate=5e-2,
        augmentation=False,
        scales=(1.0,),
        healthy_share=1.0,
        synthetic_lesions=0.0,
    )
    network = fit(slices, recipe, tmp_path / "run", "cpu").network
    samples = [SliceDataset(slices, 64, augment=False)[i, 0] for i in range(9)]
    with torch.no_grad():
        maps = network(normalise(torch.stack([s.image for s in samples])))
    assert (maps.gate > 0).tolist() == [True] * 6 + [False] * 3
    labels, consolidation = torch.stack([s.labels for s in samples]), maps.consolidation[:, 0] > 0
    assert consolidation[labels == 2].float().mean() > 0.9
    assert consolidation[labels == 1].float().mean() < 0.2


def test_what_the_slices_do_not_show_cannot_be_learnt(toy_slices, tmp_path):
    slices = read_labelled_slices(toy_slices)
    binary = [replace(s, labels=s.labels.clip(0, 1)) for s in slices]
    soft = [*slices, replace(slices[0], soft=slices[0].labels * 100)]
    healthy = replace(slices[0], labels=slices[0].labels * 0)
    inverted = [replace(s, labels=(s.labels == 0).astype(np.uint8)) for s in slices]
    findings = preset("modern", "findings", network_options={"base_channels": 4}, **SMALL)
    for chosen, recipe, message in (
        (binary, findings, "label 2"),
        (soft, findings, "soft truth"),
        (binary, tiny({"consolidation_head": True}), "label 2"),
        (soft, tiny({"consolidation_head": True}), "soft truth"),
        ([replace(soft[-1], soft_consolidation=soft[-1].soft)], tiny({"consolidation_head": True}), "two or more"),
        (slices, tiny({"gate_head": True}), "slices without"),
        ([*slices, healthy], tiny({"gate_head": True}, healthy_share=0.0), "--healthy-share above 0"),
        ([*slices, healthy], tiny({"gate_head": True}, synthetic_lesions=1.0), "--synthetic-lesions below 1"),
        (slices[:1], tiny(), "two or more"),
        (inverted, tiny(), "invert them"),
        ([slices[0], healthy, healthy], tiny(healthy_share=0.4), "1 labelled slice"),
    ):
        with pytest.raises(InputError, match=message):
            fit(chosen, recipe, tmp_path / "run", "cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "recipe",
    [
        {"options": {"batch_norm": True, "dropout": 0.2}, "ema_decay": 0.9},
        {"ema_decay": 0.0, "multi_scale": "all", "schedule": "constant", "optimizer": "adam", "gradient_clip": 0.5},
    ],
    ids=["modern", "as in the paper"],
)
def test_a_run_stopped_after_any_step_ends_with_the_weights_of_an_undisturbed_one(recipe, toy_slices, tmp_path):
    """Seven slices in batches of three: the stops fall within epochs and on their ends."""
    slices = read_labelled_slices(toy_slices)
    slices = [*slices, replace(slices[0], stem="again")]
    recipe = tiny(epochs=2, **recipe)
    undisturbed = fit(slices, recipe, tmp_path / "undisturbed", "cpu").network
    steps = len(losses(tmp_path / "undisturbed"))
    assert steps == 4 * (3 if recipe.multi_scale == "all" else 1)
    for last in range(1, steps + 1, 1 if steps == 4 else 5):  # stops cost time

        def interrupt(stage, done, total, last=last):
            assert total == steps
            if done == last:
                raise CancelledError("now")

        run = tmp_path / f"disturbed-{last}"
        with pytest.raises(CancelledError):
            fit(slices, recipe, run, "cpu", interrupt)
        resumed = fit(slices, recipe, run, "cpu").network
        assert same_weights(resumed, undisturbed), last
    assert len(losses(run)) == last - 1  # before the stop; what came after has a file of its own


def test_steps_at_every_scale_are_those_of_the_paper(toy_slices, tmp_path, monkeypatch):
    """Three steps a batch, on the same images, at 0.75, 1 and 1.25 of the size, in that order."""
    seen = []

    def watch(self, outputs, batch, *_):
        seen.append((self.recipe.size_at(self.global_step), batch.image.mean().item()))

    monkeypatch.setattr("infnet.training.modules.SliceModule.on_train_batch_end", watch)
    fit(read_labelled_slices(toy_slices), tiny(epochs=1, size=128, multi_scale="all"), tmp_path / "run", "cpu")
    # The hook sees the step after the one that is done.
    assert [size for size, _ in seen] == [128, 160, 96, 128, 160, 96]
    means = [mean for _, mean in seen]
    assert means[0] == means[1] == means[2] != means[3] == means[4] == means[5]


def test_the_learning_rate_of_the_released_code_dies_after_epoch_50(toy_slices):
    module = InfectionModule(tiny(schedule="paper-released-code", learning_rate=1e-4, epochs=100), steps_per_epoch=2)
    configured = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(104):  # the code's epochs 1 to 52, two steps each
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(rates[::2], [1e-4] * 49 + [1e-5, 1e-6, 1e-7])
    assert rates[::2] == rates[1::2]


@pytest.mark.parametrize("schedule", ["one-cycle", "constant"])
def test_the_momentum_of_sgd_is_that_of_the_recipe(schedule):
    module = InfectionModule(tiny(optimizer="sgd", momentum=0.7, schedule=schedule, epochs=4), steps_per_epoch=2)
    configured = module.configure_optimizers()
    optimizer = configured["optimizer"] if schedule == "one-cycle" else configured
    assert optimizer.param_groups[0]["momentum"] == 0.7


def test_the_seconds_of_a_training_are_those_of_all_its_parts(toy_slices, tmp_path, monkeypatch):
    """A clock that goes on by one second whenever it is looked at."""
    monkeypatch.setattr(modules, "time", SimpleNamespace(monotonic=itertools.count(100).__next__))
    slices, recipe, run = read_labelled_slices(toy_slices), tiny(epochs=1), tmp_path / "run"

    def interrupt(stage, done, total):
        raise CancelledError("now")

    with pytest.raises(CancelledError):
        fit(slices, recipe, run, "cpu", interrupt)
    for _ in range(2):  # the rest, and nothing more
        assert fit(slices, recipe, run, "cpu").seconds == 2


def test_any_network_is_offered_imagenets_weights(toy_slices, tmp_path, monkeypatch):
    monkeypatch.setattr("infnet.training.fit.load_imagenet_weights", lambda network: type(network).__name__)
    for asked, told in (("imagenet", "TinyNetwork"), ("none", "random")):
        recipe = tiny(epochs=1, encoder_weights=asked)
        assert fit(read_labelled_slices(toy_slices), recipe, tmp_path / asked, "cpu").initial_weights == told


def test_the_gradient_is_clipped_by_element(toy_slices, tmp_path, monkeypatch):
    """With plain SGD of rate 1, a step is the clipped gradient."""
    recipe = tiny(optimizer="sgd", schedule="constant", weight_decay=0.0, ema_decay=0.0, epochs=1, batch_size=6)
    slices = read_labelled_slices(toy_slices)
    steps = {}
    for clip in (0.0, 0.01):
        changed = replace(recipe, gradient_clip=clip, learning_rate=1.0)
        torch.manual_seed(0)
        network = fit(slices, changed, tmp_path / f"run-{clip}", "cpu", precision="32").network
        steps[clip] = torch.cat([p.detach().flatten() for p in network.parameters()])
    torch.manual_seed(0)
    difference = steps[0.0] - steps[0.01]
    assert difference.abs().max() > 0.01  # or there was nothing to clip
    # start - step: where a step was shorter than the clip it is the same in both
    assert (difference.abs() < 1e-6).float().mean() > 0.05


def test_the_moving_average_is_of_the_weights_after_every_step(toy_slices, tmp_path, monkeypatch):
    """The average of an independent sum over the weights that a hook saw."""
    seen = []
    monkeypatch.setattr(
        "infnet.training.modules.SliceModule.on_train_batch_end",
        lambda self, *_: seen.append(self.network.fine.weight.detach().clone()),
    )
    network = fit(read_labelled_slices(toy_slices), tiny(epochs=4, ema_decay=0.3), tmp_path / "run", "cpu").network
    average = seen[0]
    for count, weight in enumerate(seen[1:], start=1):
        kept = min(0.3, (1 + count) / (10 + count))
        average = kept * average + (1 - kept) * weight
    torch.testing.assert_close(network.fine.weight.detach(), average)
    assert not torch.equal(network.fine.weight, seen[-1])


def test_fine_tuning_starts_from_the_given_weights(toy_slices, tmp_path):
    slices = read_labelled_slices(toy_slices)
    first = make_model("first", fit(slices, tiny(epochs=1), tmp_path / "first", "cpu"))
    heads = {"consolidation_head": True, "gate_head": True}
    still = tiny(heads, epochs=1, learning_rate=1e-12, weight_decay=0.0, ema_decay=0.0)
    with_healthy = [*slices, replace(slices[0], stem="healthy", labels=slices[0].labels * 0)]
    module = fit(with_healthy, still, tmp_path / "second", "cpu", initial=first)
    for key, value in first.network.state_dict().items():
        torch.testing.assert_close(module.network.state_dict()[key], value)
    assert module.initial_weights.startswith("first (SHA-256 ")
    assert module.initial_weights.endswith("; random: consolidation_head, gate_head")
    assert make_model("second", module).card.training["initial_weights"] == module.initial_weights
    with pytest.raises(InputError, match="holds another training"):
        fit(with_healthy, still, tmp_path / "second", "cpu")
    still = tiny(epochs=1, learning_rate=1e-12, weight_decay=0.0, ema_decay=0.0)
    module = fit(slices, still, tmp_path / "infection alone", "cpu", initial=make_model("second", module))
    assert module.initial_weights.startswith("second (SHA-256 ") and "random" not in module.initial_weights
    torch.testing.assert_close(dict(module.network.state_dict()), dict(first.network.state_dict()))
    other = make_model("other", fit(slices, tiny({"batch_norm": True}, epochs=1), tmp_path / "other", "cpu"))
    with pytest.raises(InputError, match="running_mean does not fit"):
        fit(slices, tiny(), tmp_path / "third", "cpu", initial=other)
    assert not (tmp_path / "third").exists()


def test_two_checkpoints_are_kept_and_the_newest_readable_one_is_used(toy_slices, tmp_path):
    slices, recipe, run = read_labelled_slices(toy_slices), tiny(epochs=4), tmp_path / "run"
    undisturbed = fit(slices, recipe, run, "cpu", checkpoint_seconds=0).network
    names = [path.name for path in sorted((run / "checkpoints").iterdir())]
    assert names == ["step-00000007.ckpt", "step-00000008.ckpt"]
    newest = run / "checkpoints" / names[1]
    newest.write_bytes(newest.read_bytes()[:1000])
    (run / "checkpoints" / ".123-step-00000008.ckpt").write_bytes(b"cut short")
    again = []
    resumed = fit(slices, recipe, run, "cpu", lambda stage, done, total: again.append(done)).network
    assert again == [8] and same_weights(resumed, undisturbed)
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == names
    for path in (run / "checkpoints").iterdir():
        torch.save({"state_dict": undisturbed.state_dict()}, path)
    with pytest.raises(InputError, match=rf"can be read \({names[1]}, {names[0]}\); remove them"):
        fit(slices, recipe, run, "cpu")


@pytest.mark.parametrize("change", [{"options": {"batch_norm": True}}, {"epochs": 3}], ids=["network", "length"])
def test_a_checkpoint_of_another_training_is_told(change, toy_slices, tmp_path):
    """Its run.json is that of the training, as where somebody has copied the checkpoint alone."""
    slices, recipe = read_labelled_slices(toy_slices), {"epochs": 2}
    fit(slices, tiny(**{**recipe, **change}), tmp_path / "other", "cpu")
    fit(slices, tiny(**recipe), tmp_path / "run", "cpu")
    (newest,) = (tmp_path / "other" / "checkpoints").glob("*.ckpt")
    for own in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        own.unlink()
    newest.rename(tmp_path / "run" / "checkpoints" / newest.name)
    with pytest.raises(InputError, match=rf"{newest.name}: of another training than its run.json tells; remove it"):
        fit(slices, tiny(**recipe), tmp_path / "run", "cpu")


def test_a_killed_training_goes_on_to_the_bits_of_an_undisturbed_one(toy_slices, tmp_path):
    """A process that writes a checkpoint after every step, killed at once after different times; then finished."""
    script = (
        "import sys, tinynetwork, infnet.training.fit as f, infnet.training.checkpoints as c\n"
        "write = c.Checkpoints.__init__\n"
        "c.Checkpoints.__init__ = lambda self, folder, seconds, *rest: write(self, folder, 0, *rest)\n"
        "tinynetwork.NETWORKS['tiny'] = tinynetwork.TINY\n"
        "sys.exit(tinynetwork.main(sys.argv[1:]))"
    )
    options = [*TINY, "--epochs", "30", "--batch-size", "3", "--seed", "1", "--ema-decay", "0.9"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def start(run):
        command = [sys.executable, "-c", script, "train", str(toy_slices), "-o", str(run), *options]
        return subprocess.Popen(command, env=environment)

    checkpoints, seen = tmp_path / "run" / "checkpoints", [0]
    for pause in (0.0, 0.05):
        process = start(tmp_path / "run")
        while process.poll() is None and not list(checkpoints.glob(f"step-*{seen[-1] + 2}.ckpt")):
            time.sleep(0.01)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        seen.append(Checkpoints(checkpoints, 0, silent, "").newest()[1]["global_step"])
    assert seen == sorted(set(seen))  # every run went on from the one before
    assert [start(tmp_path / name).wait() for name in ("run", "undisturbed")] == [0, 0]
    resumed, undisturbed = (
        torch.load(tmp_path / name / "checkpoints" / "step-00000060.ckpt", weights_only=True)
        for name in ("run", "undisturbed")
    )
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(undisturbed[key][k], v) for k, v in resumed[key].items())


def test_processes_that_make_slices_change_none(toy_slices, tmp_path, monkeypatch):
    """As where CUDA trains; here they feed the CPU."""
    slices, recipe = read_labelled_slices(toy_slices), tiny(epochs=2, seed=3)
    alone = fit(slices, recipe, tmp_path / "alone", "cpu")
    for cores, processes, workers in ((16, 1, 8), (6, 1, 5), (16, 2, 7), (4, 1, 0), (16, 8, 0), (1, 1, 0)):
        with monkeypatch.context() as machine:
            machine.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)), raising=False)
            assert fit_module._workers(torch.device("cuda"), processes) == workers
            assert fit_module._workers(torch.device("cpu"), processes) == 0
    monkeypatch.setattr(fit_module, "_workers", lambda device, processes: 2)
    fed = fit(slices, recipe, tmp_path / "fed", "cpu")
    assert losses(tmp_path / "alone") == losses(tmp_path / "fed") and same_weights(alone, fed)


def test_short_memory_makes_smaller_steps_of_the_same_batch(toy_slices, tmp_path, monkeypatch, caplog):
    """A network that has memory for two slices; of each batch of five, all gradients count."""

    class Small(tinynetwork.TinyNetwork):
        def forward(self, x):
            if len(x) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(x)

    slices, recipe = read_labelled_slices(toy_slices), tiny(epochs=4, batch_size=5, seed=2)
    whole = fit(slices, recipe, tmp_path / "whole", "cpu")
    monkeypatch.setitem(NETWORKS, "tiny", replace(tinynetwork.TINY, build=Small))
    parted = fit(slices, recipe, tmp_path / "parted", "cpu")
    assert [r.args for r in caplog.records if r.name == "infnet.training.fit"] == [(5, 2), (5, 4)]
    assert losses(tmp_path / "parted", version=2) == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    for one, other in zip(whole.parameters(), parted.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_parts_of_a_batch_count_once_in_the_statistics_of_batch_normalisation(toy_slices):
    """Each part is looked at twice, but the running mean goes from 0 to 0.9 · 0.1 · m1 + 0.1 · m2."""
    dataset = SliceDataset(read_labelled_slices(toy_slices), 64, augment=False)
    batch = Sample(*map(torch.stack, zip(*(dataset[i, 0] for i in range(4)), strict=True)))
    module = InfectionModule(tiny({"batch_norm": True}), steps_per_epoch=1).train()
    convolution, norm = module.network.body[:2]
    first, second = (convolution(normalise(part)).mean((0, 2, 3)).detach() for part in batch.image.chunk(2))
    module.parts = 2
    module._loss_in_parts(batch).backward()
    torch.testing.assert_close(norm.running_mean, 0.09 * first + 0.1 * second)
    assert norm.momentum == 0.1 and convolution.weight.grad.abs().max() > 0


@pytest.mark.parametrize("network", ["deeplabv3+-s8", "deeplabv3+-s16"])
def test_a_network_that_pools_an_image_to_a_pixel_learns_from_one_image(network, toy_slices):
    """As the parts of a batch are where memory is short, or the shares of processes."""
    dataset = SliceDataset(read_labelled_slices(toy_slices), 64, augment=False)
    batch = Sample(*map(torch.stack, zip(*(dataset[i, 0] for i in range(2)), strict=True)))
    options = tinynetwork.SMALL_OPTIONS[network]
    module = FindingsModule(preset("modern", "findings", network=network, network_options=options), 1).train()
    pooled = module.network.body.body.decoder.aspp[0].convs[-1]
    module.parts = 2
    module._loss_in_parts(batch).backward()
    assert pooled[1].weight.grad.abs().max() > 0 and not pooled[2].running_mean.any()
    module.parts = 1
    module._loss_in_parts(batch).backward()
    assert pooled[2].running_mean.any(), "of several images the statistics are those of batch normalisation"


def test_one_small_image_that_cannot_be_normalised_is_told_before_the_training(toy_slices, tmp_path, monkeypatch):
    """Inf-Net's coarsest features of 32 pixels are one pixel: as the share of a process, and where memory is short."""
    slices, small = read_labelled_slices(toy_slices), {**SMALL, "batch_size": 2, "encoder_weights": "none"}
    recipe = Recipe(epochs=1, scales=(0.5, 1.0), **small)
    with pytest.raises(InputError, match="one image of a batch, and one image of 32 pixels has nothing to normalise"):
        fit(slices, recipe, tmp_path / "run", "cpu", devices=2)
    assert not (tmp_path / "run").exists()

    def no_memory(module, batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(InfectionModule, "loss", no_memory)
    with pytest.raises(OutOfMemoryError, match="a batch of 2 at once, and one image of 32 pixels"):
        fit(slices, recipe, tmp_path / "run", "cpu")
    fit_module._check_parts(replace(recipe, scales=(1.0,)), [1], 1, torch.device("cpu"))
    fit_module._check_parts(recipe, [1], 1, torch.device("cuda"))  # whose processes normalise together


def test_no_memory_for_one_slice_is_told(toy_slices, tmp_path, monkeypatch):
    class Smaller(tinynetwork.TinyNetwork):
        def forward(self, x):
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(NETWORKS, "tiny", replace(tinynetwork.TINY, build=Smaller))
    with pytest.raises(OutOfMemoryError, match="smaller network, size or batch"):
        fit(read_labelled_slices(toy_slices), tiny(epochs=1), tmp_path / "run", "cpu")


def test_a_run_folder_belongs_to_one_training(toy_slices, tmp_path, capsys):
    slices, recipe = read_labelled_slices(toy_slices), tiny(epochs=1)
    fit(slices, recipe, tmp_path / "run", "cpu")
    for other in (replace(recipe, learning_rate=0.5), replace(recipe, epochs=9)):
        with pytest.raises(InputError, match="holds another training"):
            fit(slices, other, tmp_path / "run", "cpu")
    with pytest.raises(InputError, match="holds another training"):
        fit(slices[1:], recipe, tmp_path / "run", "cpu")
    fit(slices, recipe, tmp_path / "run", "cpu")
    command = ["cross-validate", str(toy_slices), "-o", str(tmp_path / "cv"), *TINY, "--epochs", "1"]
    assert main([*command, "--folds", "2", "--only-fold", "0"]) == 0
    assert main([*command, "--folds", "3", "--only-fold", "0"]) == 3
    assert main([*command, "--folds", "2", "--only-fold", "0", "--extra", str(toy_slices)]) == 3
    first = make_model("first", fit(slices, recipe, tmp_path / "run", "cpu"))
    save_model(tmp_path / "first", first.card, first.network)
    # Its fold is done: only a look at where that started tells that it is not of this cross-validation.
    assert main([*command, "--folds", "2", "--only-fold", "0", "--initial", str(tmp_path / "first")]) == 3
    told = capsys.readouterr().err
    assert told.count("holds another training") == 2 and "also one of those to be held out" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network", "nonet"], "network nonet: there are inf-net,"),
        (["--network", "unet", "--task", "findings"], "it finds infection, not findings"),
        (["--network-option", "widht=3"], "widht"),
        (["--network-option", "edge_attention=no"], "edge_attention 'no': true or false"),
        (["--network", "fcn8s", "--network-option", "hidden=8.5"], "hidden 8.5: a whole number"),
        (["--network", "dense-unet", "--encoder", "vgg99"], "vgg99"),
        (["--network-option", "width"], "NAME=VALUE"),
        (["--network-option", "finest_level=7"], "finest_level 7"),
        (["--encoder", "vgg99"], "encoder vgg99"),
        (["--size", "16"], "size 16"),
        (["--scales", "0.01"], "scales (0.01,)"),
        (["--batch-size", "1"], "a batch of 1"),
        (["--epochs", "0"], "0 epochs"),
        (["--ema-decay", "1"], "EMA decay 1"),
        (["--gradient-clip", "-1"], "gradient clip -1"),
        (["--seed", "-1"], "seed -1"),
        (["--seed", "4294967296"], "seed 4294967296"),
        (["--scales", "nan"], "scales (nan,)"),
        (["--scales", "1", "inf"], "scales (1.0, inf)"),
        (["--learning-rate", "inf"], "learning rate inf"),
        (["--weight-decay", "inf"], "weight decay inf"),
        (["--gradient-clip", "inf"], "gradient clip inf"),
        (["--soft-share", "inf"], "soft share inf"),
        (["--healthy-share", "inf"], "healthy share inf"),
        (["--metrics", "nowhere.json"], "nowhere.json: not the metrics"),
        (["--calibrate"], "--calibrate needs --metrics"),
        (["--card", "nowhere.json"], "nowhere.json: not a model card"),
        (["--initial", "nowhere"], "No model 'nowhere'"),
        (["--extra", "nowhere"], "nowhere"),
        (["--task", "findings", "--priors", "nowhere"], "nowhere"),
        (["--precision", "16", "--accelerator", "cpu"], "Precision 16"),
        (["--devices", "0", "--accelerator", "cpu"], "0 devices: use one or more"),
    ],
)
def test_options_that_cannot_work_are_told_in_one_line(options, message, toy_slices, tmp_path, capsys):
    options = ["train", str(toy_slices), "-o", str(tmp_path / "run"), "--encoder-weights", "none", *options]
    assert main(options) in (3, 5, 6)
    told = capsys.readouterr().err.strip()
    assert message in told and "\n" not in told
    assert not (tmp_path / "run").exists()


def test_ctrl_c_ends_a_training_as_cancelled(toy_slices, tmp_path):
    def interrupt(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(CancelledError, match="last checkpoint"):
        fit(read_labelled_slices(toy_slices), tiny(epochs=1), tmp_path / "run", "cpu", progress=interrupt)


def test_augmentation_is_a_function_of_the_seed_and_keeps_labels_on_their_pixels(toy_slices):
    dataset = SliceDataset(read_labelled_slices(toy_slices), 96)
    one, same, other = dataset[0, 1], dataset[0, 1], dataset[0, 2]
    assert torch.equal(one.image, same.image) and not torch.equal(one.image, other.image)
    for seed in range(20):
        sample = dataset[seed % 6, seed]
        means = [sample.image[0][sample.labels == label].mean() for label in (0, 1, 2)]
        assert means[0] < means[1] < means[2]
        assert sample.image.min() >= 0 and sample.image.max() <= 1


def slices_with_and_without_disease(diseased, healthy):
    return [
        LabelledSlice(f"{i}", np.zeros((8, 8), np.uint8), np.full((8, 8), i < diseased, np.uint8))
        for i in range(diseased + healthy)
    ]


def test_sampler_draws_every_slice_once_an_epoch_in_an_order_of_its_own():
    sampler = SeededSampler(slices_with_and_without_disease(10, 0), seed=3, healthy_share=0.4)
    first, again = list(sampler), list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first == again != second
    assert sorted(i for i, _ in second) == list(range(10))


@pytest.mark.parametrize(
    ("diseased", "healthy", "share", "drawn"), [(10, 30, 0.4, 4), (10, 2, 0.4, 2), (10, 5, 0, 0), (0, 7, 0.4, 7)]
)
def test_sampler_draws_other_healthy_slices_every_epoch_as_many_as_their_share(diseased, healthy, share, drawn):
    sampler = SeededSampler(slices_with_and_without_disease(diseased, healthy), seed=3, healthy_share=share)
    seen = set()
    for epoch in range(40):
        sampler.set_epoch(epoch)
        indices = [i for i, _ in sampler]
        assert len(indices) == len(set(indices)) == len(sampler) == diseased + drawn
        assert set(range(diseased)) <= set(indices)
        seen |= {i for i in indices if i >= diseased}
    assert len(seen) == (healthy if drawn else 0)


@pytest.mark.parametrize(
    ("labelled", "soft", "share", "drawn"),
    [(5, 40, 2.0, 10), (5, 4, 2.0, 4), (5, 40, 0.0, 0), (5, 40, None, 40), (0, 9, 2.0, 9)],
)
def test_sampler_draws_soft_truths_as_many_as_their_share_and_healthy_slices_by_all_others(
    labelled, soft, share, drawn
):
    slices = slices_with_and_without_disease(labelled, 100)
    slices += [replace(s, soft=s.labels) for s in slices_with_and_without_disease(0, soft)]
    sampler = SeededSampler(slices, 3, 0.4, share)
    seen = set()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        indices = [i for i, _ in sampler]
        softs = {i for i in indices if slices[i].soft is not None}
        healthy = sum(slices[i].is_healthy for i in indices)
        assert len(indices) == len(set(indices)) == len(sampler) == labelled + drawn + healthy
        assert len(softs) == drawn and healthy == round(0.4 * (labelled + drawn))
        seen |= softs
    assert len(seen) == (soft if drawn else 0)


@pytest.mark.parametrize(("slices", "batch"), [(12, 4), (14, 4), (13, 4), (5, 4)])
@pytest.mark.parametrize("repeats", [1, 3])
def test_processes_share_every_batch_and_a_later_start_changes_none(slices, batch, repeats):
    def dealt(rank=0, processes=1, start=0):
        batches = DealtBatches(
            SeededSampler(slices_with_and_without_disease(slices, 0), 7, 0.4), batch, 3, repeats, rank, processes
        )
        batches.start = start
        return batches

    alone = list(dealt())
    assert len(alone) == len(dealt()) == 3 * dealt().steps_per_epoch
    for first, second, whole in zip(dealt(0, 2), dealt(1, 2), alone, strict=True):
        assert sorted(first + second) == sorted(whole) and len(first) == len(second)
    for start in range(len(alone) + 1):
        assert list(dealt(start=start)) == alone[start:]
        assert len(dealt(start=start)) == len(alone)
    drawn = [index for epoch in alone[: dealt().steps_per_epoch : repeats] for index, _ in epoch]
    assert len(set(drawn)) == len(drawn) == slices - (slices % batch == 1)


def test_two_processes_end_with_the_weights_of_one(tmp_path):
    """Over gloo, by torchrun and by --devices, with the same global batch.

    To float tolerance: the sums of the gradient are added up in another order. The network has no batch
    normalisation, whose statistics on CPUs are those of each process's own share.
    """
    data = make_slices(tmp_path / "slices", count=8)
    options = [str(data), *TINY, "--batch-size", "4", "--epochs", "3", "--precision", "32", "--progress", "json"]
    script = str(Path(tinynetwork.__file__))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    assert main(["train", *options, "-o", str(tmp_path / "alone")]) == 0
    alone = load_file(tmp_path / "alone" / "model" / "alone.safetensors")
    for name, launcher, more in (("torchrun", torchrun, []), ("devices", [], ["--devices", "2"])):
        run = tmp_path / name
        command = [sys.executable, *launcher, script, "train", *options, "-o", str(run), *more]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert [e["event"] for e in events] == ["progress"] * 6 + ["result"], "one process alone speaks"
        weights = load_file(run / "model" / f"{name}.safetensors")
        for key, value in alone.items():
            torch.testing.assert_close(weights[key], value, rtol=2e-3, atol=2e-3)  # they are in half precision
    start = fit(read_labelled_slices(data), tiny(batch_size=4, epochs=1, learning_rate=1e-9), tmp_path / "start", "cpu")
    assert (start.network.state_dict()["fine.weight"] - alone["fine.weight"].float()).abs().max() > 0.005


def test_a_batch_that_cannot_be_shared_is_refused(toy_slices, tmp_path):
    with pytest.raises(InputError, match="cannot be dealt evenly to 2"):
        fit(read_labelled_slices(toy_slices), tiny(epochs=1), tmp_path / "run", "cpu", devices=2)


def test_more_devices_than_there_are_is_refused(toy_slices, tmp_path, monkeypatch):
    """As on a machine with one graphics card."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("infnet.devices._refusal", lambda device: "")
    with pytest.raises(DeviceError, match="2 devices: use one or more, up to those of 'cuda'"):
        fit(read_labelled_slices(toy_slices), tiny(epochs=1), tmp_path / "run", "cuda", devices=2)
    assert not (tmp_path / "run").exists()


def test_scales_are_the_papers():
    assert Recipe().sizes() == (256, 352, 448)


def test_presets():
    paper = preset("paper")
    assert (paper.network, paper.network_options) == ("inf-net", {"encoder": "res2net50"})
    assert (paper.optimizer, paper.learning_rate, paper.schedule, paper.epochs) == ("adam", 1e-4, "constant", 100)
    assert (paper.batch_size, paper.gradient_clip, paper.augmentation, paper.ema_decay) == (24, 0.5, False, 0)
    assert (paper.multi_scale, paper.scales, paper.loss) == ("all", (0.75, 1.0, 1.25), "paper")
    assert preset("modern") == Recipe() and preset("modern", epochs=3) == Recipe(epochs=3)
    other = preset("paper", "findings", network="fcn8s")
    assert other.network_options == {} and other.task == "findings" and other.epochs == 200


def test_single_options_override_a_preset(toy_slices, tmp_path, monkeypatch):
    import infnet.training.fit as module

    asked = []

    def note(slices, recipe, *_, **__):
        asked.append((len(slices), recipe))
        raise InputError("seen")

    monkeypatch.setattr(module, "fit", note)
    command = ["train", str(toy_slices), "-o", str(tmp_path / "run")]
    options = ["--preset", "paper", "--encoder", "vgg16", "--network-option", "finest_level=2", "--augmentation"]
    assert main([*command, *options, "--loss", "paper-released-code", "--extra", str(toy_slices)]) == 3
    assert asked == [
        (
            12,
            preset(
                "paper",
                network_options={"encoder": "vgg16", "finest_level": 2},
                augmentation=True,
                loss="paper-released-code",
            ),
        )
    ]
    assert main([*command, "--task", "findings", "--base-channels", "8"]) == 3
    assert asked[-1] == (6, preset("modern", "findings", network_options={"base_channels": 8}))
    assert main([*command, "--network", "infection-guided-unet"]) == 3
    assert asked[-1] == (6, preset("modern", "findings"))
    assert main(command) == 3 and asked[-1] == (6, Recipe())


def test_half_precision_is_for_cuda(toy_slices, tmp_path):
    with pytest.raises(DeviceError, match="Precision 16"):
        fit(read_labelled_slices(toy_slices), tiny(), tmp_path / "run", "cpu", precision="16")


def test_folds_hold_every_slice_once():
    stems = [str(i) for i in range(52)]
    dealt = folds(stems, 5, seed=0)
    assert sorted(itertools.chain(*dealt)) == sorted(stems)
    assert sorted(map(len, dealt)) == [10, 10, 10, 11, 11]
    assert dealt == folds(stems[::-1], 5, seed=0) != folds(stems, 5, seed=1)


def test_from_training_to_prediction_on_the_command_line(toy_slices, tmp_path, capsys):
    """Both models trained, then used by name of their cards."""
    common = [str(toy_slices), "--epochs", "2", "--batch-size", "3", "--size", "64", "--progress", "json"]
    infection, findings = tmp_path / "infection", tmp_path / "findings"
    assert main(["train", *common, "-o", str(infection), "--encoder-weights", "none"]) == 0
    options = ["--task", "findings", "--base-channels", "4"]
    assert main(["train", *common, "-o", str(findings), *options]) == 0
    output = tmp_path / "predictions"
    models = ["--model", str(infection / "model"), "--labels-model", str(findings / "model"), "--runtime", "eager"]
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


def test_cross_validation_predicts_every_slice_by_a_network_that_has_not_seen_it(
    toy_slices, tmp_path, monkeypatch, capsys
):
    import infnet.training.cross_validation as module

    trained_on = []

    def watched_fit(slices, *rest, **more):
        trained_on.append([s.stem for s in slices])
        return fit(slices, *rest, **more)

    monkeypatch.setattr(module, "fit", watched_fit)
    for fold in (0, 1):
        extra = make_slices(tmp_path / f"extra-{fold}", count=1, seed=9 + fold)
        for folder in (extra / "Imgs", extra / "GT"):
            for path in folder.iterdir():
                path.rename(path.with_name(f"extra-of-{fold}{path.suffix}"))
    run = tmp_path / "run"
    options = [*TINY, "--epochs", "1", "--folds", "2", "--extra", str(tmp_path / "extra-{fold}")]
    options += ["--network-option", "consolidation_head=True"]
    (tmp_path / "extra-1").rename(tmp_path / "late")
    assert main(["cross-validate", str(toy_slices), "-o", str(run), *options]) == 3
    assert "extra-1" in capsys.readouterr().err and not run.exists(), "before the folds that could be trained"
    (tmp_path / "late").rename(tmp_path / "extra-1")
    assert main(["cross-validate", str(toy_slices), "-o", str(run), *options, "--only-fold", "1"]) == 0
    first, second = folds([str(i) for i in range(6)], 2, seed=0)
    assert sorted(p.stem for p in (run / "predictions").iterdir()) == second
    assert main(["cross-validate", str(toy_slices), "-o", str(run), *options]) == 0
    assert trained_on == [[*first, "extra-of-1"], [*second, "extra-of-0"]]
    assert [p.name for p in sorted((run / "fold-1" / "model").iterdir())] == ["fold-1.json", "fold-1.safetensors"]
    summary = json.loads((run / "metrics.json").read_text())
    assert sorted(summary["images"]) == [str(i) for i in range(6)]
    assert {name: m["images"] for name, m in summary["metrics"].items()} == {
        "dice": 6,
        "sensitivity": 6,
        "specificity": 6,
        "precision": sum(image["precision"] is not None for image in summary["images"].values()),
        "s_measure": 6,
        "e_measure": 6,
        "mae": 6,
        "threshold_mean_dice": 6,
        "calibrated_dice": 6,
        "ggo_dice": 6,
        "consolidation_dice": 6,
    }
    model = [*TINY, "--epochs", "1", "--network-option", "consolidation_head=True", "--seed", "4"]
    metrics = ["--metrics", str(run / "metrics.json"), "--calibrate"]
    train = ["train", str(toy_slices), "-o", str(tmp_path / "model"), *metrics]
    assert main([*train, *model]) == 0
    card = json.loads((tmp_path / "model" / "model" / "model.json").read_text())
    assert [card[key] for key in ("temperature", "offset")] == [
        summary["calibration"][key] for key in ("temperature", "offset")
    ]
    assert card["metrics"]["metrics"] == summary["metrics"]
    assert card["metrics"]["reliability"]["bins"] and card["metrics"]["calibration"]["reliability"]["bins"]
    assert main([*train, *model, "--epochs", "2"]) == 3
    assert "of another recipe (epochs)" in capsys.readouterr().err


def test_the_calibration_of_a_cross_validation_is_measured_on_other_folds(tmp_path):
    """Maps of sigmoid(z) whose pixels are infected with probability sigmoid(z / 2 - 1)."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (6, 90, 80))
    truths = random.random(logits.shape) < 1 / (1 + np.exp(1 - logits / 2))
    slices = [LabelledSlice(str(i), np.zeros((90, 80), np.uint8), t.astype(np.uint8)) for i, t in enumerate(truths)]
    (tmp_path / "predictions").mkdir()
    for i, z in enumerate(logits):
        map_ = (255 / (1 + np.exp(-z))).round().astype(np.uint8)
        Image.fromarray(map_).save(tmp_path / "predictions" / f"{i}.png")
    recipe = tiny()
    summary = summarise(slices, recipe, 3, tmp_path)
    calibration = summary["calibration"]
    assert (calibration["temperature"], calibration["offset"]) == pytest.approx((2, -1), abs=0.1)
    before, after = summary["reliability"], calibration["reliability"]
    assert after["expected_calibration_error"] < 0.02 < 0.1 < before["expected_calibration_error"]
    # At 0.5, the calibrated map is the plain one at the probability whose logit is 2.
    expected = [dice(z > 2, truth) for z, truth in zip(logits, truths, strict=True)]
    found = [summary["images"][str(i)]["calibrated_dice"] for i in range(6)]
    assert found == pytest.approx(expected, abs=0.04)
    assert summary["metrics"]["calibrated_dice"]["mean"] == pytest.approx(np.mean(found))
    # Of a slice's own truth, its calibration knows nothing.
    first, *_ = fold = folds([s.stem for s in slices], 3, recipe.seed)[0]
    changed = [replace(s, labels=np.ones_like(s.labels)) if s.stem in fold else s for s in slices]
    again = summarise(changed, recipe, 3, tmp_path)["images"][first]["calibrated_dice"]
    assert again == pytest.approx(dice(logits[int(first)] > 2, np.ones((90, 80), bool)), abs=0.04)


ABLATION = {"backbone": (), "+EA": ("edge_attention",), "+PPD": ("partial_decoder",), "+RA": ("reverse_attention",)}


@pytest.mark.parametrize("network", [*tinynetwork.SMALL_OPTIONS, *ABLATION])
def test_every_network_and_part_can_be_cross_validated(network, tmp_path):
    data, run = make_slices(tmp_path / "slices"), tmp_path / "run"
    if network in ABLATION:
        parts = dict.fromkeys(("edge_attention", "partial_decoder", "reverse_attention"), False)
        network_options = tinynetwork.SMALL_OPTIONS["inf-net"] | parts | dict.fromkeys(ABLATION[network], True)
        network = "inf-net"
    else:
        network_options = tinynetwork.SMALL_OPTIONS[network]
    options = [f"--network-option={name}={value}" for name, value in network_options.items()]
    options += ["--epochs", "1", "--size", "64", "--encoder-weights", "none", "--device", "cpu"]
    command = ["cross-validate", str(data), "-o", str(run), "--network", network, *options, "--folds", "3"]
    assert main([*command, "--only-fold", "0"]) == 0
    assert [p.stem for p in sorted((run / "predictions").iterdir())] == folds([str(i) for i in range(6)], 3, seed=0)[0]
    assert len(losses(run / "fold-0" / "training")) == 1
    assert not (run / "fold-0" / "training" / "checkpoints").exists()


def test_soft_truths_are_learnt_as_probabilities(tmp_path):
    """Slices of one grey, whose truth is infection with probability 0.3, are predicted at 0.3, not at 0 or 1."""
    random = np.random.default_rng(0)
    slices = [
        LabelledSlice(
            str(i),
            (100 + random.normal(0, 3, (64, 64))).astype(np.uint8),
            np.zeros((64, 64), np.uint8),
            soft=np.full((64, 64), 77, np.uint8),
        )
        for i in range(4)
    ]
    recipe = tiny(epochs=60, batch_size=4, augmentation=False, learning_rate=5e-2)
    model = make_model("soft", fit(slices, recipe, tmp_path / "run", "cpu"))
    answer = predict_infection(model, unit_range(slices[0].image)[None, None]).infection
    assert answer.mean() == pytest.approx(0.3, abs=0.05)
