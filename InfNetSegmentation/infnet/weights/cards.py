"""Model cards: what a model is, where it comes from and how good it is. Read without importing torch."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from infnet.data.files import read_json
from infnet.errors import InvalidModelError, UnknownModelError

_SHIPPED = Path(__file__).parent
_LARGEST_INPUT = 2048  # pixels of a side; more is no CT's
DEFAULT_MODELS: Mapping[str, str] = {"infection": "semi-inf-net-lite2", "findings": "guided-unet"}


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
    licence: str
    threshold: float = 0.5
    """Probability from which a pixel counts as infected, unless the user says otherwise."""
    temperature: float = 1.0
    offset: float = 0.0
    """The infection's probability is sigmoid(logit / temperature + offset), logit being that of the network's own, so
    that its probabilities are those that are met (Platt scaling, `infnet.evaluation.calibration`)."""
    gate_threshold: float | None = None
    """Probability of the network's gate, from the slice without its mirror images, below which it counts as healthy;
    None: the gate is told, not used."""
    window: tuple[float, float] = (-1100.0, 250.0)
    """HU shown to the network as 0 and as 1; the default was fitted to COVID-SemiSeg (`infnet.data.window`)."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Data, recipe, versions, seconds, and the command that repeats it."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Each with its split and the command that measured it."""
    limits: str = ""
    sha256: str = ""
    """Of the weights' file."""

    def __post_init__(self) -> None:
        """Raises ValueError for what no model can be asked with; a card is a file that anyone may have written."""
        if not is_model_name(self.name):
            raise ValueError(f"no model's files can be called {str(self.name)[:80]!r}")
        texts = (self.name, self.summary, self.licence, self.limits, self.sha256)
        numbers = (self.threshold, self.temperature, self.offset, *self.window)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("name, summary, licence, limits or sha256 is not text")
        if self.task not in ("infection", "findings"):
            raise ValueError(f"task is {self.task!r}, neither infection nor findings")
        if not all(isinstance(value, Mapping) for value in (self.network, self.training, self.metrics)):
            raise ValueError("network, training or metrics is not a set of named values")
        if not isinstance(self.network.get("options", {}), Mapping):
            raise ValueError("the network's options are not a set of named values")
        if not (isinstance(self.input_size, int) and 32 <= self.input_size <= _LARGEST_INPUT):
            raise ValueError(f"input_size is {self.input_size!r}, not 32 to {_LARGEST_INPUT} pixels")
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise ValueError("threshold, temperature, offset or window is not a number")
        if not (len(self.window) == 2 and self.window[0] < self.window[1]):
            raise ValueError("window is not a lower and a higher value in HU")
        if not (0 < self.threshold < 1 and 0 <= (self.gate_threshold or 0) <= 1 and self.temperature > 0):
            raise ValueError("threshold and gate_threshold are not probabilities, or temperature is not positive")

    @property
    def tells_findings(self) -> bool:
        """Whether an infection model tells consolidation from ground glass by itself."""
        return bool(self.network.get("options", {}).get("consolidation_head"))


def is_model_name(name: object) -> bool:
    """Whether a model's files can be called so: it is part of no path, and short enough for most disks."""
    if not isinstance(name, str) or "\0" in name or Path(name).name != name:
        return False
    return name not in ("", "..") and len(f"{name}.safetensors".encode()) <= 255


def findings_model(infection: ModelCard, asked: str | None) -> str | None:
    """The model for the findings: the one asked for, else none if the infection model tells them, else the shipped."""
    if asked is None and infection.tells_findings:
        return None
    return asked or DEFAULT_MODELS["findings"]


def shipped_models() -> list[ModelCard]:
    """The cards of the models that come with the package."""
    return [read_card(path) for path in sorted(_SHIPPED.glob("*.json"))]


def read_card(path: Path) -> ModelCard:
    """The card at ``path``. Raises InvalidModelError where it is not one."""
    try:
        values = read_json(path)
        known = {f.name for f in fields(ModelCard)}
        return ModelCard(**{k: v for k, v in values.items() if k in known})
    except (OSError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InvalidModelError(f"{path}: not a model card ({error}); get the model again.") from error


def find_card(name_or_path: str) -> Path:
    """The card of a shipped name, at a path, or alone in a folder. Raises UnknownModelError where there is none."""
    shipped = _SHIPPED / f"{name_or_path}.json"
    path = Path(name_or_path)
    with suppress(OSError):  # a name that no file can have
        if shipped.parent == _SHIPPED and shipped.is_file():
            return shipped
        if path.is_file():
            return path.with_suffix(".json")
        if path.is_dir():
            cards = sorted(path.glob("[!.]*.json"))  # without what a killed process left
            if len(cards) == 1:
                return cards[0]
            raise UnknownModelError(f"{path}: holds {len(cards)} model cards; name one of them.")
    names = ", ".join(card.name for card in shipped_models())
    raise UnknownModelError(f"No model '{name_or_path}'. Shipped: {names}; or give the path of a model card.")
