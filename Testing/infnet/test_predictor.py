"""The predictor's order, batches and memory, with networks whose answer is known."""

from queue import SimpleQueue

import numpy as np
import pytest
import torch
from infnet import devices
from infnet.devices import choose_device
from infnet.errors import DeviceError, InvalidModelError, OutOfMemoryError
from infnet.evaluation.calibration import calibrated
from infnet.inference.predictor import SlicePredictor, resize, stack
from infnet.inference.runtimes.pytorch import TorchRuntime
from infnet.inference.slices import SlicePrediction
from infnet.networks import InfNetMaps
from infnet.weights.cards import ModelCard
from infnet.weights.store import Model

CORNERS = [np.s_[0, 0], np.s_[0, -1], np.s_[-1, -1], np.s_[-1, 0]]
"""Where the first corner of a slice is in its mirror images, in their order."""


class Echo(torch.nn.Module):
    """Inf-Net's place: the infection is the grey value. Fails for batches of more than ``memory`` slices."""

    def __init__(self, memory=99, error=torch.OutOfMemoryError):
        super().__init__()
        self.memory, self.error, self.batches = memory, error, []

    def forward(self, x):
        if len(x) > self.memory:
            raise self.error("DefaultCPUAllocator: can't allocate memory")
        self.batches.append(len(x))
        grey = x[:, :1] * 0.229 + 0.485
        return InfNetMaps(*[torch.logit(grey, 1e-6)] * 5)


class DarkIsConsolidation(torch.nn.Module):
    """The multi-class network's place: consolidation where the image is darker than its prior."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, image, prior):
        self.batches.append(len(image))
        return torch.cat([image[:, :1], image[:, :1], prior[:, :1] + 0.01], 1) * 1000


class GatedEcho(Echo):
    """With a gate, which is the largest grey value, and the head of the findings: what is bright is consolidation."""

    def forward(self, x):
        maps = super().forward(x)
        return maps._replace(consolidation=torch.where(maps.Sg > 0, 9.0, -9.0), gate=maps.Sg.amax((1, 2, 3)))


def model(task, network, alone=False, **card):
    description = {"summary": "", "network": {}, "input_size": 64, "licence": ""}
    if alone:
        description["network"] = {"name": "echo", "options": {"consolidation_head": True}}
    return Model(ModelCard("echo" if task == "infection" else "dark", task, **description, **card), network)


def predictor(network, batch_size=4, alone=False, precision="32", threshold=None, findings=None, device="cpu", **card):
    infection = model("infection", network, alone, **card)
    second = None if alone else model("findings", findings or DarkIsConsolidation())
    return SlicePredictor(infection, second, device, batch_size, precision, "eager", threshold)


def test_predictions_come_in_order_and_in_the_slices_sizes():
    network = Echo()
    slices = [np.full((40 + i, 90 - i), 0.3 + 0.05 * i, np.float32) for i in range(11)]
    predictions = list(predictor(network)(iter(slices)))
    assert len(predictions) == 11
    for prediction, slice_ in zip(predictions, slices, strict=True):
        assert prediction.infection.shape == prediction.consolidation.shape == slice_.shape
        np.testing.assert_allclose(prediction.infection, slice_, atol=1e-4)
    assert network.batches == [4] * 8 + [3] * 4  # four mirror images of each batch


def test_a_place_keeps_its_place():
    """A bright corner in a slice that is not square stays in that corner through the four mirror images."""
    slice_ = np.full((60, 100), 0.2, np.float32)
    slice_[:15, :20] = 0.9
    (prediction,) = predictor(Echo())([slice_])
    assert prediction.infection[5, 5] > 0.8
    assert max(prediction.infection[5, -5], prediction.infection[-5, 5], prediction.infection[-5, -5]) < 0.25


def test_the_networks_look_at_the_next_batch_while_the_caller_has_this_one():
    class Told(Echo):
        def forward(self, x):
            calls.put(len(x))
            return super().forward(x)

    calls = SimpleQueue()
    predictions = predictor(Told(), batch_size=1)([np.full((50, 50), 0.5, np.float32)] * 3)
    next(predictions)
    assert [calls.get(timeout=60) for _ in range(8)] == [1] * 8, "the second slice too, which nobody has asked for"


def test_the_next_batch_is_rendered_while_the_networks_look_and_no_further():
    """Memory grows with the batch: of twelve slices, at most three batches are there at any time."""
    rendered = []

    def slices():
        for i in range(12):
            rendered.append(i)
            yield np.full((50, 50), 0.5, np.float32)

    taken = 0
    for _ in predictor(Echo(), batch_size=2)(slices()):
        taken += 1
        assert len(rendered) <= taken + 1 + 4, "besides the rest of this batch, one with the networks and one more"
    assert taken == len(rendered) == 12


def test_a_slice_that_cannot_be_rendered_ends_the_run_after_those_before():
    def slices():
        yield from [np.full((50, 50), 0.5, np.float32)] * 5
        raise ValueError("no slice")

    predictions = predictor(Echo(), batch_size=2)(slices())
    assert len([next(predictions) for _ in range(4)]) == 4
    with pytest.raises(ValueError, match="no slice"):
        next(predictions)


def test_short_memory_in_one_batch_makes_the_next_ones_smaller():
    network = Echo(memory=3)
    slices = [np.full((50, 50), grey, np.float32) for grey in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.3)]
    predictions = list(predictor(network)(slices))
    assert [round(float(p.infection.mean()), 1) for p in predictions] == [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.3]
    assert set(network.batches) == {2}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_short_memory_halves_the_batch_and_loses_no_slice(error):
    network = Echo(memory=1, error=error)
    slices = [np.full((50, 50), 0.1 * i, np.float32) for i in range(1, 7)]
    predictions = list(predictor(network)(slices))
    assert [round(float(p.infection.mean()), 1) for p in predictions] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    with pytest.raises(OutOfMemoryError, match="one slice"):
        list(predictor(Echo(memory=0, error=error))(slices))


class Small(torch.nn.Module):
    """A boundary that cannot be had here: the CPU, called meta, is a device that is short of memory at times."""

    def __init__(self, monkeypatch, memory):
        super().__init__()
        self.echo, self.device, self.memory, self.batches = Echo(), "cpu", iter(memory), []
        use = TorchRuntime.use

        def use_the_cpu(runtime, device, precision):
            self.device = device
            use(runtime, "cpu", precision)

        monkeypatch.setattr(TorchRuntime, "use", use_the_cpu)
        monkeypatch.setattr("infnet.inference.predictor.device_name", str)

    def forward(self, x):
        if self.device == "meta" and not next(self.memory):
            raise torch.OutOfMemoryError
        self.batches.append((self.device, len(x)))
        return self.echo(x)


def test_a_device_too_small_for_one_slice_hands_over_to_the_cpu_and_says_so(monkeypatch):
    network = Small(monkeypatch, [True] * 8 + [False])  # two slices, four mirror images each
    asked = predictor(network, batch_size=1, device="meta")
    predictions = list(asked([np.full((50, 50), 0.1 * i, np.float32) for i in range(1, 10)]))
    assert [round(float(p.infection.mean()), 1) for p in predictions] == [round(0.1 * i, 1) for i in range(1, 10)]
    assert asked.provenance["device"] == "cpu" and asked.provenance["precision"] == "float32"
    (warning,) = asked.warnings
    assert "meta had not enough memory" in warning


def test_the_next_case_starts_on_the_device_again(monkeypatch):
    """After a case with a shortage its results, and those of the case after the next shortage, are of that case."""
    network = Small(monkeypatch, [False, False, *[True] * 4, False, False])
    asked = predictor(network, batch_size=2, device="meta")
    slices = [np.full((50, 50), 0.5, np.float32)] * 2
    devices, warnings = [], []
    for _ in range(3):
        list(asked(slices))
        devices.append(asked.provenance["device"])
        warnings.append(len(asked.warnings))
    assert devices == ["cpu", "meta", "cpu"] and warnings == [1, 0, 1]
    assert network.batches == [*[("cpu", 2)] * 4, *[("meta", 2)] * 4, *[("cpu", 2)] * 4]


def test_smaller_batches_are_those_of_one_case():
    network = Echo(memory=2)
    asked = predictor(network)
    list(asked([np.full((50, 50), 0.5, np.float32)] * 4))
    network.memory = 4
    list(asked([np.full((50, 50), 0.5, np.float32)] * 4))
    assert network.batches == [2] * 8 + [4] * 4


def test_other_errors_are_not_taken_for_short_memory():
    class Broken(Echo):
        def forward(self, x):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(predictor(Broken())([np.zeros((50, 50), np.float32)]))


def test_labels_are_findings_within_the_infection():
    prediction = SlicePrediction(
        np.array([[0.49, 0.5, 0.9, 0.1]], np.float32), np.array([[0.9, 0.4, 0.6, 0.2]], np.float32)
    )
    assert prediction.labels(0.5).tolist() == [[0, 1, 2, 0]]
    assert prediction.labels(0.95).tolist() == [[0, 0, 0, 0]]


def two_halves(bright):
    slice_ = np.full((64, 64), 0.1, np.float32)
    slice_[:, :20] = bright
    return slice_


def test_one_model_can_tell_the_findings_by_itself():
    (prediction,) = predictor(GatedEcho(), alone=True)([two_halves(0.8)])
    assert prediction.labels(0.5)[:, :18].min() == 2 and prediction.labels(0.5)[:, 22:].max() == 0
    assert predictor(GatedEcho(), alone=True).provenance["findings_model"] == "echo"
    with pytest.raises(InvalidModelError, match="does not tell the findings apart"):
        SlicePredictor(model("infection", GatedEcho()), None, "cpu")


@pytest.mark.parametrize("alone", [False, True])
def test_the_gate_is_told_and_empties_slices_below_the_models_threshold(alone):
    slices = [two_halves(bright) for bright in (0.3, 0.8, 0.4, 0.7)]
    told = list(predictor(GatedEcho(), alone=alone)(slices))
    assert [round(p.gate, 2) for p in told] == [0.3, 0.8, 0.4, 0.7]
    assert all(p.infection.max() > 0.2 for p in told), "by itself the gate changes nothing"
    assert all(p.passed for p in told)
    network, findings = GatedEcho(), DarkIsConsolidation()
    gated = predictor(network, alone=alone, findings=findings, gate_threshold=0.5, threshold=0.2)
    emptied = list(gated(slices))
    assert [p.gate for p in emptied] == [p.gate for p in told]
    assert [p.passed for p in emptied] == [False, True, False, True]
    for p, before in zip(emptied, told, strict=True):
        assert np.array_equal(p.infection, before.infection * p.passed)
        assert np.array_equal(p.consolidation, before.consolidation * p.passed)
    assert network.batches == [4, 2, 2, 2], "no mirror images of what did not pass"
    assert findings.batches == ([] if alone else [2]), "the multi-class network sees the two that passed"
    assert not any(p.infection.any() or p.consolidation.any() for p in gated([slices[0], slices[2]]))
    assert network.batches[4:] == [2] and len(findings.batches) == (not alone)
    assert next(predictor(Echo())(slices)).gate is None


class LeftOnly(GatedEcho):
    """It sees what is bright only on the left: a mean over mirror images is half of that."""

    def forward(self, x):
        x = x.clone()
        x[..., 32:] = -3
        return super().forward(x)


def test_a_slice_that_shows_next_to_nothing_is_looked_at_once():
    network = LeftOnly()
    slices = [two_halves(bright) for bright in (0.19, 0.8, 0.1, 0.21)]
    told = list(predictor(network, alone=True)(slices))
    assert [round(float(p.infection.max()), 2) for p in told] == [0.19, 0.4, 0.1, 0.11]
    assert network.batches == [4, 2, 2, 2] and all(p.passed for p in told)
    # What was looked at once is told as it was seen: findings of any threshold, not emptied.
    assert told[0].labels(0.15).max() > 0 and told[2].labels(0.05).max() > 0


@pytest.mark.parametrize(("count", "highest"), [(1, 0.8), (2, 0.4), (4, 0.4)])
def test_the_mean_is_over_as_many_mirror_images_as_are_asked_for(count, highest):
    """The second is the slice from right to left."""
    network = LeftOnly()
    asked = SlicePredictor(model("infection", network, True), None, "cpu", runtime="eager", mirror_images=count)
    (told,) = asked([np.full((64, 64), 0.8, np.float32)])
    assert told.infection.max() == pytest.approx(highest, abs=0.01)
    assert network.batches == [1] * count and asked.provenance["mirror_images"] == count


@pytest.mark.parametrize(
    ("count", "neighbours", "turns"),
    [
        (4, 1, ["0123"]),
        (4, 2, ["02", "13"]),
        (4, 3, ["02", "13"]),
        (4, 9, ["0", "1", "2", "3"]),
        (2, 9, ["0", "1"]),
        (1, 9, ["0"]),
        (2, 0, ["01"]),
    ],
)
def test_slices_whose_maps_are_averaged_share_the_mirror_images(count, neighbours, turns):
    """In whatever batches they come; and each is told the right way round."""

    class Corners(GatedEcho):
        def forward(self, x):
            seen.extend(i for image in x for i, corner in enumerate(CORNERS) if image[0][corner] > 0.5)
            return super().forward(x)

    seen = []
    slice_ = np.full((64, 64), 0.3, np.float32)
    slice_[:20, :20] = 0.9
    asked = SlicePredictor(model("infection", Corners(), True), None, "cpu", 3, "32", "eager", mirror_images=count)
    told = list(asked([slice_] * 8, neighbours))
    assert sorted(seen) == sorted(int(turn) for i in range(8) for turn in turns[i % len(turns)])
    assert asked.provenance["slices_sharing_mirror_images"] == len(turns)
    for prediction in told:
        np.testing.assert_allclose(prediction.infection, slice_, atol=1e-4)


def test_a_gate_is_the_mean_of_the_mirror_images_once_it_is_passed():
    """A network that is surer of a slice whose bright half is on the left."""

    class LeftGate(Echo):
        def forward(self, x):
            maps = super().forward(x)
            return maps._replace(gate=torch.where(maps.Sg[..., :20].amax((1, 2, 3)) > 0, 2.0, -2.0))

    sure, unsure = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))
    left = two_halves(0.8)
    told = list(predictor(LeftGate(), gate_threshold=0.5)([left, left[:, ::-1].copy()]))
    assert [p.gate for p in told] == pytest.approx([(sure + unsure) / 2, unsure])
    assert [p.passed for p in told] == [True, False]


@pytest.mark.parametrize(("threshold", "shown"), [(None, 1), (0.9, 1), (0.03, 2), (0.01, 3)])
def test_what_has_no_infected_pixel_is_not_shown_to_the_findings_network(threshold, shown):
    """It has no say there; its answers elsewhere, and all labels, are those of a network that is shown everything.

    From 0.05 on it is asked whatever the threshold, so that another one needs no network.
    """
    slices = [np.full((64, 64), grey, np.float32) for grey in (0.02, 0.8, 0.04)]
    findings = DarkIsConsolidation()
    asked = predictor(Echo(), findings=findings, threshold=threshold)
    predictions = list(asked(slices))
    assert sum(findings.batches) == shown
    everything = list(predictor(Echo(), threshold=0.01)(slices))
    for one, other in zip(predictions, everything, strict=True):
        assert np.array_equal(one.infection, other.infection)
        assert np.array_equal(one.labels(asked.threshold), other.labels(asked.threshold))
        assert not one.consolidation.any() or np.array_equal(one.consolidation, other.consolidation)


def test_the_networks_are_not_kept_beside_their_runtime():
    """OpenVINO has its own copy; a second one would be a hundred megabytes for nothing."""
    infection = model("infection", Echo())
    runtime = predictor(infection.network)
    assert not any(isinstance(value, Model | torch.nn.Module) for value in vars(runtime).values())


def test_the_cards_calibration_is_that_which_was_fitted():
    (prediction,) = predictor(Echo(), temperature=2.0, offset=-0.5)([np.full((64, 64), 0.8, np.float32)])
    expected = calibrated(np.array([0.8]), 2.0, -0.5)
    assert expected == pytest.approx(1 / (1 + np.exp(0.5) / 2))  # half the logit of 0.8 is log 2
    np.testing.assert_allclose(prediction.infection, expected[0], atol=1e-4)


def test_precision_is_that_of_the_networks_arithmetic():
    class Convolution(Echo):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 1, 1)

        def forward(self, x):
            logits = self.layer(x)
            self.dtype = logits.dtype
            return InfNetMaps(logits)

    network = Convolution()
    answers = {}
    for precision, dtype in (("32", torch.float32), ("bf16", torch.bfloat16)):
        asked = predictor(network, precision=precision)
        (answers[precision],) = asked([two_halves(0.8)])
        assert network.dtype == dtype
        assert asked.provenance["precision"] == str(dtype).removeprefix("torch.")
    assert answers["bf16"].infection.dtype == np.float32
    np.testing.assert_allclose(answers["bf16"].infection, answers["32"].infection, atol=0.02)
    with pytest.raises(DeviceError, match="Precision 16"):
        predictor(network, precision="16")


def test_provenance_tells_how_the_models_were_asked():
    provenance = predictor(GatedEcho(), gate_threshold=0.25).provenance
    assert provenance["mirror_images"] == 4 and provenance["mirrored_from"] == 0.2
    assert provenance["gate_threshold"] == 0.25


def test_models_of_the_wrong_task_are_refused():
    echo = model("infection", Echo())
    with pytest.raises(InvalidModelError, match="echo finds infection, not findings"):
        SlicePredictor(echo, echo, "cpu")


@pytest.mark.parametrize("name", ["cuda:99", "tpu9", "meta"])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(DeviceError, match=name):
        choose_device(name)


def test_a_card_that_cannot_compute_is_left_alone_and_told_where_it_is_asked_for(monkeypatch):
    def refuse(*_, device):
        assert device.type == "cuda"
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel …")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch, "ones", refuse)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match=r"'cuda' cannot compute \(.*on the device\); use --device"):
        choose_device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == torch.device("cuda:0"), "which card is whose is not settled yet"


def test_without_a_driver_the_cpu_is_told_without_pytorch(monkeypatch):
    def refuse(*_):
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(devices.sys, "platform", "linux")
    monkeypatch.setattr(devices, "choose_device", lambda name: f"asked for {name}")
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda _: None)
    assert devices.device_name("auto") == "asked for auto"
    monkeypatch.setattr(devices.ctypes, "CDLL", refuse)
    assert devices.device_name("auto") == devices.device_name("cpu") == "cpu"
    assert devices.device_name("cuda:1") == "asked for cuda:1"
    monkeypatch.setattr(devices, "version", lambda _: "2.9.1+rocm6.4")  # AMD's driver, which answers as CUDA
    assert devices.device_name("auto") == "asked for auto"
    monkeypatch.setattr(devices, "version", lambda _: "2.9.1")
    monkeypatch.setattr(devices.sys, "platform", "darwin")
    assert devices.device_name("auto") == "asked for auto"


def test_the_device_is_the_same_with_and_without_pytorch():
    assert devices.device_name("auto") == str(choose_device("auto"))


@pytest.mark.parametrize("shape", [(352, 352), (500, 333), (97, 411), (20, 30), (2, 3), (1, 1), (1500, 60)])
def test_sizes_are_changed_as_pytorch_changes_them(shape):
    """`stack` and `resize`, and the interpolation that the networks were trained with."""
    image = np.random.default_rng(0).random(shape, np.float32)
    for made, size in ((stack([image], 64)[0], (64, 64)), (resize(image[None], (90, 41))[None], (90, 41))):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(image)[None, None], size, mode="bilinear", antialias=True
        )
        np.testing.assert_allclose(made, expected[0], rtol=0, atol=2e-6)


def test_auto_is_a_device_that_works():
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2
