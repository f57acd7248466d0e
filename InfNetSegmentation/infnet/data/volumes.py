"""Chest CTs from files and DICOM folders, checked; images to files, whole or not at all."""

import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from infnet.data.dicom_folder import dicom_files, header_values, read_dicom_folder, without_itk_warnings
from infnet.data.dicom_lengths import starts_as_dicom
from infnet.data.dicom_positions import frames_in_order
from infnet.data.files import written_whole
from infnet.data.integrity import COMPLEX, NIFTI_ENDINGS, damage, inflates_to_its_voxels, write_checked
from infnet.data.itk_names import itk_name
from infnet.errors import (
    GeometryError,
    InputError,
    InputNotFoundError,
    IntensityError,
    NotAVolumeError,
    OutOfMemoryError,
    OutputError,
    UnreadableImageError,
    is_out_of_memory,
)

IMAGE_ENDINGS = (".nrrd", ".nii.gz", ".nii", ".mha")
"""Of the images that `write_image` writes: formats of one file, with a volume's whole geometry."""

_LOWEST_HU, _HIGHEST_HU = -1024, 32767
_AIR_HU, _WATER_HU = -500, 0  # a chest CT has voxels below the one and above the other
_THICK_MM, _COARSE_MM, _TILTED_DEGREES, _SHORT_MM = 5.01, 2.01, 15.0, 150.0  # 5 and 2 mm, but for rounding
_FINEST_MM, _LONGEST_MM, _LARGEST_MM3 = 0.01, 3000.0, 2e9


def read_ct(path: Path, trust_hu: bool = False) -> tuple[sitk.Image, list[str]]:
    """A CT and what is unusual about it, one sentence each.

    ``path`` is a file (NRRD, NIfTI, MetaImage, enhanced DICOM, …) or a folder of DICOM slices. The image is int16
    (float32 if the file has fractions), in Hounsfield units from −1024 up: the lower values that scanners put
    outside the scan circle are raised to that. With ``trust_hu``, values that cannot be those of a chest CT are
    taken for Hounsfield units all the same, with a warning.

    Slices of a tilted gantry make a volume with a sheared axis. Raises `InputNotFoundError`, `UnreadableImageError`,
    `NotAVolumeError`, `GeometryError`, `IntensityError` or `OutOfMemoryError`.
    """
    image, warnings = _read(path)
    if image.GetDimension() != 3:
        raise NotAVolumeError(f"{path}: an image of {image.GetDimension()} dimensions; a CT has 3.")
    if image.GetNumberOfComponentsPerPixel() != 1 or image.GetPixelID() in COMPLEX:
        raise NotAVolumeError(f"{path}: a colour or vector image; give the CT itself, one value a voxel.")
    if min(image.GetSize()) < 2:
        raise NotAVolumeError(f"{path}: a single slice; give the whole volume, or the folder of its DICOM slices.")
    check_extent(image.GetSize(), image.GetSpacing(), path)
    if doubt := _doubt_about_values(image, path):
        if not trust_hu:
            raise IntensityError(
                f"{path}: {doubt} Export it with its rescale slope and intercept applied; if it is right as it is, "
                "insist with --trust-hu (infnet segment, quantify, lungs, lobes)."
            )
        warnings.append(f"{doubt} They were taken for that as asked: do not rely on the result.")
    return _hounsfield(image), warnings + _geometry_warnings(image)


def read_image(path: Path) -> sitk.Image:
    """An image file as it is, labels for instance.

    Raises `InputNotFoundError`, `UnreadableImageError` or `OutOfMemoryError`.
    """
    if path.is_dir():
        raise InputNotFoundError(f"{path}: a folder; name the file.")
    return _read(path)[0]


def dicom_tags(path: Path, *tags: str) -> list[str]:
    """The values of ``tags`` ("0020|000e") in a CT's DICOM header, that of the series used; "" for what it lacks."""
    with without_itk_warnings():
        return header_values(dicom_files(path)[0][0] if path.is_dir() else itk_name(path), *tags)


def write_image(image: sitk.Image, path: Path) -> None:
    """Write an image, compressed. Raises `OutputError`; then there is no new file, and an old one is untouched."""
    check_geometry(image, path)
    with written_whole(path) as temporary:
        write_checked(image, temporary)


def check_geometry(image: sitk.Image, path: Path) -> None:
    """Raise `OutputError` if a file of this ending cannot say where the image's voxels are."""
    if path.name.lower().endswith(NIFTI_ENDINGS) and not _has_right_angles(image):
        raise OutputError(f"{path}: NIfTI cannot hold axes that are not at right angles (gantry tilt); use .nrrd.")


def check_extent(size: Sequence[int], spacing: Sequence[float], path: Path) -> None:
    """Raise `GeometryError` where no body is as large: the work is on grids of some mm, whatever memory that takes."""
    extent = np.multiply(size, spacing)
    if not (min(spacing) >= _FINEST_MM and extent.max() <= _LONGEST_MM and extent.prod() <= _LARGEST_MM3):
        voxels, mm = (" x ".join(f"{value:.5g}" for value in values) for values in (size, spacing))
        raise GeometryError(
            f"{path}: {voxels} voxels of {mm} mm are no CT of a body; export it again, or correct that."
        )


def on_one_grid(one: sitk.Image, other: sitk.Image) -> bool:
    """Whether the voxels of two images lie at the same places, but for rounding."""
    return one.GetSize() == other.GetSize() and all(
        np.allclose(getattr(one, get)(), getattr(other, get)(), atol=1e-3)
        for get in ("GetSpacing", "GetOrigin", "GetDirection")
    )


def _read(path: Path) -> tuple[sitk.Image, list[str]]:
    """The image of a file or a DICOM folder, and warnings."""
    try:
        str(path).encode()
        with without_itk_warnings():
            if path.is_dir():
                return read_dicom_folder(path)
            if not path.is_file():
                raise InputNotFoundError(f"{path}: no such file or folder.")
            image = _read_file(path)
            with path.open("rb") as file:
                is_dicom = starts_as_dicom(file.read(132))
            return frames_in_order(image, path) if is_dicom else (image, [])
    except UnicodeEncodeError as error:  # ITK would end the process
        raise InputError(f"{path}: the name is not in UTF-8; rename it.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _read_file(path: Path) -> sitk.Image:
    try:
        if path.stat().st_size == 0:
            raise UnreadableImageError(f"{path} is empty; copy or export it again.")
        path.open("rb").close()  # of a file that may not be read, ITK says that there is none
        # Inflated by ITK and by the check, which takes as long. Where such a file is damaged, ITK only reads on; it can
        # end the process over a MetaImage.
        if not inflates_to_its_voxels(path):
            _check_undamaged(path)
            return sitk.ReadImage(itk_name(path))
        with ThreadPoolExecutor(max_workers=1) as thread:
            reading = thread.submit(sitk.ReadImage, itk_name(path))
            _check_undamaged(path)
        return reading.result()
    except (RuntimeError, EOFError) as error:
        if zipfile.is_zipfile(path) or path.name == "DICOMDIR":
            raise UnreadableImageError(
                f"{path}: no image but a ZIP file or the index of a CD; unpack it, and name the folder that holds the "
                "slices of the CT."
            ) from error
        reason = str(error).strip().splitlines()[-1]
        if is_out_of_memory(error):
            raise OutOfMemoryError(
                f"{path}: there is not enough memory for an image of the size that its header tells; close other "
                "programs, or crop the CT."
            ) from error
        raise UnreadableImageError(
            f"{path} is not an image that can be read, or is damaged ({reason}); copy or export it again."
        ) from error


def _check_undamaged(path: Path) -> None:
    if found := damage(path):
        raise UnreadableImageError(f"{path} is {found}; copy or export it again.")


def _doubt_about_values(image: sitk.Image, path: Path) -> str | None:
    """Why the values cannot be Hounsfield units of a chest CT, or None. Raises `IntensityError` where some are none."""
    voxels = sitk.GetArrayViewFromImage(image)
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise IntensityError(f"{path}: some voxels are not a number or infinite; export the CT again.")
    low, high = voxels.min(), voxels.max()
    if low > _AIR_HU or high < _WATER_HU or high > _HIGHEST_HU:
        return (
            f"Values from {low:g} to {high:g} are not Hounsfield units of a chest CT, where air is about -1000 and "
            "water 0."
        )
    return None


def _hounsfield(image: sitk.Image) -> sitk.Image:
    fractional = image.GetPixelID() in (sitk.sitkFloat32, sitk.sitkFloat64)
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
