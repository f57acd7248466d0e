"""Label images that others made or corrected, on the grid of a CT."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from infnet.anatomy.lungs import segment_lungs
from infnet.anatomy.morphology import Mask
from infnet.anatomy.parting import LEFT, RIGHT, centre_of, part_lungs
from infnet.anatomy.recognition import recognise
from infnet.anatomy.regions import LUNGS
from infnet.data.findings import FINDINGS
from infnet.data.orientation import AxialView
from infnet.data.segmentations import label_segments, segment_names
from infnet.data.volumes import on_one_grid, read_image
from infnet.dicom import require_highdicom
from infnet.errors import GeometryError, InputError, NoLungError

AS_GIVEN = " (as given)"
"""What results add to the name of a lung mask that was given: it is the user's, and findings do not widen it."""

# From the right lung's centre (0) to the left one's (1): where a mask's centre is that of no single lung. The centre of
# a third of a lung, by its height, lies outside.
_ON_BOTH_SIDES = (0.3, 0.7)


def read_lungs(path: Path, ct: sitk.Image) -> sitk.Image:
    """A lung mask (uint8: 0, 1 right, 2 left) of a file, on the CT's grid: nearest neighbours, 0 beyond the file's.

    A label image, or a segmentation as 3D Slicer saves it, whose lungs are known by their codes or names. A label image
    that has both lungs in label 1 is parted; which lung it is that has label 1 alone, the CT (HU) tells. Raises
    `InputError` where it is neither, has other labels, has the right lung on the patient's left or lies on both sides;
    `NoLungError` where it is empty; and `GeometryError` where it lies beside the CT.
    """
    image = read_image(path)
    if names := segment_names(image):
        image = label_segments(image, _lung_label)
        if not _any(image):
            raise NoLungError(f"{path}: none of its segments ({', '.join(names)}) is the right or the left lung.")
    lungs = _on_grid(_checked(image, path, len(LUNGS)), ct, path)
    if not _any(lungs):
        raise NoLungError(f"{path}: no lung in it; right is 1, left 2.")
    if not names and sitk.GetArrayViewFromImage(lungs).max() == RIGHT:
        lungs = part_lungs(lungs)
    mask = AxialView(lungs).voxels  # x runs from the patient's right to the left
    right, left = (mask == lung.label for lung in LUNGS)
    if right.any() and left.any():
        if centre_of(right)[2] > centre_of(left)[2]:
            raise InputError(f"{path}: label 1 lies on the patient's left; right is 1, left 2.")
    elif not names and (side := _side_of(mask > 0, ct, path)) != mask.max():
        if side == RIGHT:
            raise InputError(f"{path}: label 2 lies on the patient's right; right is 1, left 2.")
        lungs = lungs * LEFT
    return lungs


def _side_of(lung: Mask, ct: sitk.Image, path: Path) -> int:
    """Which lung a mask of one (z, y, x as in `AxialView`) is, by the lungs that are found in the CT."""
    remedy = "label the right lung 1 and the left one 2, or name them in a segmentation (.seg.nrrd)."
    try:
        found = AxialView(segment_lungs(ct)).array()
    except NoLungError as error:
        raise InputError(f"{path}: one lung, and the CT does not tell which; {remedy}") from error
    right, left = found == RIGHT, found == LEFT
    if not (right.any() and left.any()):  # the mask may be that of the other one, wholly consolidated
        seen, unseen = (RIGHT, LEFT) if right.any() else (LEFT, RIGHT)
        return seen if 2 * np.count_nonzero(lung & (found == seen)) > np.count_nonzero(lung) else unseen
    x_right, x_left, x = (centre_of(mask)[2] for mask in (right, left, lung))
    place = (x - x_right) / (x_left - x_right)  # 0 at the right lung's centre, 1 at the left one's
    if _ON_BOTH_SIDES[0] < place < _ON_BOTH_SIDES[1]:
        raise InputError(f"{path}: one label, on both sides of the body; {remedy}")
    return LEFT if place > 0.5 else RIGHT


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
    if not (names := segment_names(image)):
        return _on_grid(_checked(image, path, len(FINDINGS)), ct, path)
    known = []

    def label_of(name: str, terminology: str) -> int | None:
        for finding in FINDINGS:
            code = f"~{finding.code.scheme}^{finding.code.value}^"
            if code in terminology or name.lower() == finding.name.lower():
                known.append(name)
                return finding.label
        return None

    found = label_segments(image, label_of)
    if not known:
        expected = " or ".join(finding.name for finding in FINDINGS)
        raise InputError(f"{path}: none of its segments ({', '.join(names)}) is {expected}; rename them.")
    return _on_grid(found, ct, path)


def read_label_image(path: Path, highest: int) -> sitk.Image:
    """A label image (uint8, 0 to ``highest``) on its own grid. Raises `InputError` where the file is none."""
    return _checked(read_image(path), path, highest)


def _lung_label(name: str, terminology: str) -> int | None:
    region = recognise(name, terminology)
    return region.label if region in LUNGS else None


def _any(image: sitk.Image) -> bool:
    return bool(np.any(sitk.GetArrayViewFromImage(image)))


def _checked(image: sitk.Image, path: Path, highest: int) -> sitk.Image:
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path}: not a three-dimensional label image with one value a voxel.")
    labels = sitk.GetArrayViewFromImage(image)
    if labels.dtype.kind == "c":
        raise InputError(f"{path}: complex numbers; labels are the whole numbers 0 to {highest}.")
    if labels.min() < 0 or labels.max() > highest or (labels.dtype.kind == "f" and np.any(labels % 1)):
        raise InputError(
            f"{path}: values from {labels.min():g} to {labels.max():g}; labels are the whole numbers 0 to {highest}."
        )
    labels8: sitk.Image = sitk.Cast(image, sitk.sitkUInt8)
    return labels8


def _on_grid(labels: sitk.Image, ct: sitk.Image, path: Path) -> sitk.Image:
    """The labels, unchanged if they are on the CT's grid."""
    if on_one_grid(labels, ct):
        labels.CopyInformation(ct)
        return labels
    resampled: sitk.Image = sitk.Resample(labels, ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    if _any(labels) and not _any(resampled):
        raise GeometryError(f"{path}: lies wholly beside the CT; is it of another scan?")
    return resampled
