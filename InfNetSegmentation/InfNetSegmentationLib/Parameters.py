from dataclasses import dataclass
from typing import Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper

from InfNetSegmentationLib.Models import modelChoices


@dataclass
class Settings:
    """How a CT is segmented.

    lobeSource - "auto", "atlas", "lungmask", "totalsegmentator", "zones" or "none"; an existing segmentation of the
        lobes goes before it
    model, findingsModel - name of a shipped model or path of a model card; None is the shipped one, but for the
        findings the infection model itself, where it tells them apart
    threshold - probability from which a voxel counts as infected, 0 to 1; None is the model's own
    minimumLesionMl - smaller connected pieces of infection are dropped
    smoothingMm - what the networks say of a slice is averaged with its neighbours by a Gaussian of this standard
        deviation, in mm; 0: each slice by itself
    mirrorImages - 1, 2 or 4: over how many mirror images of a slice the network's answer is averaged
    device - "auto", "cpu", "cuda", "cuda:N" or "mps"
    precision - of the networks' arithmetic: "32" (float32), "bf16" (bfloat16), or "auto": bfloat16 where it is faster
    """

    lobeSource: str = "auto"
    model: str | None = None
    findingsModel: str | None = None
    threshold: float | None = None
    minimumLesionMl: float = 0.0
    smoothingMm: float = 4.0
    mirrorImages: int = 4
    device: str = "auto"
    precision: str = "32"

    def arguments(self):
        """The backend's arguments."""
        options = {
            "--lobe-source": self.lobeSource,
            "--model": self.model,
            "--labels-model": self.findingsModel,
            "--threshold": self.threshold,
            "--minimum-lesion-ml": self.minimumLesionMl or None,
            "--smoothing-mm": self.smoothingMm,
            "--mirror-images": self.mirrorImages,
            "--device": self.device,
            "--precision": self.precision,
        }
        return [str(word) for name, value in options.items() if value is not None for word in (name, value)]


def _modelThreshold():
    return modelChoices("infection")[0].threshold


@parameterNodeWrapper
class Parameters:
    """What the panel shows and the scene keeps.

    inputVolume - chest CT in Hounsfield units
    regionsSegmentation - lungs or lobes that are segmented already; None computes them
    regionOfInterest - only the box around it is read; None: the whole CT
    outputSegmentation - receives the two segments; None makes a new one
    earlierSegmentation - of the result that the present one is compared with
    lobeSource, threshold, minimumLesionMl, smoothingMm, mirrorImages, device, precision - as in `Settings`
    infectionModel, findingsModel - as in `Settings`, but "" for None
    batchSource - which CTs a batch takes: those of a "folder" or those of the "scene"
    batchInputFolder, batchOutputFolder - paths; "" is none
    """

    inputVolume: vtkMRMLScalarVolumeNode
    regionsSegmentation: vtkMRMLSegmentationNode
    regionOfInterest: vtkMRMLMarkupsROINode
    outputSegmentation: vtkMRMLSegmentationNode
    earlierSegmentation: vtkMRMLSegmentationNode
    lobeSource: str = "auto"
    infectionModel: str = ""
    findingsModel: str = ""
    threshold: Annotated[float, WithinRange(0.05, 0.95), Default(generator=_modelThreshold)]
    minimumLesionMl: Annotated[float, WithinRange(0, 5)] = 0.0
    smoothingMm: Annotated[float, WithinRange(0, 20)] = 4.0
    mirrorImages: int = 4
    device: str = "auto"
    precision: str = "32"
    batchSource: str = "folder"
    batchInputFolder: str = ""
    batchOutputFolder: str = ""

    def settings(self):
        """The parameters that say how, as `Settings`."""
        return Settings(
            lobeSource=self.lobeSource,
            model=self.infectionModel or None,
            findingsModel=self.findingsModel or None,
            threshold=self.threshold,
            minimumLesionMl=self.minimumLesionMl,
            smoothingMm=self.smoothingMm,
            mirrorImages=self.mirrorImages,
            device=self.device,
            precision=self.precision,
        )
