"""The models that can be chosen: shipped ones, and those that the user has imported. Read from their cards."""

from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _


@dataclass(frozen=True)
class ModelChoice:
    """value - what the backend calls it: a shipped name, or the path of a card; "" for the shipped infection model.

    tellsFindings - of an infection model: whether it also tells consolidation from ground glass
    """

    value: str
    title: str
    description: str
    threshold: float
    tellsFindings: bool = False


def modelsFolder():
    """Where imported models lie: in the user's home, so that all versions of Slicer have them."""
    return Path.home() / ".infnet" / "models"


def modelChoices(task):
    """The models for a task, "infection" or "findings": the shipped default first, imported ones last."""
    from infnet.errors import InvalidModelError
    from infnet.weights.cards import DEFAULT_MODELS, read_card, shipped_models

    cards = sorted(shipped_models(), key=lambda card: card.name != DEFAULT_MODELS[task])
    nameless = DEFAULT_MODELS["infection"]
    choices = [_choice(card, "" if card.name == nameless else card.name) for card in cards if card.task == task]
    for path in sorted(modelsFolder().glob("*.json")):
        try:
            card = read_card(path)
        except InvalidModelError:
            continue  # somebody else's file
        if card.task == task:
            choices.append(_choice(card, str(path)))
    return choices


def importModelArguments(path):
    """The backend's arguments that make a model of a checkpoint of the original code."""
    return ["convert-checkpoint", path, "-o", modelsFolder()]


def copyModel(cardPath):
    """Copy a model (its card, and the weights beside it) into the user's folder. Returns the card's new path.

    Raises ValueError where it is no model, or where the weights are not those that the card describes.
    """
    import hashlib
    import shutil

    from infnet.errors import InvalidModelError
    from infnet.weights.cards import read_card

    cardPath = Path(cardPath)
    weightsPath = cardPath.with_suffix(".safetensors")
    try:
        card = read_card(cardPath)
    except InvalidModelError as error:
        raise ValueError(str(error)) from error
    if not weightsPath.is_file():
        raise ValueError(_("{} is missing: a model's weights lie beside its card.").format(weightsPath))
    if hashlib.sha256(weightsPath.read_bytes()).hexdigest() != card.sha256:
        raise ValueError(_("{} is damaged, or of another model: its SHA-256 is not the card's.").format(weightsPath))
    folder = modelsFolder()
    folder.mkdir(parents=True, exist_ok=True)
    for source in (weightsPath, cardPath):
        shutil.copyfile(source, folder / source.name)
    return folder / cardPath.name


def _choice(card, value):
    title = card.name + (_(" (default)") if value == "" else "")
    lines = [card.summary, _accuracy(card.metrics), card.licence]
    return ModelChoice(value, title, "\n".join(line for line in lines if line), card.threshold, card.tells_findings)


def _accuracy(metrics):
    """Means of Dice, which is the measure that most people know; a card of another kind has none."""
    values = metrics.get("metrics", {})
    names = {"dice": _("infection"), "ggo_dice": _("ground-glass opacity"), "consolidation_dice": _("consolidation")}
    means = {title: values[key]["mean"] for key, title in names.items() if key in values}
    told = [f"{title} {mean:.2f}" for title, mean in means.items() if mean is not None]
    if not told:
        return _("Accuracy: not measured.")
    return _("Dice on held-out slices: {}").format(", ".join(told))
