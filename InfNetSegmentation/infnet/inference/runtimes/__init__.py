"""Ways of running a model: one small class each, from grey slices on the CPU to `Probabilities` on the CPU."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch

from infnet.devices import autocast_dtype
from infnet.errors import DeviceError
from infnet.inference.runtimes.batch_norm import NotFoldableError, fold_batch_norms
from infnet.inference.runtimes.openvino_runtime import OpenVINORuntime
from infnet.inference.runtimes.probabilities import Probabilities, example_of, probabilities_of
from infnet.inference.runtimes.pytorch import TorchRuntime
from infnet.weights.store import Model, StoredModel

RUNTIMES = ("eager", "fused", "openvino")
"""The reference; PyTorch with batch normalisation folded; OpenVINO, on the CPU alone (docs/speed.md)."""

Runtime = Callable[..., Probabilities]


def choose_runtime(name: str, device: torch.device) -> str:
    """The runtime called ``name``, or for "auto" the one that was fastest on such a ``device`` (docs/speed.md).

    Raises DeviceError for a name that is none of `RUNTIMES`, and for OpenVINO on another device than the CPU.
    """
    if name == "auto":
        return "openvino" if device.type == "cpu" and find_spec("openvino") else "fused"
    if name not in RUNTIMES:
        raise DeviceError(f"No runtime is called '{name}'; use auto, {', '.join(RUNTIMES)}.")
    if name == "openvino" and device.type != "cpu":
        raise DeviceError(f"The runtime openvino is for the CPU, not for '{device}'; use --runtime auto.")
    return name


def make_runtime(name: str, model: Model | StoredModel, device: torch.device, precision: str = "32") -> Runtime:
    """The runtime ``name``, one of `RUNTIMES`, of ``model``; ``precision`` as in `infnet.devices.autocast_dtype`.

    A network that cannot be folded is run as it is, with a Python warning. Raises DeviceError for a precision that
    the device has not, MissingPackageError where OpenVINO is not installed, and what `StoredModel.load` raises.
    """
    dtype = autocast_dtype(precision, device)
    if name == "openvino":
        return OpenVINORuntime(model, dtype)
    if isinstance(model, StoredModel):
        model = model.load()
    module = probabilities_of(model).cpu().eval()
    if name == "fused":
        try:
            return TorchRuntime(fold_batch_norms(module, *example_of(model)), device, dtype)
        except NotFoldableError as error:
            warnings.warn(f"{model.card.name} is run as it is: {error}", stacklevel=2)
    return TorchRuntime(module, device, dtype)
