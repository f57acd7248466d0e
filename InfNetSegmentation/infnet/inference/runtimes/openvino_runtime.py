"""OpenVINO as a runtime for Intel and AMD CPUs. An optional package: ``pip install openvino``."""

import sys
import warnings

import torch
from torch import nn

from infnet.errors import MissingPackageError
from infnet.inference.runtimes.probabilities import Probabilities


class OpenVINORuntime:
    """The module as OpenVINO's graph, converted when it is made; nothing is written to disk."""

    def __init__(self, module: nn.Module, examples: tuple[torch.Tensor, ...], dtype: torch.dtype | None) -> None:
        """``examples`` are images of the size that all will have, but for the batch. Raises `MissingPackageError`."""
        # It would tell Google Analytics of each use, unasked; without it OpenVINO works as well.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        try:
            import openvino
        except ImportError as error:
            raise MissingPackageError(
                "The runtime openvino needs the package openvino: pip install openvino, or use another."
            ) from error
        present = _Present(module)
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # tracing fixes the images' size, as is meant
            answer = module(*examples)
            self._fields = [name for name, x in zip(Probabilities._fields, answer, strict=True) if x is not None]
            shapes = [openvino.PartialShape([-1, *image.shape[1:]]) for image in examples]
            # Left to trace by itself, OpenVINO traces twice, and compares.
            traced = torch.jit.trace(present, examples, check_trace=False)  # type: ignore[no-untyped-call]
            graph = openvino.convert_model(traced, example_input=examples, input=shapes)
        settings = {
            # Left alone, OpenVINO computes in bfloat16 where the CPU can.
            "INFERENCE_PRECISION_HINT": "f32" if dtype is None else "bf16",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled = openvino.Core().compile_model(graph, "CPU", settings)

    def __call__(self, *images: torch.Tensor) -> Probabilities:
        """Probabilities, of images on the CPU."""
        outputs = self._compiled([image.numpy() for image in images]).to_tuple()
        return Probabilities(**{name: torch.from_numpy(x) for name, x in zip(self._fields, outputs, strict=True)})


class _Present(nn.Module):
    """The answers of a module that are there: a graph's outputs cannot be None."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(x for x in self.module(*images) if x is not None)
