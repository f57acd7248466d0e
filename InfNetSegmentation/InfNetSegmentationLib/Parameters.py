from dataclasses import dataclass
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@dataclass
class Settings:
    """How a CT is segmented.

    lobeSource - "auto", "atlas", "lungmask", "totalsegmentator", "zones" or "none"; an existing segmentation of the
        lobes goes before it
    model, findingsModel - name of a shipped model or path of a model card; None is the shipped one
    threshold - probability from which a voxel counts as infected, 0 to 1; None is the model's own
    minimumLesionMl - smaller connected pieces of infection are dropped
    device - "auto", "cpu", "cuda", "cuda:N" or "mps"
    """

    lobeSource: str = "auto"
    model: str | None = None
    findingsModel: str | None = None
    threshold: float | None = None
    minimumLesionMl: float = 0.0
    device: str = "auto"

    def arguments(self):
        """The backend's arguments; the minimum size is not the backend's affair."""
        options = {
            "--lobe-source": self.lobeSource,
            "--model": self.model,
            "--labels-model": self.findingsModel,
            "--threshold": self.threshold,
            "--device": self.device,
        }
        return [str(word) for name, value in options.items() if value is not None for word in (name, value)]


@parameterNodeWrapper
class Parameters:
    """What the panel shows and the scene keeps.

    inputVolume - chest CT in Hounsfield units
    regionsSegmentation - lungs or lobes that are segmented already; None computes them
    outputSegmentation - receives the two segments; None makes a new one
    lobeSource, threshold, minimumLesionMl, device - as in `Settings`
    infectionModel, findingsModel - as in `Settings`, but "" is the shipped one
    """

    inputVolume: vtkMRMLScalarVolumeNode
    regionsSegmentation: vtkMRMLSegmentationNode
    outputSegmentation: vtkMRMLSegmentationNode
    lobeSource: str = "auto"
    infectionModel: str = ""
    findingsModel: str = ""
    threshold: Annotated[float, WithinRange(0.05, 0.95)] = 0.5
    minimumLesionMl: Annotated[float, WithinRange(0, 5)] = 0.0
    device: str = "auto"


def settingsOf(parameterNode):
    """The parameters that say how, as `Settings`. Slicer's wrapper keeps no methods of the class."""
    return Settings(
        lobeSource=parameterNode.lobeSource,
        model=parameterNode.infectionModel or None,
        findingsModel=parameterNode.findingsModel or None,
        threshold=parameterNode.threshold,
        minimumLesionMl=parameterNode.minimumLesionMl,
        device=parameterNode.device,
    )
