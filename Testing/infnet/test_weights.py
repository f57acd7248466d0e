"""Models on disk: what is written is read, and nothing else is."""

import json
import re
from dataclasses import asdict

import pytest
import torch
from infnet.cli import main
from infnet.errors import InvalidModelError, UnknownModelError
from infnet.training.model import make_model
from infnet.training.modules import FindingsModule
from infnet.training.recipe import preset
from infnet.weights.cards import DEFAULT_MODELS, read_card, shipped_models
from infnet.weights.store import load_model, save_model


@pytest.fixture
def model(tmp_path):
    recipe = preset("modern", "findings", network_options={"base_channels": 4})
    made = make_model("toy", FindingsModule(recipe, steps_per_epoch=1).eval())
    save_model(tmp_path, made.card, made.network)
    return made


@pytest.mark.parametrize("address", [".", "toy.json", "toy.safetensors"])
def test_a_saved_model_loads_by_folder_and_by_file(model, tmp_path, address):
    loaded = load_model(str(tmp_path / address))
    assert loaded.card.name == "toy" and not loaded.network.training
    for name, tensor in loaded.network.state_dict().items():
        torch.testing.assert_close(tensor, model.network.state_dict()[name].half().to(tensor.dtype))


def test_tampered_and_truncated_weights_are_refused(model, tmp_path):
    weights = tmp_path / "toy.safetensors"
    data = weights.read_bytes()
    for damaged in (data[:-7], data[:-1] + bytes([data[-1] ^ 1]), b""):
        weights.write_bytes(damaged)
        with pytest.raises(InvalidModelError, match="SHA-256"):
            load_model(str(tmp_path))
    weights.unlink()
    with pytest.raises(InvalidModelError, match=r"toy\.safetensors"):
        load_model(str(tmp_path))


def test_a_card_of_another_network_is_refused(model, tmp_path):
    card = asdict(read_card(tmp_path / "toy.json"))
    card["network"]["options"] = {"base_channels": 5}
    (tmp_path / "toy.json").write_text(json.dumps(card))
    with pytest.raises(InvalidModelError, match="does not fit"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x"}', "\0"])
def test_what_is_not_a_card_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InvalidModelError, match="not a model card"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["no-such-model", "n" * 300])  # which no file can be called
def test_unknown_models_are_told_what_there_is(name):
    with pytest.raises(UnknownModelError, match=DEFAULT_MODELS["infection"]):
        load_model(name)


def test_shipped_models_load_and_their_cards_are_complete():
    cards = {card.name: card for card in shipped_models()}
    for name, card in cards.items():
        assert "non-commercial" in card.licence.lower()
        assert card.metrics["metrics"] and card.limits and card.training["command"]
        assert load_model(name).card == card
    assert [(task, cards[name].task) for task, name in DEFAULT_MODELS.items()] == [
        ("infection", "infection"), ("findings", "findings"),
    ]  # fmt: skip


def test_models_command_tells_metrics_and_licence(capsys):
    assert main(["models"]) == 0
    told = capsys.readouterr().out
    cards = {card.name: card for card in shipped_models()}
    for card in cards.values():
        assert card.name in told and "cross-validated: " in told and card.licence in told
    infection, findings = (cards[DEFAULT_MODELS[task]] for task in ("infection", "findings"))
    asked = {infection.name} if infection.tells_findings else {infection.name, findings.name}
    assert set(re.findall(r"^(\S+) \(default\): ", told, re.M)) == asked
