"""Every runtime answers as eager float32 does, and folding leaves alone what cannot be folded."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from infnet.errors import DeviceError, MissingPackageError
from infnet.inference import runtimes
from infnet.inference.runtimes import batch_norm, choose_runtime, make_runtime
from infnet.inference.runtimes.batch_norm import NotFoldableError, fold_batch_norms
from infnet.inference.runtimes.modules import TensorProbabilities
from infnet.inference.runtimes.probabilities import Probabilities
from infnet.inference.runtimes.pytorch import TorchRuntime, to_device
from infnet.networks import NETWORKS, InfectionGuidedUNet, build_network
from infnet.weights.cards import ModelCard
from infnet.weights.store import Model
from tinynetwork import SMALL_OPTIONS, TinyNetwork
from torch import nn

CPU = "cpu"
HEADS = {"consolidation_head": True, "gate_head": True}
# Batch normalisations that stand behind no convolution: DenseNet's before it, Attention-UNet's behind a transposed one.
LEFT = {"dense-unet": 0.6, "attention-unet": 0.2}


class Tuple(nn.Module):
    """The network with a tuple for its answer, whatever its task."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *inputs):
        answer = self.network(*inputs)
        return answer if isinstance(answer, tuple) else (answer,)


def with_statistics(network):
    """The network with batch normalisations that are far from doing nothing, and answers of moderate size."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval()


def norms(module):
    return sum(isinstance(child, nn.BatchNorm2d) for child in module.modules())


def grey(count=1):
    return np.random.default_rng(0).random((count, 1, 32, 32), np.float32)


def model(task="infection", size=32, **options):
    torch.manual_seed(0)
    network = TinyNetwork(batch_norm=True, **options) if task == "infection" else InfectionGuidedUNet(base_channels=4)
    card = ModelCard("small", task, "", {}, size, "")
    return Model(card, with_statistics(network))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_registry_can_be_folded(name):
    torch.manual_seed(0)
    options = {**SMALL_OPTIONS[name], **({"finest_level": 2, **HEADS} if name == "inf-net" else {})}
    network = Tuple(with_statistics(build_network(name, options)))
    inputs = torch.rand(1 if NETWORKS[name].task == "infection" else 2, 1, 3, 64, 64).unbind()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold_batch_norms(network, *inputs)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    left = norms(folded) / max(norms(network), 1)  # FCN-8s has none
    assert left <= LEFT.get(name, 0), f"{left:.0%} are left"
    other = [torch.rand(2, 3, 64, 64) for _ in inputs]
    with torch.no_grad():
        for expected, answer in zip(network(*other), folded(*other), strict=True):
            if expected is not None:
                torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


class TwoReaders(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 2, 3), with_statistics(nn.BatchNorm2d(2))

    def forward(self, x):
        y = self.convolution(x)
        return (y + self.norm(y),)


class InPlaceBetween(TwoReaders):
    def forward(self, x):
        return (self.norm(self.convolution(x).relu_()),)


class RunTwice(TwoReaders):
    def forward(self, x):
        return (self.norm(self.convolution(x)) + self.norm(self.convolution(x + 1)),)


def test_a_second_reader_of_the_convolution_is_noticed():
    with pytest.raises(NotFoldableError):
        fold_batch_norms(TwoReaders(), torch.rand(1, 1, 8, 8))


@pytest.mark.parametrize("kind", [InPlaceBetween, RunTwice])
def test_what_is_no_plain_pair_is_left_alone(kind):
    module = kind().eval()
    x = torch.rand(1, 1, 8, 8)
    folded = fold_batch_norms(module, x)
    assert norms(folded) == 1
    torch.testing.assert_close(folded(x), module(x))


@pytest.mark.parametrize("name", ["eager", "fused", "openvino"])
@pytest.mark.parametrize(("task", "options"), [("infection", {}), ("infection", HEADS), ("findings", {})])
def test_runtimes_agree_for_any_batch(name, task, options):
    if name == "openvino":
        pytest.importorskip("openvino")
    small = model(task, **options)
    network = small.network
    images = [grey(3) for _ in range(1 if task == "infection" else 2)]
    with torch.no_grad():
        mean, sd = (torch.tensor(c).view(3, 1, 1) for c in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        said = network(*((torch.from_numpy(x) - mean) / sd for x in images))
    if task == "infection":
        expected = TensorProbabilities(
            torch.sigmoid(said.S3),
            torch.sigmoid(said.consolidation) if options else None,
            torch.sigmoid(said.gate) if options else None,
        )
    else:
        expected = TensorProbabilities(consolidation=torch.sigmoid(said[:, 2:] - said[:, 1:2]))
    runtime = make_runtime(name, small, CPU)
    for count in (3, 1):
        answer = runtime(*(x[:count] for x in images))
        for field, value, truth in zip(Probabilities._fields, answer, expected, strict=True):
            assert (value is None) == (truth is None), field
            if truth is not None:
                assert value.dtype == np.float32
                np.testing.assert_allclose(value, truth[:count], rtol=0, atol=2e-5)
    assert norms(network) == norms(model(task, **options).network), "the model itself is not folded"


@pytest.mark.parametrize(("precision", "hint"), [("32", "f32"), ("bf16", "bf16")])
def test_openvino_computes_in_the_precision_asked_for(precision, hint):
    openvino = pytest.importorskip("openvino")
    if hint == "bf16" and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("the processor has no bfloat16")
    runtime = make_runtime("openvino", model(), CPU, precision)
    assert runtime._request.get_compiled_model().get_property("INFERENCE_PRECISION_HINT").to_string() == hint


@pytest.mark.parametrize("told", ["1", ""])
def test_openvino_takes_as_many_threads_as_it_is_told(told, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    compiled = make_runtime("openvino", model(), CPU)._request.get_compiled_model()
    threads = compiled.get_property("INFERENCE_NUM_THREADS")
    assert threads == 1 if told else 1 <= threads <= os.cpu_count()


SHORT_OF_MEMORY = """
import resource
import numpy as np
from infnet.inference.runtimes import make_runtime
from infnet.weights.stored import read_model
runtime = make_runtime("openvino", read_model("semi-inf-net-lite2"), "cpu")
image = np.random.default_rng(0).random((8, 1, 352, 352), np.float32)
runtime(image[:1])
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (2 << 20), -1))
try:
    print(runtime(image).infection.shape)
except MemoryError:
    print("refused")
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(len(runtime(image[:2]).infection), flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory taken is Linux's to tell")
def test_openvino_that_is_short_of_memory_does_not_answer_what_it_answered_before():
    pytest.importorskip("openvino", reason="openvino is not installed (infnet[openvino])")
    done = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, encoding="utf-8", timeout=100)
    assert done.stdout == "refused\n2\n", done.stdout + done.stderr


def test_openvino_tells_nobody_of_these_tests():
    """Of the commands it cannot (`test_privacy.py`); here it may be imported before its runtime is."""
    pytest.importorskip("openvino")
    make_runtime("openvino", model(), CPU)
    assert sys.modules["openvino_telemetry"] is None


def test_precision_is_the_networks_and_the_answer_stays_float32():
    small = model()
    dtypes = []
    small.network.fine.register_forward_hook(lambda _, inputs, output: dtypes.append(output.dtype))
    answer = make_runtime("eager", small, CPU, "bf16")(grey())
    assert dtypes == [torch.bfloat16] and answer.infection.dtype == np.float32


def test_a_network_that_cannot_be_folded_is_run_as_it_is(monkeypatch):
    def refuse(*_):
        raise NotFoldableError("no.")

    image = grey()
    expected = make_runtime("eager", model(), CPU)(image)
    monkeypatch.setattr(batch_norm, "fold_batch_norms", refuse)
    with pytest.warns(UserWarning, match="small is run as it is: no"):
        answer = make_runtime("fused", model(), CPU)(image)
    assert np.array_equal(answer.infection, expected.infection)


def test_without_openvino_it_is_named_and_auto_does_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPackageError, match="pip install openvino"):
        make_runtime("openvino", model(), CPU)
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    assert choose_runtime("auto", CPU) == "fused"
    monkeypatch.setattr(runtimes, "find_spec", lambda name: name)
    assert choose_runtime("auto", CPU) == "openvino"


@pytest.mark.parametrize("device", ["cuda:0", "mps"])
def test_graphics_cards_run_pytorch(device):
    assert choose_runtime("auto", device) == "fused"
    assert choose_runtime("eager", device) == "eager"
    with pytest.raises(DeviceError, match="for the CPU"):
        choose_runtime("openvino", device)
    with pytest.raises(DeviceError, match="No runtime is called"):
        choose_runtime("tpu", device)


class Image:
    """A tensor's place: notes what is asked of it."""

    def __init__(self):
        self.asked = []

    def pin_memory(self):
        self.asked.append("pinned")
        return self

    def to(self, device, **options):
        self.asked.append((device.type, options))
        return self


def test_a_network_goes_to_the_device_when_it_is_asked_and_stays_whole():
    """Meta, which has no numbers, refuses only after the network has come."""
    small = model()
    runtime = make_runtime("eager", small, CPU)
    runtime.use("meta", "32")
    weight = next(small.network.parameters())
    assert weight.device.type == CPU
    with pytest.raises(RuntimeError):
        runtime(grey())
    weight = next(small.network.parameters())
    assert weight.device.type == "meta" and not weight.is_inference()


def test_only_cuda_is_fed_from_pinned_memory():
    to_cuda, to_mps = Image(), Image()
    assert to_device(to_cuda, torch.device("cuda")) is to_cuda
    assert to_cuda.asked == ["pinned", ("cuda", {"non_blocking": True})]
    to_device(to_mps, torch.device("mps"))
    assert to_mps.asked == [("mps", {})]
    assert to_device(torch.rand(1), torch.device("meta")).device.type == "meta"


def test_float32_is_not_rounded_to_tf32_on_cuda():
    """What cuDNN would be told; without CUDA it has no effect."""

    class Told(nn.Module):
        def forward(self, x):
            assert torch.backends.cudnn.enabled and not torch.backends.cudnn.allow_tf32
            return TensorProbabilities(x)

    before = torch.backends.cudnn.allow_tf32
    assert TorchRuntime(Told(), CPU, "32")(np.zeros((1, 1, 4, 4), np.float32)).infection.shape == (1, 1, 4, 4)
    assert torch.backends.cudnn.allow_tf32 == before
