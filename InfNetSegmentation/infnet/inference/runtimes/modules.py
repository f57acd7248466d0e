"""The models as PyTorch modules, one a task, from grey slices to probabilities: what runtimes run or convert."""

from typing import NamedTuple

import torch
from torch import nn

from infnet.networks.normalisation import normalise
from infnet.weights.store import Model


class TensorProbabilities(NamedTuple):
    """`infnet.inference.runtimes.probabilities.Probabilities`, as tensors."""

    infection: torch.Tensor | None = None
    consolidation: torch.Tensor | None = None
    gate: torch.Tensor | None = None


class InfectionProbabilities(nn.Module):
    """Grey slices (N, 1, S, S) in [0, 1] to what an infection model says of them, not calibrated yet."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model.network

    def forward(self, image: torch.Tensor) -> TensorProbabilities:
        maps = self.network(_normalised(image))
        return TensorProbabilities(
            torch.sigmoid(maps.segmentations[-1].float()),
            None if maps.consolidation is None else torch.sigmoid(maps.consolidation.float()),
            None if maps.gate is None else torch.sigmoid(maps.gate.float()),
        )


class FindingsProbabilities(nn.Module):
    """Grey slices and their infection maps (N, 1, S, S) to the probability of consolidation given infection."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model.network

    def forward(self, image: torch.Tensor, prior: torch.Tensor) -> TensorProbabilities:
        findings = self.network(_normalised(image), _normalised(prior))[:, 1:]
        return TensorProbabilities(consolidation=torch.softmax(findings.float(), 1)[:, 1:])


def probabilities_of(model: Model) -> InfectionProbabilities | FindingsProbabilities:
    """The module of the model's task."""
    return InfectionProbabilities(model) if model.card.task == "infection" else FindingsProbabilities(model)


def example_of(model: Model) -> tuple[torch.Tensor, ...]:
    """Noise of the shape that the model's module is asked with: a slice and, for the findings, a prior."""
    image = torch.rand(1, 1, model.card.input_size, model.card.input_size)
    return (image,) if model.card.task == "infection" else (image, image)


def _normalised(grey: torch.Tensor) -> torch.Tensor:
    return normalise(grey).contiguous(memory_format=torch.channels_last)
