"""From a PyTorch network to OpenVINO's graph."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from infnet.inference.runtimes.graph_cache import Graph
from infnet.inference.runtimes.modules import example_of, probabilities_of
from infnet.inference.runtimes.probabilities import GRAPH_FIELDS
from infnet.weights.store import Model


@torch.inference_mode()
def converted(model: Model) -> Graph:
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
        graph.set_rt_info(" ".join(fields), GRAPH_FIELDS)
        xml = Path(folder, "graph.xml")
        openvino.save_model(graph, xml, compress_to_fp16=False)
        return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()
