from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

DEVICES = ["auto", "cpu", "cuda", "mps"]


@parameterNodeWrapper
class Parameters:
    """What the panel shows and the scene keeps.

    inputVolume - chest CT in Hounsfield units
    outputSegmentation - receives the two segments; None makes a new one
    threshold - probability from which a voxel counts as infected
    device - where the networks run; "auto" takes a GPU if there is one
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    threshold: Annotated[float, WithinRange(0.05, 0.95)] = 0.5
    device: Annotated[str, Choice(DEVICES)] = "auto"
