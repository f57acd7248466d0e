import itertools
import re
from pathlib import Path
from typing import Annotated

from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


def unusedFolder(folder):
    """``folder``, or the first of folder-2, folder-3, … that does not exist: a folder holds one training."""
    name = re.sub(r"-\d{1,2}$", "", folder.name)
    candidates = itertools.chain([folder], (folder.with_name(f"{name}-{number}") for number in itertools.count(2)))
    return next(candidate for candidate in candidates if not candidate.exists())


@parameterNodeWrapper
class TrainingParameters:
    """What the panel shows and the scene keeps.

    dataFolder - slices and their masks, in the layout of COVID-SemiSeg
    outputFolder - receives the run: checkpoints, log, the trained model
    epochs - how often each slice is seen
    """

    dataFolder: Path = Path.home()
    outputFolder: Path = Path.home() / "InfNet-training"
    epochs: Annotated[int, WithinRange(1, 1000)] = 50
