"""The DICOM series that a result was computed on, and a result's images in the order of its slices."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from highdicom import PatientSexValues
from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DA, DS, TM

from infnet.data.dicom_folder import dicom_files
from infnet.data.volumes import read_ct
from infnet.errors import GeometryError, InputError, UnreadableImageError, is_out_of_memory

_NEEDED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
)
# Must be there, empty if unknown (type 2), in what refers to these images; files in the wild lack them.
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)
# Of those, what highdicom takes apart; files in the wild have "male", and dates that are none.
_FORMS: Mapping[str, Callable[[Any], object]] = {
    "PatientBirthDate": DA,
    "PatientSex": PatientSexValues,
    "StudyDate": DA,
    "StudyTime": TM,
}
_TOLERANCE_VOXELS, _TOLERANCE_COSINES = 0.1, 1e-3


@dataclass(frozen=True)
class SourceSeries:
    """A CT and the DICOM images that it was read from.

    ct - in HU, on the grid that `read_ct` makes of the series: slice k, row, column are those of ``images[k]``
    images - their attributes without the pixels
    warnings - what is unusual about the geometry, one sentence each
    """

    ct: sitk.Image
    images: list[Dataset]
    warnings: list[str]

    @property
    def uid(self) -> str:
        """The Series Instance UID."""
        return str(self.images[0].SeriesInstanceUID)

    def check_grid(self, image: sitk.Image, path: Path) -> None:
        """Raise `GeometryError` where the voxels of ``image``, read from ``path``, do not lie on the series'.

        Axes may be permuted and flipped, and the image may be a part of the volume.
        """
        ours, theirs = (np.reshape(i.GetDirection(), (3, 3)) * i.GetSpacing() for i in (self.ct, image))
        to_voxels = np.linalg.solve(theirs, ours)
        offset = np.linalg.solve(theirs, np.subtract(self.ct.GetOrigin(), image.GetOrigin()))
        whole = to_voxels.round()
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in self.ct.GetSize()])).reshape(3, -1)
        drift = abs((to_voxels - whole) @ corners + (offset - offset.round())[:, None]).max()
        if not (np.array_equal(whole.T @ whole, np.eye(3)) and drift < _TOLERANCE_VOXELS):
            raise GeometryError(
                f"{path}: its voxels ({_grid(image)}) do not lie on those of the DICOM series {self.uid} "
                f"({_grid(self.ct)}). Give the series that the result was computed on."
            )

    def on_slices(self, image: sitk.Image, path: Path) -> sitk.Image:
        """``image``, read from ``path``, with its voxels in the order of the series' slices, rows and columns.

        They are moved, never interpolated; where there are none is 0. Raises `GeometryError` as `check_grid` does, and
        where voxels that are not 0 lie outside the series.
        """
        self.check_grid(image, path)
        placed: sitk.Image = sitk.Resample(image, self.ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        there, here = (np.count_nonzero(sitk.GetArrayViewFromImage(i)) for i in (image, placed))
        if lost := there - here:
            raise GeometryError(
                f"{path}: {lost} of its voxels that are not 0 lie outside the DICOM series {self.uid}. Give the whole "
                "series that the result was computed on."
            )
        return placed


def read_series(folder: Path, series_uid: str | None = None, trust_hu: bool = False) -> SourceSeries:
    """The CT series in a folder: the only one, or the longest (`read_ct`).

    ``series_uid`` is that of the series that a result was computed on, where it is known; ``trust_hu`` as for
    `read_ct`. Raises `InputError` and what `read_ct` raises.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the one that holds the DICOM slices.")
    ct, warnings = read_ct(folder, trust_hu)
    files, _ = dicom_files(folder)
    distance = _distance_between_slices(ct)
    images: list[Dataset] = []
    left_out: set[str] = set()
    for file in files:
        try:
            images.append(dcmread(file, stop_before_pixels=True, force=True))  # without its preamble too
            _make_usable(images[-1], images[0], file, distance, left_out)
        except InputError:
            raise
        except Exception as error:  # of damaged headers, pydicom raises errors of many kinds
            if is_out_of_memory(error):
                raise
            raise UnreadableImageError(f"{file}: its header is damaged ({error}); copy the series again.") from error
    if len({image.SOPInstanceUID for image in images}) < len(images):
        raise InputError(
            f"{folder}: several images of the series have the same SOP Instance UID, so that no DICOM object can tell "
            "them apart; export or anonymise it again."
        )
    if left_out:
        warnings.append(f"Left out, being of no form that DICOM has for it: {', '.join(sorted(left_out))}.")
    series = SourceSeries(ct, images, warnings)
    if series_uid not in (None, series.uid):
        raise InputError(f"{folder}: holds the series {series.uid}; the result is of the series {series_uid}.")
    return series


def _make_usable(image: Dataset, first: Dataset, file: str, distance: float, left_out: set[str]) -> None:
    """Give an image what objects that refer to it need, and add to ``left_out`` what goes for that.

    Raises `InputError` where nothing can refer to it, and any error where its header is damaged.
    """
    if image.get("SOPClassUID", CTImageStorage) != CTImageStorage:
        raise InputError(f"{file}: {image.SOPClassUID.name}, where one CT slice a file is needed.")
    missing = [keyword for keyword in _NEEDED if not image.get(keyword)]
    if missing:
        raise InputError(f"{file}: without {', '.join(missing)}, no DICOM object can refer to this image.")
    if not np.allclose(image.ImageOrientationPatient, first.ImageOrientationPatient, atol=_TOLERANCE_COSINES):
        raise GeometryError(f"{file}: turned against the other slices of its series; put them into another folder.")
    for keyword in _MAY_BE_EMPTY:
        value = image.get(keyword)
        if value and not _has_form(keyword, value):
            left_out.add(keyword)
        if not value or keyword in left_out:
            setattr(image, keyword, None)
    if re.search("ISO 2022|ISO_IR 6$", str(image.get("SpecificCharacterSet"))):  # not all of which highdicom takes
        image.SpecificCharacterSet = "ISO_IR 192"  # pydicom has read the values by the other one
    # highdicom copies these, and scanners write them with a sign, of last digits that differ, or not at all.
    image.SpacingBetweenSlices = DS(distance, auto_format=True)
    image.SliceThickness = image.get("SliceThickness") or image.SpacingBetweenSlices
    image.ImageOrientationPatient = first.ImageOrientationPatient


def _has_form(keyword: str, value: object) -> bool:
    if isinstance(value, MultiValue):
        return False
    try:
        _FORMS.get(keyword, str)(value)
    except ValueError:
        return False
    return True


def _distance_between_slices(ct: sitk.Image) -> float:
    """In mm, at right angles to the slices, which need not lie straight above each other."""
    row, column, between = np.reshape(ct.GetDirection(), (3, 3)).T
    return float(abs(np.cross(row, column) @ between) * ct.GetSpacing()[2])


def _grid(image: sitk.Image) -> str:
    size = " x ".join(str(count) for count in image.GetSize())
    spacing, origin = (" ".join(f"{v:.5g}" for v in values) for values in (image.GetSpacing(), image.GetOrigin()))
    return f"{size} voxels of {spacing} mm from {origin}"
