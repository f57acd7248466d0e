import slicer
import vtk
from slicer.i18n import tr as _

from InfNetSegmentationLib.Images import imageOf
from InfNetSegmentationLib.RegionOfInterest import RegionOfInterest
from InfNetSegmentationLib.Regions import writeRegions
from InfNetSegmentationLib.ResultImport import importResult
from InfNetSegmentationLib.Scene import fileName
from InfNetSegmentationLib.SliceOrder import sliceOrderSteps
from InfNetSegmentationLib.VolumeFiles import volumeSteps


class SegmentationRun:
    """One CT on its way through the backend: what is written for it, and what is brought back into the scene."""

    def __init__(self, volumeNode, segmentationNode, regionsNode, roiNode, settings):
        self._volumeNode = volumeNode
        self._segmentationNode = segmentationNode
        self._regionsNode = regionsNode
        self._settings = settings
        self._region = RegionOfInterest(roiNode, volumeNode) if roiNode is not None else None

    def prepare(self, folder):
        """Write the CT, and the lungs and lobes that are there: a generator that returns the backend's arguments."""
        yield from sliceOrderSteps(self._volumeNode)
        # The name of the file is the CT's name in messages and in the provenance.
        name = fileName(self._volumeNode, "ct")
        volumePath = folder / f"{name}.nrrd"
        self._labelImagePath = folder / f"{name}-findings.nrrd"
        self._studyFolder = folder / "study"
        if self._region is None:
            yield from volumeSteps(self._volumeNode, volumePath)
        else:
            import SimpleITK as sitk

            sitk.WriteImage(self._region.cropped(imageOf(self._volumeNode)), str(volumePath))
        arguments = ["segment", volumePath, "-o", self._labelImagePath, "--study", self._studyFolder]
        if self._regionsNode is not None:
            crop = self._region.cropped if self._region else None
            arguments += writeRegions(self._regionsNode, self._volumeNode, folder, crop)
        return [*arguments, *self._settings.arguments()]

    def finish(self, payload):
        """Bring what the backend wrote into the scene. Returns the SegmentationResult."""
        if self._region is not None:
            for path in (self._labelImagePath, *self._studyFolder.glob("*.nrrd")):
                self._region.padFile(path)
            payload["provenance"]["region_of_interest"] = self._region.provenance()
            payload["warnings"].insert(0, self._region.warning())
        if _isDeformed(self._volumeNode):
            payload["warnings"].insert(
                0, _("The CT is under a transform that changes its size or shape; all volumes are those without it.")
            )
        # An output that was deleted meanwhile is no output: the result goes into a new one.
        isThere = self._segmentationNode is not None and self._segmentationNode.GetScene() is not None
        output = self._segmentationNode if isThere else None
        return importResult(payload, self._labelImagePath, self._studyFolder, self._volumeNode, output)


def _isDeformed(volumeNode):
    """Whether volumes in the scene are others than in the CT's own coordinates, where they are measured."""
    matrix = vtk.vtkMatrix4x4()
    isLinear = slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        volumeNode.GetParentTransformNode(), None, matrix
    )
    return not isLinear or abs(abs(matrix.Determinant()) - 1) > 0.01  # a registration's rounding is no deformation
