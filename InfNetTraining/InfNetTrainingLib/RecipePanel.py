from InfNetSegmentationLib.ChoiceBox import ChoiceBox
from InfNetSegmentationLib.Devices import DeviceBox
from InfNetSegmentationLib.Models import modelChoices
from slicer.i18n import tr as _

from InfNetTrainingLib.TrainingConfig import ENCODERS, FINDINGS, IMAGENET, NONE, SEMI_SUPERVISED, SUPERVISED


class RecipePanel:
    """The part of the panel with choices that have titles of their own, and those that fit the kind of training."""

    def __init__(self, ui):
        self._ui = ui
        self._parameterNode = None
        self._boxes = {
            name: ChoiceBox(getattr(ui, f"{name}Selector"), lambda value, name=name: self._set(name, value))
            for name in ("kind", "preset", "initial", "encoder", "device", "precision")
        }
        self._boxes["kind"].setChoices(
            [
                (SUPERVISED, _("Supervised")),
                (SEMI_SUPERVISED, _("Semi-supervised (Algorithm 1)")),
                (FINDINGS, _("Findings: ground glass or consolidation")),
            ],
            [
                _("Infection, from labelled slices alone"),
                _("Infection, from unlabelled slices too, as in the paper"),
                _("The second network: what an infection is of, from slices with the labels 1 and 2"),
            ],
        )
        self._boxes["preset"].setChoices(
            [
                ("quick look", _("Quick look")),
                ("small machine", _("Small machine")),
                ("modern", _("Best")),
                ("paper", _("Paper")),
            ],
            [
                _("A few epochs, to see that all works"),
                _("Small pictures, for a computer without a graphics card"),
                _("Our recipe: AdamW, one cycle, augmentation, soft IoU"),
                _("As in Fan et al., 2020; with Algorithm 1, weeks without a graphics card"),
            ],
        )
        self._boxes["encoder"].setChoices([(name, name) for name in ENCODERS])
        self._boxes["precision"].setChoices(
            [
                ("auto", _("Automatic")),
                ("32", _("float32")),
                ("bf16", _("bfloat16")),
                ("16", _("float16 (CUDA)")),
            ]
        )
        self._devices = DeviceBox(self._boxes["device"])
        self._tellFindings = {}  # title of each model that tells the findings apart

    def refresh(self):
        """Look for models and devices again."""
        models = modelChoices("infection")
        choices = [(IMAGENET, _("ImageNet (for some encoders, a download)")), (NONE, _("Nothing (random weights)"))]
        # The shipped default has no name of its own among the choices.
        choices += [(model.value or _defaultModel(), model.title) for model in models]
        self._boxes["initial"].setChoices(choices, ["", "", *(model.description for model in models)])
        self._tellFindings = {model.value or _defaultModel(): model.title for model in models if model.tellsFindings}
        self._devices.refresh()

    def show(self, parameterNode):
        """Show the scene's parameters; None while the scene is closed."""
        self._parameterNode = parameterNode
        if parameterNode is None:
            return
        for name, box in self._boxes.items():
            box.setValue(getattr(parameterNode, name))
        config = parameterNode.config()
        for widget in (
            self._ui.kBox,
            self._ui.roundsBox,
            self._ui.roundEpochsBox,
            self._ui.preTrainingEpochsBox,
            self._ui.pauseBox,
        ):
            widget.enabled = config.isSemiSupervised
        self._ui.unlabelledFolderLine.enabled = config.isSemiSupervised
        self._ui.encoderSelector.enabled = not config.startsFromModel and not config.tellsFindings
        self._ui.initialSelector.enabled = not config.tellsFindings
        self._showNote(self._tellFindings.get(config.initial) if config.startsFromModel else None)

    def _showNote(self, title):
        """``title``: of the model that tells the findings apart, while that which starts from it will not; or None."""
        self._ui.initialNoteLabel.visible = title is not None
        self._ui.initialNoteLabel.text = _(
            "What is trained here finds infection of either kind, though “{}” tells ground glass from consolidation. "
            "To tell them apart takes a second training, “Findings”, or the model that is shipped for it."
        ).format(title or "")

    def _set(self, name, value):
        if self._parameterNode:
            isOtherNetwork = name == "kind" and FINDINGS in (value, self._parameterNode.kind)
            setattr(self._parameterNode, name, value)
            if name == "preset" or isOtherNetwork:
                self._parameterNode.applyPreset()


def _defaultModel():
    from infnet.weights.cards import DEFAULT_MODELS

    return DEFAULT_MODELS["infection"]
