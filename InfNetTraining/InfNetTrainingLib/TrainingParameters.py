import itertools
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper

from InfNetTrainingLib.TrainingConfig import TrainingConfig, presetValues

_NAME = "InfNet-training"  # of the folder, where none is chosen


def unusedFolder(folder, suffix=""):
    """``folder`` with ``suffix``, or the first of it with -2, -3, … that does not exist: a folder holds one training.

    In place of a drive itself, which has no name, one in it.
    """
    folder = folder if folder.name else folder / _NAME
    folder = folder.with_name(folder.name + suffix)
    name = re.sub(r"-\d{1,2}$", "", folder.name)
    candidates = itertools.chain([folder], (folder.with_name(f"{name}-{number}") for number in itertools.count(2)))
    return next(candidate for candidate in candidates if not candidate.exists())


def _outputFolder():
    return unusedFolder(Path.home() / _NAME)


@parameterNodeWrapper
class TrainingParameters:
    """What the panel shows and the scene keeps: the fields of `TrainingConfig`, which explains them, and

    caseVolume, caseSegmentation - the case that is to be added to the labelled ones
    ctFolder - CTs that slices are to be made of
    extraFolders - in one text, a folder a line
    """

    caseVolume: vtkMRMLScalarVolumeNode
    caseSegmentation: vtkMRMLSegmentationNode
    ctFolder: Path = Path.home()
    labelledFolder: Path = Path.home()
    unlabelledFolder: Path = Path.home()
    extraFolders: str = ""
    outputFolder: Annotated[Path, Default(generator=_outputFolder)]
    kind: str = "supervised"
    preset: str = "modern"
    initial: str = "imagenet"
    encoder: str = "efficientnet_lite0"
    epochs: Annotated[int, WithinRange(1, 1000)] = 50
    batchSize: Annotated[int, WithinRange(2, 256)] = 5
    learningRate: Annotated[float, WithinRange(0.000001, 0.1)] = 0.001
    size: Annotated[int, WithinRange(64, 1024)] = 352
    k: Annotated[int, WithinRange(1, 10000)] = 200
    rounds: Annotated[int, WithinRange(0, 10000)] = 3
    roundEpochs: Annotated[int, WithinRange(1, 1000)] = 2
    preTrainingEpochs: Annotated[int, WithinRange(1, 1000)] = 8
    seed: Annotated[int, WithinRange(0, 1000000)] = 0
    device: str = "auto"
    precision: str = "auto"
    holdOut: bool = False
    pause: bool = False

    def config(self):
        """What is chosen, as a `TrainingConfig`."""
        values = {name: getattr(self, name) for name in _CONFIG_FIELDS}
        values = {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}
        return TrainingConfig(**{**values, "extraFolders": tuple(values["extraFolders"].split("\n")[:-1])})

    def takeUp(self, config):
        """Show what a run was started with."""
        values = {**config.asDict(), "extraFolders": "".join(f"{folder}\n" for folder in config.extraFolders)}
        for name, value in values.items():
            with suppress(ValueError):  # a value that a script chose beyond what the panel offers
                setattr(self, name, Path(value) if name.endswith("Folder") else value)

    def applyPreset(self):
        """Set all that the preset says; the rest stays."""
        for name, value in presetValues(self.preset, self.kind).items():
            setattr(self, name, value)


_CONFIG_FIELDS = tuple(TrainingConfig.__dataclass_fields__)
