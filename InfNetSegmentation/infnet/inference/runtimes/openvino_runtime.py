"""OpenVINO as a runtime for Intel and AMD CPUs. An optional package: ``pip install openvino``."""

import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from infnet.errors import MissingPackageError
from infnet.inference.runtimes.graph_cache import Graph, graph_file, keep_graph, read_graph
from infnet.inference.runtimes.probabilities import GRAPH_FIELDS, FloatImages, Probabilities
from infnet.weights.stored import StoredModel

if TYPE_CHECKING:
    from infnet.weights.store import Model


class OpenVINORuntime:
    """A model as OpenVINO's graph: converted when it is made, or, of a stored model, by an earlier run."""

    def __init__(self, model: "Model | StoredModel", precision: str) -> None:
        """Raises `MissingPackageError`, and what `infnet.weights.store.build` raises."""
        # It would tell Google Analytics of each use, unasked; without it OpenVINO works as well.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        try:
            import openvino
        except ImportError as error:
            raise MissingPackageError(
                "The runtime openvino needs the package openvino: pip install openvino, or use another."
            ) from error
        settings = {
            # Left alone, OpenVINO computes in bfloat16 where the CPU can.
            "INFERENCE_PRECISION_HINT": "f32" if precision == "32" else precision,
            "INFERENCE_NUM_THREADS": _threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = openvino.Core()
        graph = core.read_model(*_graph(model))
        self._fields = graph.get_rt_info(GRAPH_FIELDS).astype(str).split()
        self._request = core.compile_model(graph, "CPU", settings).create_infer_request()

    def __call__(self, *images: FloatImages) -> Probabilities:
        """Probabilities, of images (N, 1, S, S). Raises MemoryError."""
        # Not by `infer`: where the memory is short it raises nothing, and answers what it answered before.
        try:
            self._request.start_async([np.ascontiguousarray(image) for image in images])
            self._request.wait()
        except RuntimeError as error:  # in many words; what else could fail did so when the graph was compiled
            raise MemoryError("OpenVINO has not enough memory for this.") from error
        outputs = [tensor.data.copy() for tensor in self._request.output_tensors]
        return Probabilities(**dict(zip(self._fields, outputs, strict=True)))


def _threads() -> int:
    """As many as PyTorch would take; 0 leaves it to OpenVINO, which takes a thread for each core that it may use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() else 0


def _graph(model: "Model | StoredModel") -> Graph:
    if not isinstance(model, StoredModel):
        return _converted(model)
    card = model.card
    content = {"network": card.network, "task": card.task, "size": card.input_size, "weights": card.sha256}
    file = graph_file(content | {name: version(name) for name in ("openvino", "timm", "torch")})
    graph = read_graph(file) if file else None
    if graph is None:
        graph = _converted(model)
        if file:
            keep_graph(graph, file)
    return graph


def _converted(model: "Model | StoredModel") -> Graph:
    from infnet.inference.runtimes.openvino_conversion import converted
    from infnet.weights.store import build

    return converted(build(model) if isinstance(model, StoredModel) else model)
