"""What is trained, on what and how, and the backend's arguments for it."""

from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from slicer.i18n import tr as _

SUPERVISED, SEMI_SUPERVISED, FINDINGS = "supervised", "semi-supervised", "findings"
ENCODERS = ("efficientnet_lite0", "efficientnet_lite2", "res2net50", "resnet50", "vgg16", "vgg16_average")
IMAGENET, NONE = "imagenet", "none"
FOLDS = 5
HELD_OUT_FOLDER = "held-out"  # of a supervised run: the training without a fifth, which is then predicted

# Of the network for the findings, where it is trained otherwise than the one for infection.
_FINDINGS_PRESETS = {"modern": {"epochs": 30}, "paper": {"epochs": 200, "batchSize": 16, "learningRate": 1e-2}}
_MODERN = {"encoder": "efficientnet_lite0", "epochs": 50, "batchSize": 5, "learningRate": 1e-3, "size": 352}
_SMALL = {"k": 200, "rounds": 3, "roundEpochs": 2, "preTrainingEpochs": 8}
PRESETS = {
    "quick look": {
        **_MODERN,
        **{"epochs": 5, "size": 256},
        **{"k": 20, "rounds": 1, "roundEpochs": 1, "preTrainingEpochs": 1},
    },
    "small machine": {**_MODERN, **_SMALL, "epochs": 30, "size": 256},
    "modern": {**_MODERN, **_SMALL},
    "paper": {
        **{"encoder": "res2net50", "epochs": 100, "batchSize": 24, "learningRate": 1e-4, "size": 352},
        **{"k": 5, "rounds": 0, "roundEpochs": 9, "preTrainingEpochs": 100},
    },
}


def holdsSlices(folder):
    """Whether a folder has Imgs; no for one that cannot be looked into, as others' while a path is typed."""
    with suppress(OSError):  # which pathlib raises until Python 3.14
        return (Path(folder) / "Imgs").is_dir()
    return False


def presetValues(preset, kind=SUPERVISED):
    """What a preset says for a kind of training, {field of `TrainingConfig`: value}."""
    return {**PRESETS[preset], **(_FINDINGS_PRESETS.get(preset, {}) if kind == FINDINGS else {})}


@dataclass(frozen=True)
class TrainingConfig:
    """kind - "supervised"; "semi-supervised": Algorithm 1 of the paper and its two-step training; "findings": the
        network that tells consolidation from ground glass, from labels 1 and 2
    extraFolders - more slices to train on: healthy ones (GT all black), or with probabilities as truth (Soft)
    preset - a key of `PRESETS`: what is not said below is as in there
    initial - "imagenet", "none", or a model (shipped name, path of a card) that the training starts from
    rounds - of Algorithm 1; 0: until every unlabelled slice is used
    precision - of the networks' arithmetic: "auto" (bfloat16 where that is faster), "32", "bf16", or "16" (CUDA alone)
    holdOut - also tell the Dice on a fifth of the labelled slices (of their CTs, where these are known) that is kept
        from training for it
    pause - stop after each making of pseudo-labels, for a person to look at them
    """

    labelledFolder: str
    outputFolder: str
    unlabelledFolder: str = ""
    extraFolders: tuple = ()
    kind: str = SUPERVISED
    preset: str = "modern"
    initial: str = IMAGENET
    encoder: str = "efficientnet_lite0"
    epochs: int = 50
    batchSize: int = 5
    learningRate: float = 1e-3
    size: int = 352
    k: int = 200
    rounds: int = 3
    roundEpochs: int = 2
    preTrainingEpochs: int = 8
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    holdOut: bool = False
    pause: bool = False

    @classmethod
    def withPreset(cls, preset, labelledFolder, outputFolder, **values):
        """The configuration of a preset, with other ``values`` for some of its fields."""
        preset_ = presetValues(preset, values.get("kind", SUPERVISED))
        return cls(labelledFolder, outputFolder, preset=preset, **{**preset_, **values})

    @classmethod
    def fromDict(cls, values):
        """From a run's note, which a newer version may have written."""
        known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        return cls(**{**known, "extraFolders": tuple(known.get("extraFolders", ()))})

    def asDict(self):
        return asdict(self)

    @property
    def isSemiSupervised(self):
        return self.kind == SEMI_SUPERVISED

    @property
    def tellsFindings(self):
        return self.kind == FINDINGS

    @property
    def startsFromModel(self):
        return self.initial not in (IMAGENET, NONE) and not self.tellsFindings

    def problem(self):
        """Why this cannot be trained (a sentence for the user), or None. Does not look at single slices."""
        if not holdsSlices(self.labelledFolder):
            return _("Choose a folder of labelled slices, which holds a folder “Imgs”")
        if self.isSemiSupervised and not holdsSlices(self.unlabelledFolder):
            return _("Choose a folder of unlabelled slices, which holds a folder “Imgs”")
        if self.isSemiSupervised and self.startsFromModel:
            return _("Semi-supervised training starts from ImageNet, or from nothing: choose one of these")
        if self.isSemiSupervised and Path(self.unlabelledFolder).resolve() == Path(self.labelledFolder).resolve():
            return _("Choose another folder for the unlabelled slices than for the labelled ones")
        for folder in self.extraFolders:
            if not holdsSlices(folder):
                return _("Take {} off the list of extra slices: it holds no folder “Imgs”").format(folder)
        return None

    def trainingArguments(self):
        """The arguments of the training itself, without those of how progress is told."""
        if not self.isSemiSupervised:
            return ["train", *self._arguments(self.outputFolder)]
        heldOut = ["--hold-out-fold", "0", "--folds", str(FOLDS)] if self.holdOut else []
        return ["semi-supervised", *self._arguments(self.outputFolder), *heldOut]

    def steps(self):
        """The backend's commands of the run, in their order, each a list of arguments."""
        if not self.holdOut or self.isSemiSupervised:
            return [self.trainingArguments()]
        # With "/", which every system takes: another machine may run these.
        folder = (Path(self.outputFolder) / HELD_OUT_FOLDER).as_posix()
        return [
            ["cross-validate", *self._arguments(folder), "--only-fold", "0", "--folds", str(FOLDS)],
            [*self.trainingArguments(), "--metrics", f"{folder}/fold-0/metrics.json"],  # for the model's card
        ]

    def _arguments(self, outputFolder):
        folders = [self.labelledFolder, *([self.unlabelledFolder] if self.isSemiSupervised else [])]
        options = {
            "--preset": "paper" if self.preset == "paper" else "modern",
            **self._beginning(),
            "--epochs": self.epochs,
            "--batch-size": self.batchSize,
            "--learning-rate": self.learningRate,
            "--size": self.size,
            "--seed": self.seed,
            "--device": self.device,
            "--precision": self.precision,
        }
        if self.isSemiSupervised:
            options["--semi-preset"] = "paper" if self.preset == "paper" else "small"
            options["--k"] = self.k
            if self.rounds:
                options["--rounds"] = self.rounds
            options["--round-epochs"] = self.roundEpochs
            options["--pre-training-epochs"] = self.preTrainingEpochs
        words = [str(word) for option in options.items() for word in option]
        words += [word for folder in self.extraFolders for word in ("--extra", str(folder))]
        if self.isSemiSupervised and self.pause:
            words.append("--pause")
        return [*folders, "-o", str(outputFolder), *words, *self._networkOptions()]

    def _beginning(self):
        if self.tellsFindings:
            return {"--task": "findings"}
        if self.startsFromModel:
            return {"--initial": self.initial, "--network": self._card().network["name"]}
        return {"--encoder": self.encoder, "--encoder-weights": self.initial}

    def _networkOptions(self):
        """A model brings its network with it, without the part that tells findings apart: not all labels do."""
        options = dict(self._card().network["options"]) if self.startsFromModel else {}
        options.pop("consolidation_head", None)
        return [word for name, value in options.items() for word in ("--network-option", f"{name}={value}")]

    def _card(self):
        from infnet.weights.cards import find_card, read_card

        return read_card(find_card(self.initial))
