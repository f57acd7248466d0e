from pathlib import Path
from typing import Annotated

from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class TrainingParameters:
    """What the panel shows and the scene keeps.

    dataFolder - slices and their masks, in the layout of COVID-SemiSeg
    outputFolder - receives the run: checkpoints, log, the trained model
    epochs - how often each slice is seen
    """

    dataFolder: Path = Path.home()
    outputFolder: Path = Path.home() / "InfNet-training"
    epochs: Annotated[int, WithinRange(1, 1000)] = 60
