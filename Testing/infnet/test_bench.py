"""``infnet bench``: what it counts, and that its numbers are of what they say."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from infnet import cli
from infnet.data.volumes import read_ct
from infnet.devices import supports_bf16
from infnet.errors import InfNetError
from infnet.inference import benchmark, job_benchmark
from infnet.inference.benchmark import REFERENCE, Way, measure_speed, original_model, slices_of
from infnet.inference.case import Settings
from infnet.inference.job_benchmark import Job, measure_job
from infnet.inference.runtimes.probabilities import Probabilities
from infnet.inference.slices import SliceLook
from infnet.machine import machine_facts
from infnet.networks import InfectionGuidedUNet, InfNet
from infnet.weights.cards import ModelCard
from infnet.weights.store import load_model, save_model


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
            p = image.copy()
            if name == "fused":
                p[0, 0, 0, 0] -= 0.25
            return Probabilities(p)

        return run

    monkeypatch.setattr(benchmark, "make_runtime", make_runtime)
    monkeypatch.setattr(benchmark, "_peak_memory_of_process", lambda *_: 1.0)
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: now[0])
    images = np.zeros((2, 1, 4, 4), np.float32)
    images[0, 0, 0] = 0.6
    eager, fused = measure_speed(models["infection"], (images,), 0.5, "cpu", repeats=3)
    assert calls[:16] == [("eager", 1), ("fused", 1), ("eager", 2), ("fused", 2)] * 4
    assert eager.one.median_ms == pytest.approx(400) and fused.one.median_ms == pytest.approx(100)
    assert fused.best.median_ms == pytest.approx(100) and fused.best.highest_ms == pytest.approx(100)
    assert (eager.difference, eager.dice, eager.changed) == (0, 1, 0)
    assert fused.difference == pytest.approx(0.25)
    assert fused.dice == pytest.approx(2 * 3 / 7) and fused.changed == pytest.approx(1 / 32)


def test_peak_memory_is_a_process_of_its_own(models):
    pytest.importorskip("resource")
    mb = benchmark._peak_memory_of_process(
        models["infection"], REFERENCE, (np.zeros((1, 1, 64, 64), np.float32),), "cpu"
    )
    assert 100 < mb < 4000


def test_a_whole_job_is_a_process_of_its_own(ct, models, tmp_path):
    settings = Settings(
        models["infection"],
        models["findings"],
        minimum_lesion_ml=0.5,
        lobe_source="none",
        device="cpu",
        runtime="eager",
    )
    steps = []
    job = measure_job(ct, settings, tmp_path / "study", lambda stage, *_: steps.append(stage))
    stages = ["start", "read", "lungs", "models", "network", "back-mapping", "quantification", "write", "end"]
    assert list(job.seconds) == stages and min(job.seconds.values()) >= 0
    assert job.seconds["start"] > 0.1 and job.processor_seconds > 1 and job.peak_memory_mb > 100
    assert {"read", "lungs", "infection", "write"} <= set(steps)
    provenance = json.loads((tmp_path / "study" / "result.json").read_text())["provenance"]
    assert provenance["runtime"] == "eager" and provenance["minimum_lesion_ml"] == 0.5


def test_a_job_that_fails_says_why(tmp_path, monkeypatch):
    with pytest.raises(InfNetError, match="no such file"):
        measure_job(tmp_path / "none.nrrd", Settings(), tmp_path / "study")
    monkeypatch.setattr(job_benchmark.sys, "executable", "false")
    with pytest.raises(InfNetError, match="ended without a word"):
        measure_job(tmp_path / "none.nrrd", Settings(), tmp_path / "study")


def test_the_share_outside_the_network_is_of_the_clock():
    job = Job(
        {"start": 20.0, "models": 30.0, "read": 1.0, "lungs": 2.0, "network": 16.0, "write": 1.0, "end": 10.0}, 0, None
    )
    assert job.share_outside_network == pytest.approx(0.8)
    assert job.share_outside_network_once_loaded == pytest.approx(0.2)


def test_the_original_is_the_papers_network(tmp_path):
    model = load_model(original_model(tmp_path, 64))
    assert model.card.network == {"name": "inf-net", "options": {"encoder": "res2net50"}}
    assert model.card.input_size == 64
    parameters = sum(p.numel() for p in model.network.parameters())
    assert round((parameters + 2048 * 1000 + 1000) / 1e6, 3) == 33.122, "with a classifier, as the paper counts them"


def test_the_command_prints_a_table_and_writes_json(ct, models, tmp_path, capsys, monkeypatch):
    job = Job({"lungs": 1.0, "models": 1.0, "network": 2.0}, 3.0, 123.0)
    asked = []
    monkeypatch.setattr(job_benchmark, "measure_job", lambda ct, settings, *_: asked.append(settings) or job)
    monkeypatch.setattr(benchmark, "_peak_memory_of_process", lambda *_: None)
    arguments = ["--ct", ct, "--json", tmp_path / "b.json", "--repeats", 1, "--device", "cpu"]
    named = ["--model", models["infection"], "--labels-model", models["findings"]]
    assert cli.main(["bench", *map(str, arguments + named)]) == 0
    assert asked == [Settings(models["infection"], models["findings"], device="cpu")]
    table = capsys.readouterr().out
    assert "outside the network: 50.0%, start, end and models apart 33.3%" in table and "fused     32" in table
    assert "peak memory: 123 MB" in table
    told = json.loads((tmp_path / "b.json").read_text())
    assert told["schema"] == "infnet-bench/2" and told["machine"]["torch"] == torch.__version__
    original = told["models"]["original"][0]["one"]["median_ms"]
    for task in ("infection", "findings", "original"):
        reference, fused = told["models"][task]
        assert reference["way"] == {"runtime": "eager", "precision": "32"} and reference["difference"] == 0
        assert fused["difference"] < 1e-3 and fused["one"]["batch_size"] == 1 and fused["best"]["median_ms"] > 0
    # Beside the original way: the same network, then the model.
    (line,) = (line for line in table[table.index("beside the original way") :].splitlines() if "fused" in line)
    ratios = [original / told["models"][name][1]["best"]["median_ms"] for name in ("original", "infection")]
    assert line.split()[2:] == [f"{ratio:.2f}x" for ratio in ratios]
    assert told["job"]["share_outside_network"] == 0.5 and told["job"]["seconds"]["network"] == 2


def test_bad_arguments_are_refused_before_the_work(tmp_path, capsys):
    assert cli.main(["bench", "--repeats", "0"]) == 3
    assert cli.main(["bench", "--json", str(tmp_path / "b.txt")]) == 7
    assert cli.main(["bench", "--ct", str(tmp_path / "none.nrrd")]) == 3
    assert "no such file" in capsys.readouterr().err


def test_machine_facts_are_plain_json():
    facts = json.loads(json.dumps(machine_facts()))
    assert facts["threads"] == torch.get_num_threads() and facts["processors"] >= 1


def test_machine_facts_are_told_with_a_pytorch_that_does_not_know_the_cpu(monkeypatch):
    """The oldest that pyproject.toml allows has no such function."""
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert machine_facts()["capabilities"] == [] and not supports_bf16("cpu")
