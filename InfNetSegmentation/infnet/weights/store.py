"""Reading and writing models: ``NAME.json``, the card, beside ``NAME.safetensors``, the weights."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import nn

from infnet.data.files import written_whole
from infnet.errors import InvalidModelError, OutputError
from infnet.networks import build_network
from infnet.weights.cards import ModelCard, find_card, read_card


@dataclass(frozen=True)
class Model:
    """A card and its network, in evaluation mode."""

    card: ModelCard
    network: nn.Module


@dataclass(frozen=True)
class StoredModel:
    """A card and the content of its weights' file, which has the card's SHA-256. The network is not built yet."""

    card: ModelCard
    path: Path
    data: bytes

    def load(self) -> Model:
        """The model. Raises InvalidModelError where the weights are damaged, or do not fit the network."""
        try:
            state = {k: v.float() if v.is_floating_point() else v for k, v in load(self.data).items()}
            name, options = self.card.network["name"], self.card.network["options"]
            with torch.device("meta"):  # a card can ask for a network of any size; this one takes no memory
                build_network(name, options).load_state_dict(state, assign=True)
            network = build_network(name, options)
            network.load_state_dict(state)
        except InvalidModelError:
            raise
        except Exception as error:  # the options go to libraries, which raise what they like
            raise InvalidModelError(f"{self.path}: does not fit the network of its card ({error}).") from error
        return Model(self.card, network.eval())


def load_model(name_or_path: str) -> Model:
    """The model of a shipped name, or of a card's path, or of a folder that holds one card.

    Raises what `read_model` and `StoredModel.load` raise.
    """
    return read_model(name_or_path).load()


def read_model(name_or_path: str) -> StoredModel:
    """The same without its network.

    Raises UnknownModelError where there is none, InvalidModelError where the card is damaged or the weights have not
    its SHA-256.
    """
    path = find_card(name_or_path)
    card = read_card(path)
    weights = path.with_suffix(".safetensors")
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise InvalidModelError(f"{weights}: {error.strerror}; a model's weights lie beside its card.") from error
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise InvalidModelError(f"{weights}: not the weights that {path.name} describes (SHA-256); get both again.")
    return StoredModel(card, weights, data)


def save_model(folder: Path, card: ModelCard, network: nn.Module, half: bool = True) -> ModelCard:
    """Write ``card`` and the weights of ``network`` into ``folder``; returns the card with its SHA-256.

    The weights take half precision, and half the space, unless ``half`` is False. Raises OutputError.
    """
    state = {
        k: (v.half() if half and v.is_floating_point() else v).contiguous() for k, v in network.state_dict().items()
    }
    data = save(state)
    card = replace(card, sha256=hashlib.sha256(data).hexdigest())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the model cannot be written ({error.strerror}).") from error
    with written_whole(folder / f"{card.name}.safetensors") as temporary:
        temporary.write_bytes(data)
    with written_whole(folder / f"{card.name}.json") as temporary:  # last: where it is, the weights are
        temporary.write_text(json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return card
