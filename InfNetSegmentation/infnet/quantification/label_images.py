"""Label images that others made or corrected, on the grid of a CT."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from infnet.anatomy.regions import LUNGS
from infnet.data.findings import FINDINGS
from infnet.data.volumes import read_image
from infnet.dicom import require_highdicom
from infnet.errors import GeometryError, InputError, NoLungError


def read_lungs(path: Path, ct: sitk.Image) -> sitk.Image:
    """A lung mask (uint8: 0, 1 right, 2 left) of a file, on the CT's grid: nearest neighbours, 0 beyond the file's.

    Raises `InputError` where it is no label image or has other labels, `NoLungError` where it is empty, and
    `GeometryError` where it lies beside the CT.
    """
    lungs = _on_grid(_checked(read_image(path), path, len(LUNGS)), ct, path)
    if not np.any(sitk.GetArrayViewFromImage(lungs)):
        raise NoLungError(f"{path}: no lung in it; right is 1, left 2.")
    return lungs


def read_findings(path: Path, ct: sitk.Image) -> sitk.Image:
    """The findings (uint8: 0, 1 ground-glass opacity, 2 consolidation) of a file, on the CT's grid.

    A label image, or a segmentation as 3D Slicer saves it: there the segments are known by their codes, or else by
    their names, and where two overlap, consolidation counts. Or a DICOM SEG (.dcm), by its codes. Raises `InputError`.
    """
    if path.suffix.lower() == ".dcm":
        require_highdicom()
        from infnet.dicom.segmentations import read_segmentation

        return _on_grid(read_segmentation(path, {f.label: f.code for f in FINDINGS}), ct, path)
    image = read_image(path)
    segments = _segments(image)
    if not segments:
        return _on_grid(_checked(image, path, len(FINDINGS)), ct, path)
    layers = sitk.GetArrayViewFromImage(image)
    layers = np.moveaxis(layers, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else layers[None]
    labels = np.zeros(layers.shape[1:], np.uint8)
    known = 0
    for finding in FINDINGS:
        for segment in segments:
            code = f"{finding.code.scheme}^{finding.code.value}^"
            if code in segment.get("Tags", "") or segment.get("Name", "").lower() == finding.name.lower():
                known += 1
                labels[layers[int(segment.get("Layer", 0))] == int(segment.get("LabelValue", 1))] = finding.label
    if not known:
        names = ", ".join(segment.get("Name", "?") for segment in segments)
        expected = " or ".join(finding.name for finding in FINDINGS)
        raise InputError(f"{path}: none of its segments ({names}) is {expected}; rename them.")
    found = sitk.GetImageFromArray(labels)
    found.SetSpacing(image.GetSpacing())
    found.SetOrigin(image.GetOrigin())
    found.SetDirection(image.GetDirection())
    return _on_grid(found, ct, path)


def _segments(image: sitk.Image) -> list[dict[str, str]]:
    """The fields of each segment in the header of a .seg.nrrd file; none for another image."""
    segments: dict[str, dict[str, str]] = {}
    for key in image.GetMetaDataKeys():
        name, _, field = key.partition("_")
        if name.startswith("Segment") and name.removeprefix("Segment").isdecimal():
            segments.setdefault(name, {})[field] = image.GetMetaData(key)
    return list(segments.values())


def _checked(image: sitk.Image, path: Path, highest: int) -> sitk.Image:
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path}: not a label image of three dimensions with one value a voxel.")
    labels = sitk.GetArrayViewFromImage(image)
    if labels.min() < 0 or labels.max() > highest or (labels.dtype.kind == "f" and np.any(labels % 1)):
        raise InputError(
            f"{path}: values from {labels.min():g} to {labels.max():g}; labels are the whole numbers 0 to {highest}."
        )
    labels8: sitk.Image = sitk.Cast(image, sitk.sitkUInt8)
    return labels8


def _on_grid(labels: sitk.Image, ct: sitk.Image, path: Path) -> sitk.Image:
    """The labels, unchanged if they are on the CT's grid."""
    if labels.GetSize() == ct.GetSize() and all(
        np.allclose(getattr(labels, get)(), getattr(ct, get)(), atol=1e-3)
        for get in ("GetSpacing", "GetOrigin", "GetDirection")
    ):
        labels.CopyInformation(ct)
        return labels
    resampled: sitk.Image = sitk.Resample(labels, ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    there, here = (np.any(sitk.GetArrayViewFromImage(image)) for image in (labels, resampled))
    if there and not here:
        raise GeometryError(f"{path}: lies wholly beside the CT; is it of another scan?")
    return resampled
