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
from infnet.weights.cards import ModelCard
from infnet.weights.stored import StoredModel, read_model


@dataclass(frozen=True)
class Model:
    """A card and its network, in evaluation mode."""

    card: ModelCard
    network: nn.Module


def load_model(name_or_path: str) -> Model:
    """The model of a shipped name, or of a card's path, or of a folder that holds one card.

    Raises what `read_model` and `build` raise.
    """
    return build(read_model(name_or_path))


def build(stored: StoredModel) -> Model:
    """The model with its network. Raises InvalidModelError where the weights are damaged, or do not fit the network."""
    try:
        state = {k: v.float() if v.is_floating_point() else v for k, v in load(stored.data).items()}
        name, options = stored.card.network["name"], stored.card.network["options"]
        with torch.device("meta"):  # a card can ask for a network of any size; this one takes no memory
            build_network(name, options).load_state_dict(state, assign=True)
        network = build_network(name, options)
        network.load_state_dict(state)
        if not all(bool(v.isfinite().all()) for v in state.values()):  # they would find nothing, without a word
            raise InvalidModelError(f"{stored.path}: some of its weights are not numbers; get the model again.")
    except InvalidModelError:
        raise
    except Exception as error:  # the options go to libraries, which raise what they like
        raise InvalidModelError(f"{stored.path}: does not fit the network of its card ({error}).") from error
    return Model(stored.card, network.eval())


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
