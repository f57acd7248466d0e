"""A CT from a folder of DICOM slices: which belong to it, in which order, and what is odd about them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from infnet.data.dicom_lengths import lengths_fit, starts_as_dicom
from infnet.data.dicom_positions import frames_in_order, position_warnings
from infnet.data.itk_names import itk_name
from infnet.errors import GeometryError, InputError, UnreadableImageError

_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"  # DICOM PS3.4, B.5
_CT_CLASSES = (_CT_IMAGE_STORAGE, f"{_CT_IMAGE_STORAGE}.1", f"{_CT_IMAGE_STORAGE}.2")  # single-frame, enhanced, legacy
_IS_CT_IMAGE = b"\x02\0\x02\0UI\x1a\0" + _CT_IMAGE_STORAGE.encode() + b"\0"  # Media Storage SOP Class UID
_SAME_MM = 1e-3
_UNTURNED = "1\\0\\0\\0\\1\\0"


@contextmanager
def without_itk_warnings() -> Iterator[None]:
    """ITK prints warnings that mean nothing to a user; what matters is told by exceptions and our own warnings."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def dicom_files(folder: Path) -> tuple[Sequence[str], list[str]]:
    """The files of a folder's longest CT series, in the order of the volume's slices, and warnings.

    Without a CT, they are those of the longest other series. Raises `UnreadableImageError` where there is none, or
    where slices are damaged; `InputError` where two series are the longest.
    """
    _refuse_odd_entries(folder)
    _refuse_wrong_lengths(folder)
    name = itk_name(folder)
    series = {
        uid: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(name, uid)
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(name)
    }
    _refuse_damaged_slices(folder, {Path(file).name for files in series.values() for file in files})
    if not series:
        raise UnreadableImageError(
            f"{folder}: no DICOM images in this folder; name the one that holds them, subfolders are not searched."
        )
    images = {uid: _kind_and_images(files) for uid, files in series.items()}
    used, *others = sorted(series, key=lambda uid: images[uid][:2], reverse=True)
    _, count, number = images[used]
    warnings = []
    if others:
        if images[used][:2] == images[others[0]][:2]:
            equal = [f"{images[uid][2]}, {uid}" for uid in series if images[uid][:2] == images[used][:2]]
            raise InputError(
                f"{folder}: several DICOM series of {count} images each ({'; '.join(equal[:3])}"
                f"{'; …' if len(equal) > 3 else ''}); put the one to use into a folder of its own."
            )
        left_out = ", ".join(f"{images[uid][2]} ({images[uid][1]})" for uid in others[:3])
        warnings.append(
            f"The folder has {len(series)} DICOM series; used is the longest CT, {number}, {used} ({count} images), "
            f"not {left_out}{', …' if len(others) > 3 else ''}. To use another, put it into a folder of its own."
        )
    return series[used], warnings


def read_dicom_folder(folder: Path) -> tuple[sitk.Image, list[str]]:
    """The volume of a folder's longest CT series, and warnings.

    Raises `UnreadableImageError`, `InputError`, or `GeometryError` where its images do not tell their positions.
    """
    reader = sitk.ImageSeriesReader()
    reader.ForceOrthogonalDirectionOff()  # the slices of a tilted gantry are not straight above each other
    try:
        files, warnings = dicom_files(folder)
        if len(files) == 1:
            image, more_warnings = frames_in_order(sitk.ReadImage(files[0]), Path(files[0]))
            return image, warnings + more_warnings
        warnings += _slice_position_warnings(folder, files)
        reader.SetFileNames(files)
        return reader.Execute(), warnings
    except (RuntimeError, ValueError) as error:
        raise UnreadableImageError(
            f"{folder}: its DICOM images do not make one volume, being of several sizes or damaged; "
            "put the slices of one CT into a folder of their own."
        ) from error


def header_values(file: str, *tags: str) -> list[str]:
    """The values of ``tags`` in the header of a file; "" for what it lacks."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return [reader.GetMetaData(tag).strip("\0 ") if reader.HasMetaDataKey(tag) else "" for tag in tags]


def _kind_and_images(files: Sequence[str]) -> tuple[bool, int, str]:
    """Of a series: whether it is a CT, how many images it has, and its number in words, by its first file."""
    kind, frames, number = header_values(files[0], "0008|0016", "0028|0008", "0020|0011")
    return kind in _CT_CLASSES, len(files) * int(frames or 1), f"number {number}" if number else "without a number"


def _refuse_odd_entries(folder: Path) -> None:
    """Beside a link to nothing or a pipe, ITK leaves out slices that are whole."""
    if odd := [file.name for file in sorted(folder.iterdir()) if not (file.is_file() or file.is_dir())]:
        raise UnreadableImageError(f"{folder}: {odd[0]} is a link to nothing, a pipe or a device; take it out.")


def _refuse_wrong_lengths(folder: Path) -> None:
    """GDCM would first allocate what a header tells."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and starts_as_dicom(_start(file))]
    _refuse(folder, [file.name for file in files if not lengths_fit(file)])


def _refuse_damaged_slices(folder: Path, images: set[str]) -> None:
    """ITK leaves out what it cannot read. That may be a report or a note, but an empty or broken slice leaves a gap."""
    endings = {Path(image).suffix for image in images} or {".dcm"}
    damaged = []
    for file in sorted(folder.iterdir()):
        if file.name not in images and file.is_file() and not file.name.startswith("."):
            start = _start(file)
            is_dicom = starts_as_dicom(start)
            is_like_slices = file.suffix in endings and not (start if file.suffix == "" else is_dicom)
            if is_like_slices or (is_dicom and _IS_CT_IMAGE in start):
                damaged.append(file.name)
    _refuse(folder, damaged)


def _start(file: Path) -> bytes:
    try:
        with file.open("rb") as content:
            return content.read(1024)
    except OSError as error:
        raise UnreadableImageError(f"{file}: cannot be read ({error.strerror}); mend or remove it.") from error


def _refuse(folder: Path, damaged: Sequence[str]) -> None:
    if damaged:
        raise UnreadableImageError(
            f"{folder}: {len(damaged)} DICOM slices are empty or damaged ({', '.join(damaged[:3])}"
            f"{', …' if len(damaged) > 3 else ''}); copy the series again, or take them out to go without."
        )


def _slice_position_warnings(folder: Path, files: Sequence[str]) -> list[str]:
    """What `position_warnings` tells of slices, and whether they are of acquisitions that lie between each other.

    Raises what that raises, `InputError` for several volumes in one series and for slices that alone lack a rescale,
    ValueError for slices of several sizes.
    """
    tags = "0020|0032", "0020|0037", "0028|0030", "0028|0008", "0020|0012", "0028|1052"
    values = [header_values(file, *tags) for file in files]
    positions, orientations, spacings, frames, acquisitions, intercepts = zip(*values, strict=True)
    if any(int(count or 1) > 1 for count in frames):
        raise InputError(
            f"{folder}: several images of many frames in one series; put the one to use into a folder of its own."
        )
    if not (all(positions) and all(spacings)):
        raise GeometryError(
            f"{folder}: its images do not tell where they lie (Image Position) or how large their pixels are (Pixel "
            "Spacing); export the series again with its geometry."
        )
    if len({bool(intercept) for intercept in intercepts}) > 1:
        without = Path(files[intercepts.index("")]).name
        raise InputError(
            f"{folder}, {without}: no Rescale Intercept, which other slices have, so that its values would not be in "
            "Hounsfield units; export the series again, or take such slices out."
        )
    pixels = _numbers(spacings)
    if not np.allclose(pixels, pixels[0], rtol=0, atol=_SAME_MM):
        raise ValueError("pixels of several sizes")
    cosines = _numbers([orientation or _UNTURNED for orientation in orientations])
    warnings = position_warnings(folder, [Path(file).name for file in files], _numbers(positions), cosines)
    if not all(orientations):
        warnings.append("The images do not tell how they lie (Image Orientation): taken as those of a supine patient.")
    changes = sum(one != other for one, other in pairwise(acquisitions))
    if changes >= len(set(acquisitions)):
        warnings.append(
            "Slices of several acquisitions lie between each other: unless all are of one breath-hold, separate them."
        )
    return warnings


def _numbers(values: Sequence[str]) -> NDArray[np.float64]:
    return np.array([value.split("\\") for value in values], float)
