"""Where the slices or frames of a DICOM series lie, and what is odd about that."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from infnet.errors import GeometryError, InputError, is_out_of_memory

if TYPE_CHECKING:
    from pydicom import Dataset

_SHIFTED_MM = 0.5
_TURNED = 0.01  # of a direction cosine, which headers hold to some digits only


def frames_in_order(image: sitk.Image, path: Path) -> tuple[sitk.Image, list[str]]:
    """The volume of a DICOM file, its frames where their own positions tell, and warnings.

    ``image`` is what GDCM made of it: that keeps the frames in the order of the file and 1 mm apart where they are
    uneven, straightens a tilted gantry, and gives every frame the rescale of one. Raises `GeometryError` or
    `InputError`.
    """
    from pydicom import dcmread

    if image.GetDepth() < 2 or image.GetNumberOfComponentsPerPixel() > 1:
        return image, []
    try:
        return _placed(image, dcmread(path, stop_before_pixels=True), path)
    except InputError:
        raise
    except Exception as error:  # of damaged headers, pydicom raises errors of many kinds
        if is_out_of_memory(error):
            raise
        raise GeometryError(
            f"{path}: its header does not tell position, pixel size and rescale of each frame, as that of a CT does. "
            "Export it as one image a slice, or as .nrrd."
        ) from error


def position_warnings(
    path: Path, names: Sequence[str], origins: NDArray[np.float64], cosines: NDArray[np.float64]
) -> list[str]:
    """Gaps and shifts between slices that a volume cannot show.

    names - of the slices, as messages tell them
    origins, cosines - Image Position (slices, 3) in mm and Image Orientation (slices, 6)

    Raises `InputError` for slices that are doubled, `GeometryError` for one that is turned, ValueError for positions
    that are no numbers.
    """
    if not (np.isfinite(origins).all() and np.isfinite(cosines).all()):
        raise ValueError("a position that is no number")
    usual = np.median(cosines, axis=0)
    turned = abs(cosines - usual).max(axis=1)
    if turned.max() > _TURNED:
        raise GeometryError(
            f"{path}, {names[turned.argmax()]}: turned against the other slices of its series; put the slices of one "
            "volume, without scout and reformatted images, into a folder of their own."
        )
    positions = origins @ _normal(cosines)
    order = np.argsort(positions)
    gaps = np.diff(positions[order])
    if gaps.min() < 0.01:
        doubled = " and ".join(names[i] for i in order[gaps.argmin() :][:2])
        raise InputError(
            f"{path}: several images of the series are at one position ({doubled}); take out copies, or separate the "
            "phases of the scan first."
        )
    warnings = []
    if gaps.max() - gaps.min() > 0.1 * np.median(gaps):
        warnings.append(
            f"The slices are not evenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm): some may be missing, and "
            "volumes and positions are approximate."
        )
    first, last = order[0], order[-1]
    along = (positions - positions[first]) / (positions[last] - positions[first])
    straight = origins[first] + along[:, None] * (origins[last] - origins[first])
    if (shift := np.linalg.norm(origins - straight, axis=1).max()) > _SHIFTED_MM:
        warnings.append(f"The slices are shifted by up to {shift:.1f} mm in their plane: positions are approximate.")
    return warnings


def _placed(image: sitk.Image, header: "Dataset", path: Path) -> tuple[sitk.Image, list[str]]:
    (shared,) = header.SharedFunctionalGroupsSequence
    frames = header.PerFrameFunctionalGroupsSequence
    if len(frames) != image.GetDepth():
        raise ValueError("frames that the header does not tell of")

    def values(group: str, *keywords: str) -> NDArray[np.float64]:
        of_frames = [getattr(frame if group in frame else shared, group)[0] for frame in frames]
        return np.array([np.hstack([item[keyword].value for keyword in keywords]) for item in of_frames], float)

    origins = values("PlanePositionSequence", "ImagePositionPatient")
    cosines = values("PlaneOrientationSequence", "ImageOrientationPatient")
    pixels = values("PixelMeasuresSequence", "PixelSpacing")
    rescales = values("PixelValueTransformationSequence", "RescaleSlope", "RescaleIntercept")
    if (pixels != pixels[0]).any() or (rescales != rescales[0]).any():
        raise InputError(
            f"{path}: its frames have several pixel sizes or rescales; export the CT again, as one image a slice."
        )
    warnings = position_warnings(path, [f"frame {i + 1}" for i in range(len(frames))], origins, cosines)
    order = np.argsort(origins @ _normal(cosines))
    between = (origins[order[-1]] - origins[order[0]]) / (len(order) - 1)
    distance = np.linalg.norm(between)
    placed = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(image)[order])
    placed.SetOrigin(origins[order[0]])
    placed.SetSpacing((pixels[0, 1], pixels[0, 0], distance))
    placed.SetDirection(np.column_stack([cosines[0, :3], cosines[0, 3:], between / distance]).ravel())
    return placed, warnings


def _normal(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    usual = np.median(cosines, axis=0)
    normal: NDArray[np.float64] = np.cross(usual[:3], usual[3:])
    return normal
