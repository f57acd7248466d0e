"""Models: safetensors with a JSON card beside them, shipped in this folder or anywhere on disk."""

from infnet.weights.store import (
    DEFAULT_MODELS,
    Model,
    ModelCard,
    load_model,
    read_card,
    save_model,
    shipped_models,
)

__all__ = [
    "DEFAULT_MODELS",
    "Model",
    "ModelCard",
    "load_model",
    "read_card",
    "save_model",
    "shipped_models",
]
