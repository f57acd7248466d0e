"""A CT from a folder of DICOM slices: which belong to it, in which order, and what is odd about them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from infnet.data.dicom_lengths import lengths_fit, starts_as_dicom
from infnet.data.itk_names import itk_name
from infnet.errors import GeometryError, InputError, UnreadableImageError

_CT_IMAGE_STORAGE = b"1.2.840.10008.5.1.4.1.1.2\0"  # DICOM PS3.4, B.5; padded to an even length
_SHIFTED_MM = 0.5
_TURNED = 0.01  # of a direction cosine, which headers hold to some digits only


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
    """The files of a folder's longest DICOM series, in the order of the volume's slices, and warnings.

    Raises `UnreadableImageError` where there is none, or where slices are damaged; `InputError` where two series are
    the longest.
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


def read_dicom_folder(folder: Path) -> tuple[sitk.Image, list[str]]:
    """The volume of a folder's longest series, and warnings. Raises `UnreadableImageError` or `InputError`."""
    reader = sitk.ImageSeriesReader()
    reader.ForceOrthogonalDirectionOff()  # the slices of a tilted gantry are not straight above each other
    try:
        files, warnings = dicom_files(folder)
        warnings += _slice_position_warnings(folder, files)
        reader.SetFileNames(files)
        return reader.Execute(), warnings
    except (RuntimeError, ValueError) as error:
        raise UnreadableImageError(
            f"{folder}: its DICOM images do not make one volume, being of several sizes or damaged; "
            "put the slices of one CT into a folder of their own."
        ) from error


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
        if file.name not in images and file.is_file():
            start = _start(file)
            is_dicom = starts_as_dicom(start)
            is_like_slices = file.suffix in endings and not (start if file.suffix == "" else is_dicom)
            if is_like_slices or (is_dicom and _CT_IMAGE_STORAGE in start):
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
    """Gaps and shifts between slices that a volume cannot show.

    Raises `InputError` for slices that are doubled, `GeometryError` for one that is turned, ValueError for damaged
    positions.
    """
    origins, cosines = [], []
    reader = sitk.ImageFileReader()
    for file in files:
        reader.SetFileName(file)
        reader.ReadImageInformation()
        if not (reader.HasMetaDataKey("0020|0032") and reader.HasMetaDataKey("0020|0037")):
            return []
        origins.append(np.array(reader.GetMetaData("0020|0032").split("\\"), float))
        cosines.append(np.array(reader.GetMetaData("0020|0037").split("\\"), float))
    if not np.isfinite([*origins, *np.reshape(cosines, (-1, 3))]).all():
        raise ValueError("a position that is no number")
    usual = np.median(cosines, axis=0)
    turned = abs(cosines - usual).max(axis=1)
    if turned.max() > _TURNED:
        raise GeometryError(
            f"{files[turned.argmax()]}: turned against the other slices of its series; put the slices of one volume, "
            "without scout and reformatted images, into a folder of their own."
        )
    normal = np.cross(usual[:3], usual[3:])
    positions = np.array(origins) @ normal
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
    along = (positions - positions[first]) / (positions[last] - positions[first])
    straight = origins[first] + along[:, None] * (origins[last] - origins[first])
    if (shift := np.linalg.norm(origins - straight, axis=1).max()) > _SHIFTED_MM:
        warnings.append(f"The slices are shifted by up to {shift:.1f} mm in their plane: positions are approximate.")
    return warnings
