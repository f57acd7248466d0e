"""From a trained network to a model with its card."""

from collections.abc import Mapping
from typing import Any

from infnet.training.modules import SliceModule
from infnet.weights.cards import ModelCard
from infnet.weights.store import Model

SUMMARIES = {
    "infection": "Infection of the lung on axial CT slices.",
    "findings": "Ground-glass opacity or consolidation, within a given infection map.",
}


def make_model(name: str, module: SliceModule, training: Mapping[str, Any] | None = None) -> Model:
    """The model of a trained ``module``. ``training``: what its card shall say of that besides the recipe."""
    recipe = module.recipe
    card = ModelCard(
        name=name,
        task=recipe.task,
        summary=SUMMARIES[recipe.task],
        network={"name": recipe.network, "options": dict(recipe.network_options)},
        input_size=recipe.size,
        licence="The licence of the training data applies.",
        training={"recipe": recipe.as_dict(), "initial_weights": module.initial_weights, **(training or {})},
    )
    return Model(card, module.network)
