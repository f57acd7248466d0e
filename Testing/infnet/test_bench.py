"""``infnet bench``: what it counts, and that its numbers are of what they say."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from infnet import cli
from infnet.data.volumes import read_ct
from infnet.inference import benchmark
from infnet.inference.benchmark import REFERENCE, Way, measure_job, measure_speed, share_outside_network, slices_of
from infnet.inference.case import Settings
from infnet.inference.predictor import SlicePredictor
from infnet.inference.runtimes.probabilities import Probabilities
from infnet.inference.slices import SliceLook
from infnet.machine import machine_facts
from infnet.networks import InfectionGuidedUNet, InfNet
from infnet.weights.cards import ModelCard
from infnet.weights.store import save_model


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "ct.nrrd"
    benchmark.write_phantom(path)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two small models with random weights, by path."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    options = {"encoder": "efficientnet_lite0"}
    networks = {
        "infection": ({"name": "inf-net", "options": options}, InfNet(**options)),
        "findings": ({"name": "infection-guided-unet", "options": {"base_channels": 4}}, InfectionGuidedUNet(4)),
    }
    for task, (network, weights) in networks.items():
        save_model(folder / task, ModelCard(task, task, "", network, 64, ""), weights)
    return {task: str(folder / task) for task in networks}


@pytest.fixture(autouse=True)
def two_ways(monkeypatch):
    monkeypatch.setattr(benchmark, "ways", lambda device: [REFERENCE, Way("fused", "32")])
    monkeypatch.setattr(benchmark, "BATCH_SIZES", (1, 2))


def test_the_phantom_is_a_chest_with_two_lungs(ct):
    image, _ = read_ct(ct)
    slices = slices_of(image, SliceLook(), 3)
    assert len(slices) == 3
    assert all(s.dtype == np.float32 and 0 <= s.min() < 0.3 and 0.7 < s.max() <= 1 for s in slices)
    ggo = np.count_nonzero(abs(sitk.GetArrayFromImage(image) + 550) < 60)
    assert ggo > 5000, "an infection to be found"


def test_every_way_takes_turns_and_the_first_round_does_not_count(monkeypatch, models):
    """Runtimes whose answers, and whose times on a clock of ours, are known."""
    now = [0.0]
    calls = []

    def make_runtime(name, model, device, precision):
        def run(image):
            cost = {"eager": 0.4, "fused": 0.1}[name]
            calls.append((name, len(image)))
            now[0] += cost * len(image) if len(calls) > 4 else 99  # the warm-up round is slow
            p = image.clone()
            if name == "fused":
                p[0, 0, 0, 0] -= 0.25
            return Probabilities(p)

        return run

    monkeypatch.setattr(benchmark, "make_runtime", make_runtime)
    monkeypatch.setattr(benchmark, "_peak_memory_of_process", lambda *_: 1.0)
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: now[0])
    images = torch.zeros(2, 1, 4, 4)
    images[0, 0, 0] = 0.6
    eager, fused = measure_speed(models["infection"], (images,), 0.5, torch.device("cpu"), repeats=3)
    assert calls[:16] == [("eager", 1), ("fused", 1), ("eager", 2), ("fused", 2)] * 4
    assert eager.one.median_ms == pytest.approx(400) and fused.one.median_ms == pytest.approx(100)
    assert fused.best.median_ms == pytest.approx(100) and fused.best.highest_ms == pytest.approx(100)
    assert (eager.difference, eager.dice, eager.changed) == (0, 1, 0)
    assert fused.difference == pytest.approx(0.25)
    assert fused.dice == pytest.approx(2 * 3 / 7) and fused.changed == pytest.approx(1 / 32)


def test_peak_memory_is_a_process_of_its_own(models):
    pytest.importorskip("resource")
    mb = benchmark._peak_memory_of_process(
        models["infection"], REFERENCE, (torch.rand(1, 1, 64, 64),), torch.device("cpu")
    )
    assert 100 < mb < 4000


def test_a_jobs_stages_are_timed(ct, models, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark.subprocess, "run", lambda *_, **__: None)
    settings = Settings(models["infection"], models["findings"], lobe_source="none", device="cpu", runtime="eager")
    seconds = measure_job(ct, settings, tmp_path / "study")
    stages = ["import", "read", "models", "lungs", "slices", "network", "back-mapping", "quantification", "write"]
    assert list(seconds) == stages
    assert all(value >= 0 for value in seconds.values())
    assert seconds["network"] > seconds["slices"] > 0
    assert (tmp_path / "study" / "result.json").is_file()


def test_the_share_outside_the_network_is_of_the_jobs_own_stages():
    seconds = {"import": 50, "models": 50, "slices": 50, "read": 1, "lungs": 2, "network": 16, "write": 1}
    assert share_outside_network(seconds) == pytest.approx(0.2)


def test_the_command_prints_a_table_and_writes_json(ct, models, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "measure_job", lambda *_: {"lungs": 1.0, "slices": 5.0, "network": 3.0})
    monkeypatch.setattr(benchmark, "_peak_memory_of_process", lambda *_: None)
    arguments = ["--ct", ct, "--json", tmp_path / "b.json", "--repeats", 1, "--device", "cpu"]
    named = ["--model", models["infection"], "--labels-model", models["findings"]]
    assert cli.main(["bench", *map(str, arguments + named)]) == 0
    table = capsys.readouterr().out
    assert "outside the network: 25.0%" in table and "fused     32" in table
    told = json.loads((tmp_path / "b.json").read_text())
    assert told["schema"] == "infnet-bench/1" and told["machine"]["torch"] == torch.__version__
    for task in ("infection", "findings"):
        reference, fused = told["models"][task]
        assert reference["way"] == {"runtime": "eager", "precision": "32"} and reference["difference"] == 0
        assert fused["difference"] < 1e-3 and fused["one"]["batch_size"] == 1 and fused["best"]["median_ms"] > 0


def test_bad_arguments_are_refused_before_the_work(tmp_path, capsys):
    assert cli.main(["bench", "--repeats", "0"]) == 3
    assert cli.main(["bench", "--json", str(tmp_path / "b.txt")]) == 7
    assert cli.main(["bench", "--ct", str(tmp_path / "none.nrrd")]) == 3
    assert "no such file" in capsys.readouterr().err


def test_machine_facts_are_plain_json():
    facts = json.loads(json.dumps(machine_facts()))
    assert facts["threads"] == torch.get_num_threads() and facts["processors"] >= 1


def test_watching_changes_no_answer(models):
    slices = [np.random.default_rng(i).random((40, 50), np.float32) for i in range(3)]
    names = (models["infection"], models["findings"], "cpu", "32", "eager")
    watched = benchmark._Watched.from_models(*names)
    for one, other in zip(watched(iter(slices)), SlicePredictor.from_models(*names)(slices), strict=True):
        assert np.array_equal(one.infection, other.infection)
    assert watched.waiting > 0 and watched.rendering > 0
