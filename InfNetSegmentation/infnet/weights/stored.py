"""Models as they lie on the disk: read without PyTorch, which their networks need."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from infnet.errors import InvalidModelError
from infnet.weights.cards import ModelCard, find_card, read_card


@dataclass(frozen=True)
class StoredModel:
    """A card and the content of its weights' file, which has the card's SHA-256; for `infnet.weights.store.build`."""

    card: ModelCard
    path: Path
    data: bytes


def read_model(name_or_path: str) -> StoredModel:
    """The model of a shipped name, or of a card's path, or of a folder that holds one card.

    Raises UnknownModelError where there is none, InvalidModelError where the card is damaged or is of other weights
    (SHA-256).
    """
    path = find_card(name_or_path)
    card = read_card(path)
    weights = path.with_suffix(".safetensors")
    if not weights.is_file():  # nor a pipe, for which one would wait
        raise InvalidModelError(f"{weights}: No such file; a model's weights lie beside its card.")
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise InvalidModelError(f"{weights}: {error.strerror}; a model's weights lie beside its card.") from error
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise InvalidModelError(f"{weights}: not the weights that {path.name} describes (SHA-256); get both again.")
    return StoredModel(card, weights, data)
