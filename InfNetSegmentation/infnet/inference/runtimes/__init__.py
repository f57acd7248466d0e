"""Ways of running a model: one small class each, from grey slices to `Probabilities`, both as arrays.

PyTorch is imported where it runs or converts a network: OpenVINO answers from a converted one without it.
"""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from infnet.devices import choose_precision
from infnet.errors import DeviceError
from infnet.inference.runtimes.probabilities import Probabilities
from infnet.weights.stored import StoredModel

if TYPE_CHECKING:
    from infnet.weights.store import Model

RUNTIMES = ("eager", "fused", "openvino")
"""The reference; PyTorch with batch normalisation folded; OpenVINO, on the CPU alone (docs/speed.md)."""

Runtime = Callable[..., Probabilities]
"""Asked with grey slices (N, 1, S, S), float32 in [0, 1], and for the findings their infection maps. The next call may
write into the memory of the answer."""


def choose_runtime(name: str, device: str) -> str:
    """The runtime called ``name``, or for "auto" the one that was fastest on such a ``device`` (docs/speed.md).

    Raises DeviceError for a name that is none of `RUNTIMES`, and for OpenVINO on another device than the CPU.
    """
    if name == "auto":
        return "openvino" if device == "cpu" and find_spec("openvino") else "fused"
    if name not in RUNTIMES:
        raise DeviceError(f"No runtime is called '{name}'; use auto, {', '.join(RUNTIMES)}.")
    if name == "openvino" and device != "cpu":
        raise DeviceError(f"The runtime openvino is for the CPU, not for '{device}'; use --runtime auto.")
    return name


def make_runtime(name: str, model: "Model | StoredModel", device: str, precision: str = "32") -> Runtime:
    """The runtime ``name``, one of `RUNTIMES`, of ``model``; ``precision`` as in `infnet.devices.choose_precision`.

    A network that cannot be folded is run as it is, with a Python warning. Raises DeviceError for a precision that
    the device has not, MissingPackageError where OpenVINO is not installed, and what `infnet.weights.store.build`
    raises.
    """
    precision = choose_precision(precision, device)
    if name == "openvino":
        from infnet.inference.runtimes.openvino_runtime import OpenVINORuntime

        return OpenVINORuntime(model, precision)
    from infnet.inference.runtimes.batch_norm import NotFoldableError, fold_batch_norms
    from infnet.inference.runtimes.modules import example_of, probabilities_of
    from infnet.inference.runtimes.pytorch import TorchRuntime
    from infnet.weights.store import build

    if isinstance(model, StoredModel):
        model = build(model)
    module = probabilities_of(model).eval()
    if name == "fused":
        try:
            return TorchRuntime(fold_batch_norms(module.cpu(), *example_of(model)), device, precision)
        except NotFoldableError as error:
            warnings.warn(f"{model.card.name} is run as it is: {error}", stacklevel=2)
    return TorchRuntime(module, device, precision)
