"""Model cards, and reading and writing models.

A model is ``NAME.json``, its card, beside ``NAME.safetensors``, its weights in half precision.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from infnet.errors import InvalidModelError, OutputError, UnknownModelError
from infnet.networks import build_network

_SHIPPED = Path(__file__).parent
DEFAULT_MODELS: Mapping[str, str] = {"infection": "inf-net-lite0", "findings": "guided-unet"}


@dataclass(frozen=True)
class ModelCard:
    """What a model is, where it comes from and how good it is."""

    name: str
    task: str
    """"infection" or "findings"."""
    summary: str
    """One line: what it finds and how well."""
    network: Mapping[str, Any]
    """Name and options for `infnet.networks.build_network`."""
    input_size: int
    """Side of the square, in pixels, that slices are resized to."""
    threshold: float
    """Probability from which a pixel counts as infected."""
    licence: str
    training: Mapping[str, Any] = field(default_factory=dict)
    """Data, recipe, versions, seconds, and the command that repeats it."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Each with its split and the command that measured it."""
    limits: str = ""
    sha256: str = ""
    """Of the weights' file."""


@dataclass(frozen=True)
class Model:
    """A card and its network, in evaluation mode."""

    card: ModelCard
    network: nn.Module


def shipped_models() -> list[ModelCard]:
    """The cards of the models that come with the package."""
    return [read_card(path) for path in sorted(_SHIPPED.glob("*.json"))]


def load_model(name_or_path: str) -> Model:
    """The model of a shipped name, or of a card's path, or of a folder that holds one card.

    Raises UnknownModelError where there is none, InvalidModelError where weights or card are damaged, do not
    match the card's SHA-256, or do not fit the network.
    """
    path = _find(name_or_path)
    card = read_card(path)
    weights = path.with_suffix(".safetensors")
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise InvalidModelError(
            f"{weights}: {error.strerror}; a model's weights lie beside its card."
        ) from error
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise InvalidModelError(
            f"{weights}: not the weights that {path.name} describes (SHA-256); get both again."
        )
    try:
        network = build_network(card.network["name"], card.network["options"])
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load(data).items()})
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise InvalidModelError(f"{weights}: does not fit the network of {path.name} ({error}).") from error
    return Model(card, network.eval())


def save_model(folder: Path, card: ModelCard, network: nn.Module) -> ModelCard:
    """Write ``card`` and the weights of ``network`` into ``folder``; returns the card with its SHA-256."""
    state = {
        k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in network.state_dict().items()
    }
    data = save(state)
    card = replace(card, sha256=hashlib.sha256(data).hexdigest())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{card.name}.safetensors").write_bytes(data)
        text = json.dumps(asdict(card), indent=2, ensure_ascii=False)
        (folder / f"{card.name}.json").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: the model cannot be written ({error.strerror}).") from error
    return card


def read_card(path: Path) -> ModelCard:
    """The card at ``path``. Raises InvalidModelError where it is not one."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name for f in fields(ModelCard)}
        return ModelCard(**{k: v for k, v in values.items() if k in known})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidModelError(f"{path}: not a model card ({error}).") from error


def _find(name_or_path: str) -> Path:
    shipped = _SHIPPED / f"{name_or_path}.json"
    if shipped.parent == _SHIPPED and shipped.is_file():
        return shipped
    path = Path(name_or_path)
    if path.is_dir():
        cards = sorted(path.glob("*.json"))
        if len(cards) == 1:
            return cards[0]
        raise UnknownModelError(f"{path}: holds {len(cards)} model cards; name one of them.")
    if path.is_file():
        return path.with_suffix(".json")
    names = ", ".join(card.name for card in shipped_models())
    raise UnknownModelError(f"No model '{name_or_path}'. Shipped: {names}; or give the path of a model card.")
