import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.ChoiceBox import ChoiceBox
from InfNetSegmentationLib.Devices import DeviceBox
from InfNetSegmentationLib.ModelFile import installModel
from InfNetSegmentationLib.Models import modelChoices
from InfNetSegmentationLib.Remedies import wrappable

# Of the findings' model: that the infection's tells them where it can, and else the shipped one.
_AUTOMATIC = ""


def lobeSources():
    """Value and title of each source of computed lobes."""
    return [
        ("auto", _("Automatic: the best that is installed")),
        ("atlas", _("Atlas (approximate)")),
        ("lungmask", _("lungmask (network)")),
        ("totalsegmentator", _("TotalSegmentator (network)")),
        ("zones", _("Thirds of the lungs' height (zones)")),
        ("none", _("None: lungs only")),
    ]


def precisions():
    """Value and title of each precision of the networks' arithmetic."""
    return [("32", _("float32")), ("auto", _("Automatic")), ("bf16", _("bfloat16"))]


def mirrorings():
    """Value and title of each number of mirror images of a slice."""
    return [(4, "4"), (2, _("2: half the time")), (1, _("1: a quarter of the time, less accurate"))]


class ModelPanel:
    """The part of the panel whose choices are found out when it is opened: models, sources of lobes, devices."""

    def __init__(self, ui, importCheckpoint):
        """``importCheckpoint(path)`` - starts the run that makes a model of a checkpoint."""
        self._ui = ui
        self._importCheckpoint = importCheckpoint
        self._parameterNode = None
        self._lobeSource = ChoiceBox(ui.lobeSourceSelector, lambda value: self._set("lobeSource", value))
        self._lobeSource.setChoices(lobeSources())
        self._device = ChoiceBox(ui.deviceSelector, lambda value: self._set("device", value))
        self._devices = DeviceBox(self._device)
        self._precision = ChoiceBox(ui.precisionSelector, lambda value: self._set("precision", value))
        self._precision.setChoices(precisions())
        self._mirrorImages = ChoiceBox(ui.mirrorImagesSelector, lambda value: self._set("mirrorImages", value))
        self._mirrorImages.setChoices(mirrorings())
        self._infection = ChoiceBox(ui.modelSelector, self._onInfectionModel)
        self._findings = ChoiceBox(ui.findingsModelSelector, lambda value: self._set("findingsModel", value))
        ui.importWeightsButton.connect("clicked(bool)", self._onImportWeights)
        ui.advancedSection.connect("contentsCollapsed(bool)", self._onAdvancedCollapsed)

    def refresh(self):
        """Look for models again."""
        self._choices, findings = modelChoices("infection"), modelChoices("findings")
        self._infection.setChoices([(c.value, c.title) for c in self._choices], [c.description for c in self._choices])
        automatic = _("Automatic: the infection model's own, else {}").format(findings[0].title)
        self._findings.setChoices(
            [(_AUTOMATIC, automatic), *((c.value, c.title) for c in findings)], ["", *(c.description for c in findings)]
        )

    def show(self, parameterNode):
        """Show the scene's parameters; None while the scene is closed."""
        self._parameterNode = parameterNode
        if parameterNode is None:
            return
        self._lobeSource.setValue(parameterNode.lobeSource)
        self._device.setValue(parameterNode.device)
        self._precision.setValue(parameterNode.precision)
        self._mirrorImages.setValue(parameterNode.mirrorImages)
        self._infection.setValue(parameterNode.infectionModel)
        self._findings.setValue(parameterNode.findingsModel)
        chosen = self._chosen(parameterNode.infectionModel)
        self._ui.modelDescriptionLabel.text = wrappable(chosen.description) if chosen else ""
        self._ui.lobeSourceSelector.enabled = parameterNode.regionsSegmentation is None

    def chooseModel(self, cardPath):
        """List a model that was just imported, and choose it."""
        self.refresh()
        if self._chosen(str(cardPath)):
            self._onInfectionModel(str(cardPath))
        else:
            self._set("findingsModel", str(cardPath))

    def _set(self, name, value):
        if self._parameterNode:
            setattr(self._parameterNode, name, value)

    def _onInfectionModel(self, value):
        self._set("infectionModel", value)
        chosen = self._chosen(value)
        if chosen:  # each model has a threshold of its own
            self._set("threshold", min(max(chosen.threshold, 0.05), 0.95))

    def _chosen(self, value):
        return next((choice for choice in self._choices if choice.value == value), None)

    def _onAdvancedCollapsed(self, collapsed):
        """Graphics cards are looked for, and their free memory, when the section that lists them is opened."""
        if not collapsed:
            self._devices.refresh()

    def _onImportWeights(self, checked=False):
        import qt

        path = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(),
            _("Import weights"),
            "",
            _("Weights (*.json *.zip *.pth *.pt)") + ";;" + _("All files (*)"),
        )
        if not path:
            return
        if not path.lower().endswith((".json", ".zip")):
            self._importCheckpoint(path)
            return
        with slicer.util.tryWithErrorDisplay(_("The weights could not be imported.")):
            try:
                cardPath = installModel(path)
            except FileExistsError as error:
                if not slicer.util.confirmYesNoDisplay(_("{} Replace it?").format(error)):
                    return
                cardPath = installModel(path, replace=True)
            self.chooseModel(cardPath)
