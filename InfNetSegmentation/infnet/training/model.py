"""From a trained network to a model with its card."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from infnet.training.recipe import Recipe
from infnet.weights import Model, ModelCard

SUMMARIES = {
    "infection": "Infection of the lung on axial CT slices.",
    "findings": "Ground-glass opacity or consolidation, within a given infection map.",
}


def make_model(name: str, recipe: Recipe, network: nn.Module, training: Mapping[str, Any] | None = None) -> Model:
    """The model of ``network`` as trained by ``recipe``. ``training``: what else its card shall say of that."""
    card = ModelCard(
        name=name,
        task=recipe.task,
        summary=SUMMARIES[recipe.task],
        network=recipe.network(),
        input_size=recipe.size,
        threshold=0.5,
        licence="The licence of the training data applies.",
        training={"recipe": recipe.as_dict(), **(training or {})},
    )
    return Model(card, network)
