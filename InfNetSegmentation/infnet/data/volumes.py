"""Chest CTs from files and DICOM folders, checked; images to files, whole or not at all."""

import gzip
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from infnet.data.files import written_whole
from infnet.errors import (
    InputError,
    InputNotFoundError,
    IntensityError,
    NotAVolumeError,
    OutputError,
    UnreadableImageError,
)

IMAGE_ENDINGS = (".nrrd", ".nii.gz", ".nii", ".mha")
"""Of the images that `write_image` writes: formats of one file, with a volume's whole geometry."""

_NIFTI_ENDINGS = (".nii.gz", ".nii")
_LOWEST_HU, _HIGHEST_HU = -1024, 32767
_AIR_HU, _WATER_HU = -500, 0  # a chest CT has voxels below the one and above the other
_THICK_MM, _COARSE_MM, _TILTED_DEGREES, _SHORT_MM = 5.01, 2.01, 15.0, 150.0  # 5 and 2 mm, but for rounding
_SHIFTED_MM = 0.5


def read_ct(path: Path) -> tuple[sitk.Image, list[str]]:
    """A CT and what is unusual about its geometry, one sentence each.

    ``path`` is a file (NRRD, NIfTI, MetaImage, enhanced DICOM, …) or a folder of DICOM slices. The image is int16
    (float32 if the file has fractions), in Hounsfield units from −1024 up: the lower values that scanners put
    outside the scan circle are raised to that.

    Slices of a tilted gantry make a volume with a sheared axis. Raises `InputNotFoundError`, `UnreadableImageError`,
    `NotAVolumeError` or `IntensityError`.
    """
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such file or folder.")
    with _without_itk_warnings():
        image, warnings = _read_dicom_folder(path) if path.is_dir() else (_read_file(path), [])
    if image.GetDimension() != 3:
        raise NotAVolumeError(f"{path}: an image of {image.GetDimension()} dimensions; a CT has 3.")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise NotAVolumeError(f"{path}: a colour or vector image; give the CT itself, one value a voxel.")
    if min(image.GetSize()) < 2:
        raise NotAVolumeError(f"{path}: a single slice; give the whole volume, or the folder of its DICOM slices.")
    return _hounsfield(image, path), warnings + _geometry_warnings(image)


def read_image(path: Path) -> sitk.Image:
    """An image file as it is, labels for instance. Raises `InputNotFoundError` or `UnreadableImageError`."""
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file.")
    with _without_itk_warnings():
        return _read_file(path)


def write_image(image: sitk.Image, path: Path) -> None:
    """Write an image, compressed. Raises `OutputError`; then there is no new file, and an old one is untouched."""
    check_geometry(image, path)
    with written_whole(path) as temporary:
        sitk.WriteImage(image, temporary, useCompression=True)
        if _is_truncated_nifti(temporary):
            raise OutputError(f"{path} cannot be written: is the disk full?")


def check_geometry(image: sitk.Image, path: Path) -> None:
    """Raise `OutputError` if a file of this ending cannot say where the image's voxels are."""
    if path.name.lower().endswith(_NIFTI_ENDINGS) and not _has_right_angles(image):
        raise OutputError(f"{path}: NIfTI cannot hold axes that are not at right angles (gantry tilt); use .nrrd.")


def on_one_grid(one: sitk.Image, other: sitk.Image) -> bool:
    """Whether the voxels of two images lie at the same places, but for rounding."""
    return one.GetSize() == other.GetSize() and all(
        np.allclose(getattr(one, get)(), getattr(other, get)(), atol=1e-3)
        for get in ("GetSpacing", "GetOrigin", "GetDirection")
    )


@contextmanager
def _without_itk_warnings() -> Iterator[None]:
    """ITK prints warnings that mean nothing to a user; what matters is told by exceptions and our own warnings."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _read_file(path: Path) -> sitk.Image:
    try:
        if _is_truncated_nifti(path):
            raise UnreadableImageError(f"{path} is truncated.")
        return sitk.ReadImage(path)
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise UnreadableImageError(f"{path} is not an image that can be read, or is damaged ({reason}).") from error


def _is_truncated_nifti(path: Path) -> bool:
    """ITK tells neither that it could not write a NIfTI file whole, nor that voxels are missing in one it reads."""
    name = path.name.lower()
    if not name.endswith(_NIFTI_ENDINGS):
        return False
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    voxels = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    size = float(reader.GetMetaData("vox_offset")) + voxels * int(reader.GetMetaData("bitpix")) / 8
    if not name.endswith(".gz"):
        return bool(path.stat().st_size < size)
    try:
        with gzip.open(path) as file:
            return bool(sum(len(block) for block in iter(lambda: file.read(1 << 20), b"")) < size)
    except (EOFError, zlib.error):
        return True


def dicom_files(folder: Path) -> tuple[Sequence[str], list[str]]:
    """The files of a folder's longest DICOM series, in the order of the volume's slices, and warnings.

    Raises `UnreadableImageError` where there is none, `InputError` where two are the longest.
    """
    series = {
        uid: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    }
    if not series:
        raise UnreadableImageError(
            f"{folder}: no DICOM images in this folder; name the one that holds them, subfolders are not searched."
        )
    counts = Counter({uid: len(files) for uid, files in series.items()}).most_common()
    warnings = []
    if len(counts) > 1:
        if counts[0][1] == counts[1][1]:
            raise InputError(
                f"{folder}: several DICOM series of {counts[0][1]} images each ({', '.join(series)}); "
                "put the one to use into a folder of its own."
            )
        warnings.append(
            f"The folder has {len(counts)} DICOM series; used is the longest, {counts[0][0]}, of {counts[0][1]} images."
        )
    return series[counts[0][0]], warnings


def dicom_tags(path: Path, *tags: str) -> list[str]:
    """The values of ``tags`` ("0020|000e") in a CT's DICOM header, that of the series used; "" for what it lacks."""
    reader = sitk.ImageFileReader()
    with _without_itk_warnings():
        reader.SetFileName(str(dicom_files(path)[0][0] if path.is_dir() else path))
        reader.ReadImageInformation()
    return [reader.GetMetaData(tag).strip("\0 ") if reader.HasMetaDataKey(tag) else "" for tag in tags]


def _read_dicom_folder(folder: Path) -> tuple[sitk.Image, list[str]]:
    files, warnings = dicom_files(folder)
    warnings += _slice_position_warnings(folder, files)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.ForceOrthogonalDirectionOff()  # the slices of a tilted gantry are not straight above each other
    try:
        return reader.Execute(), warnings
    except RuntimeError as error:
        raise UnreadableImageError(f"{folder}: its DICOM images do not make one volume, or are damaged.") from error


def _slice_position_warnings(folder: Path, files: Sequence[str]) -> list[str]:
    """Gaps and shifts between slices that a volume cannot show. Raises `InputError` for doubled slices."""
    origins, positions = [], []
    reader = sitk.ImageFileReader()
    for file in files:
        reader.SetFileName(file)
        reader.ReadImageInformation()
        if not (reader.HasMetaDataKey("0020|0032") and reader.HasMetaDataKey("0020|0037")):
            return []
        (origin,), (row, column) = (
            np.array(reader.GetMetaData(key).split("\\"), float).reshape(-1, 3) for key in ("0020|0032", "0020|0037")
        )
        origins.append(origin)
        positions.append(origin @ np.cross(row, column))
    gaps = np.diff(np.sort(positions))
    if not len(gaps):
        return []
    if gaps.min() < 0.01:
        raise InputError(f"{folder}: several images of the series are at one position; separate its phases first.")
    warnings = []
    if gaps.max() - gaps.min() > 0.1 * np.median(gaps):
        warnings.append(
            f"The slices are not evenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm): some may be missing, and "
            "volumes and positions are approximate."
        )
    first, last = int(np.argmin(positions)), int(np.argmax(positions))
    along = (np.array(positions) - positions[first]) / (positions[last] - positions[first])
    straight = origins[first] + along[:, None] * (origins[last] - origins[first])
    if (shift := np.linalg.norm(origins - straight, axis=1).max()) > _SHIFTED_MM:
        warnings.append(f"The slices are shifted by up to {shift:.1f} mm in their plane: positions are approximate.")
    return warnings


def _hounsfield(image: sitk.Image, path: Path) -> sitk.Image:
    fractional = image.GetPixelID() in (sitk.sitkFloat32, sitk.sitkFloat64)
    voxels = sitk.GetArrayViewFromImage(image)
    if fractional and not np.isfinite(voxels).all():
        raise IntensityError(f"{path}: some voxels are not a number or infinite.")
    low, high = voxels.min(), voxels.max()
    if low > _AIR_HU or high < _WATER_HU or high > _HIGHEST_HU:
        raise IntensityError(
            f"{path}: values from {low:g} to {high:g} are not Hounsfield units of a chest CT, where air is about "
            "-1000 and water 0. Export it with its rescale slope and intercept applied."
        )
    pixel_type = sitk.sitkFloat32 if fractional else sitk.sitkInt16
    hounsfield: sitk.Image = sitk.Clamp(image, pixel_type, _LOWEST_HU, _HIGHEST_HU)
    return hounsfield


def _has_right_angles(image: sitk.Image) -> bool:
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return np.allclose(direction.T @ direction, np.eye(3), atol=1e-3)


def _geometry_warnings(image: sitk.Image) -> list[str]:
    direction = np.array(image.GetDirection()).reshape(3, 3)
    spacing = np.array(image.GetSpacing())
    axial = int(np.argmax(abs(direction[2])))
    tilt = np.degrees(np.arccos(min(1.0, abs(direction[2, axial]))))
    height = spacing[axial] * image.GetSize()[axial]
    warnings = []
    if spacing[axial] > _THICK_MM:
        warnings.append(f"The slices are {spacing[axial]:.1f} mm apart: small lesions can be missed.")
    if (coarsest := np.delete(spacing, axial).max()) > _COARSE_MM:
        warnings.append(
            f"The pixels are {coarsest:.1f} mm wide, coarser than the networks know: many findings will be false."
        )
    if tilt > _TILTED_DEGREES:
        warnings.append(f"The slices are tilted by {tilt:.0f} degrees; the networks know axial slices.")
    if not _has_right_angles(image):
        warnings.append("The axes of the volume are not at right angles (gantry tilt).")
    if height < _SHORT_MM:
        warnings.append(f"The CT covers {height:.0f} mm from foot to head: volumes are those of the part shown.")
    return warnings
