"""Predictions and truths of CT volumes: read on one grid; volumes, and distances between surfaces."""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from infnet.data.segmentations import segment_names
from infnet.data.volumes import read_image
from infnet.errors import InputError
from infnet.evaluation.metrics import Metrics
from infnet.evaluation.pairs import Pair
from infnet.quantification.label_images import read_findings


def read_volumes(pair: Pair, finding: int | None) -> tuple[NDArray[np.float32], NDArray[np.bool_], sitk.Image]:
    """A prediction in [0, 1] and its truth, both (z, y, x) on the truth's grid, and an image that has this grid.

    A truth is a label image or a segmentation (`read_findings`); so is a prediction, or it is an image of
    probabilities: one with fractions. ``finding``: the label that counts, or any if None. A prediction on another grid
    is taken from it by nearest neighbour. Raises `InputError`.
    """
    grid = read_findings(pair.truth, read_image(pair.truth))
    truth = _mask(grid, finding)
    image = read_image(pair.prediction)
    if image.GetDimension() != 3 or (image.GetNumberOfComponentsPerPixel() != 1 and not segment_names(image)):
        raise InputError(f"{pair.prediction}: not an image of three dimensions with one value a voxel.")
    if not _has_fractions(image):
        return _mask(read_findings(pair.prediction, grid), finding).astype(np.float32), truth, grid
    probability = sitk.GetArrayFromImage(
        sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0, sitk.sitkFloat32)
    )
    if not (probability.min() >= 0 and probability.max() <= 1):  # also where something is not a number
        raise InputError(f"{pair.prediction}: has fractions, but not all are probabilities from 0 to 1.")
    return probability, truth, grid


def geometric_metrics(prediction: NDArray[np.bool_], truth: NDArray[np.bool_], grid: sitk.Image) -> Metrics:
    """What two masks (z, y, x) measure in space, ``grid`` having their geometry.

    ``volume_ml``, ``truth_volume_ml``; ``hausdorff_95_mm``: the larger of the two directed 95th percentiles of the
    distances between the surfaces; ``surface_distance_mm``: the mean of all these distances, from either surface. The
    distances are those between voxel centres, and None where prediction or truth is empty.
    """
    matrix = np.reshape(grid.GetDirection(), (3, 3)) * grid.GetSpacing()
    voxel_ml = float(abs(np.linalg.det(matrix))) / 1000
    metrics: Metrics = {
        "volume_ml": int(prediction.sum()) * voxel_ml,
        "truth_volume_ml": int(truth.sum()) * voxel_ml,
        "hausdorff_95_mm": None,
        "surface_distance_mm": None,
    }
    if prediction.any() and truth.any():
        # Points in space, not voxels: on a grid of sheared axes (gantry tilt) voxel distances are not millimetres.
        surfaces = [_surface(mask)[:, ::-1] @ matrix.T for mask in (prediction, truth)]
        there, back = (KDTree(b).query(a)[0] for a, b in (surfaces, surfaces[::-1]))
        metrics["hausdorff_95_mm"] = float(max(np.percentile(there, 95), np.percentile(back, 95)))
        metrics["surface_distance_mm"] = float(np.concatenate([there, back]).mean())
    return metrics


def _mask(labels: sitk.Image, finding: int | None) -> NDArray[np.bool_]:
    voxels = sitk.GetArrayViewFromImage(labels)
    mask: NDArray[np.bool_] = voxels > 0 if finding is None else voxels == finding
    return mask


def _has_fractions(image: sitk.Image) -> bool:
    voxels = sitk.GetArrayViewFromImage(image)
    return voxels.dtype.kind == "f" and bool(np.any(voxels % 1))


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The indices (n, 3) of the voxels of a mask that have a neighbour outside it, or none: at the image's border."""
    return np.argwhere(mask & ~binary_erosion(mask))
