"""OpenVINO as a runtime for Intel and AMD CPUs. An optional package: ``pip install openvino``."""

import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from infnet.errors import MissingPackageError
from infnet.inference.runtimes.graph_cache import Graph, graph_file, keep_graph, read_graph
from infnet.inference.runtimes.probabilities import Probabilities, example_of, probabilities_of
from infnet.weights.store import Model, StoredModel

_FIELDS = ["infnet", "fields"]


class OpenVINORuntime:
    """A model as OpenVINO's graph: converted when it is made, or, of a stored model, by an earlier run."""

    def __init__(self, model: Model | StoredModel, dtype: torch.dtype | None) -> None:
        """Raises `MissingPackageError`, and what `StoredModel.load` raises."""
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
            "INFERENCE_PRECISION_HINT": "f32" if dtype is None else "bf16",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = openvino.Core()
        graph = core.read_model(*_graph(model))
        self._fields = graph.get_rt_info(_FIELDS).astype(str).split()
        self._compiled = core.compile_model(graph, "CPU", settings)

    def __call__(self, *images: torch.Tensor) -> Probabilities:
        """Probabilities, of images on the CPU."""
        outputs = self._compiled([image.numpy() for image in images]).to_tuple()
        return Probabilities(**{name: torch.from_numpy(x) for name, x in zip(self._fields, outputs, strict=True)})


def _graph(model: Model | StoredModel) -> Graph:
    if isinstance(model, Model):
        return _converted(model)
    card = model.card
    content = {"network": card.network, "task": card.task, "size": card.input_size, "weights": card.sha256}
    file = graph_file(content | {name: version(name) for name in ("openvino", "timm", "torch")})
    graph = read_graph(file) if file else None
    if graph is None:
        graph = _converted(model.load())
        if file:
            keep_graph(graph, file)
    return graph


@torch.inference_mode()
def _converted(model: Model) -> Graph:
    """The graph, for any number of slices. Which fields of `Probabilities` its outputs are is part of it."""
    import openvino

    module, examples = probabilities_of(model).cpu().eval(), example_of(model)
    module.requires_grad_(False)  # weights become constants, for which a function is traced, not a module: faster
    fields: list[str] = []

    def present(*images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The answers that are there: a graph's outputs cannot be None."""
        answers = {name: x for name, x in module(*images)._asdict().items() if x is not None}
        fields[:] = answers
        return tuple(answers.values())

    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # tracing fixes the images' size, as is meant
        # Left to trace by itself, OpenVINO traces twice, and compares.
        traced: Any = torch.jit.trace(present, examples, check_trace=False)  # type: ignore[no-untyped-call]
        shapes = [openvino.PartialShape([-1, *image.shape[1:]]) for image in examples]
        graph = openvino.convert_model(traced, example_input=examples, input=shapes)
        graph.set_rt_info(" ".join(fields), _FIELDS)
        xml = Path(folder, "graph.xml")
        openvino.save_model(graph, xml, compress_to_fp16=False)
        return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()
