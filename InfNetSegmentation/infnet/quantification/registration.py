"""A later CT's lungs brought onto an earlier one's: an affine transform of the masks, then B-splines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from infnet.anatomy.lungs import UNLIKELY_SHARE
from infnet.anatomy.morphology import box_of
from infnet.anatomy.regions import LUNGS, Region
from infnet.data.orientation import AxialView
from infnet.errors import InputError, NoLungError
from infnet.reporting import Progress, silent

_SPACING_MM = 5.0  # of the grid on which they are registered
_MARGIN_MM = 24.0  # of what is around the lungs
_GRID_MM = 40.0  # of the B-splines: lobes move, lesions are not to be pulled into each other
_TISSUE_HU = 0.0  # stands for all that is not lung
_SAMPLES = 6000  # voxels that guide the B-splines: three for each of their parameters, in a chest
_SEED = 3  # of the samples' places within their voxels; by default it is the clock, and no two runs give one map
_AROUND_VOXELS = 3  # how far from the lungs the B-splines still look
_DISEASED = 0.25  # from this share of a coarse voxel
_FEWEST_SLICES = 4  # that ITK's Gaussian takes
_POOR_DICE, _FOLDED = 0.9, 0.001


class Chest(NamedTuple):
    """Images on one grid: a CT in HU, its lungs (uint8: 1 right, 2 left) and its findings (nonzero in each)."""

    ct: sitk.Image
    lungs: sitk.Image
    findings: sitk.Image


@dataclass(frozen=True)
class LungRegistration:
    """The way from the earlier CT's space into the later one's, and how well it fits.

    transform - takes points (mm, LPS) of the earlier CT to the later one, as `SimpleITK.Resample` needs it
    dice_before, dice_after - overlap of the lungs as scanned and as registered, of what both scans show, 0 to 1
    folded - share of the earlier lungs where the transform turns space inside out, 0 to 1
    affine - the transform without the splines, which can be inverted
    left_out - names of the lungs that did not guide it
    """

    transform: sitk.Transform
    dice_before: float
    dice_after: float
    folded: float
    affine: sitk.Transform
    left_out: Sequence[str] = ()

    @property
    def warnings(self) -> list[str]:
        """Why not to trust a map that is made with it, one sentence each, or none."""
        warnings = [
            f"Not both studies show the whole {lung}: do not trust what is called new, resolved or persistent there."
            for lung in self.left_out
        ]
        if self.dice_after < _POOR_DICE:
            warnings.append(
                f"The lungs could not be brought onto each other well (Dice {self.dice_after:.2f}): do not trust what "
                "is called new, resolved or persistent."
            )
        if self.folded > _FOLDED:
            warnings.append(
                f"The registration folds {100 * self.folded:.1f} % of the lungs: do not trust the map of change there."
            )
        return warnings


def register_lungs(earlier: Chest, later: Chest, progress: Progress = silent) -> LungRegistration:
    """Register the lungs that two CTs of one patient both show, of any geometry.

    Voxels with findings in either CT do not guide the B-splines: disease that comes
    or goes is not a motion. At 5 mm voxels. Raises `NoLungError`, and `InputError` for fewer than four slices.
    """
    progress("register", 0, 3)
    left_out = _not_in_both(earlier, later)
    for lung in left_out:  # it would draw the other one to the middle, or to its side
        earlier, later = (
            chest._replace(lungs=sitk.Mask(chest.lungs, chest.lungs != lung.label)) for chest in (earlier, later)
        )
    fixed, fixed_lungs, fixed_guide = _prepared(earlier)
    moving, moving_lungs, moving_guide = _prepared(later)
    affine = _affine(fixed_lungs, moving_lungs)
    progress("register", 1, 3)
    splines = _splines(fixed, moving, affine, fixed_guide, moving_guide)
    progress("register", 2, 3)
    transform = sitk.CompositeTransform([affine, splines])  # the last one is applied first
    registration = LungRegistration(
        transform,
        _dice(fixed_lungs, moving_lungs, sitk.Transform(), later.ct),
        _dice(fixed_lungs, moving_lungs, transform, later.ct),
        _folded(transform, fixed_lungs),
        affine,
        [lung.name for lung in left_out],
    )
    progress("register", 3, 3)
    return registration


def shown(scan: sitk.Image, grid: sitk.Image, transform: sitk.Transform) -> NDArray[np.bool_]:
    """Which voxels of a grid, (z, y, x), a scan shows, if ``transform`` takes the grid's points to the scan's."""
    inside = sitk.Image(scan.GetSize(), sitk.sitkUInt8) + 1
    inside.CopyInformation(scan)
    resampled = sitk.Resample(inside, grid, transform, sitk.sitkNearestNeighbor, 0)
    return np.asarray(sitk.GetArrayViewFromImage(resampled) > 0)


def _not_in_both(earlier: Chest, later: Chest) -> list[Region]:
    """The lungs that one of the masks has, and of which the other has nothing, or only a piece."""
    masks = [sitk.GetArrayViewFromImage(chest.lungs) for chest in (earlier, later)]
    voxels = np.array([[np.count_nonzero(mask == lung.label) for lung in LUNGS] for mask in masks])
    whole = voxels > UNLIKELY_SHARE * voxels.max(axis=1, keepdims=True)
    found = voxels.any(axis=0) & ~whole.all(axis=0)
    return [lung for lung, in_one in zip(LUNGS, found, strict=True) if in_one]


def _prepared(chest: Chest) -> tuple[sitk.Image, sitk.Image, sitk.Image]:
    """HU of the lungs in a sea of tissue, the lungs, and what may guide the B-splines, on a coarse grid around them."""
    views = [AxialView(image).image for image in chest]
    inside = sitk.GetArrayViewFromImage(views[1]) > 0
    if not inside.any():
        raise NoLungError("The studies have no lung in common: there is nothing to register.")
    spacing = np.array(views[0].GetSpacing())
    margin = np.ceil(_MARGIN_MM / spacing).astype(int).tolist()
    box = tuple(
        slice(max(0, part.start - n), part.stop + n) for part, n in zip(box_of(inside)[::-1], margin, strict=True)
    )
    hu, lung, disease = views[0][box], views[1][box] > 0, views[2][box] > 0
    grid = grid_over(corners(hu))
    if min(hu.GetSize()) < _FEWEST_SLICES:
        raise InputError("A CT has fewer than four slices: too few to compare it with another.")

    def resample(image: sitk.Image, outside: float) -> sitk.Image:
        # Averaged first: a voxel of the coarse grid is to stand for all that it covers.
        sigma = np.maximum(_SPACING_MM / 2, spacing / 4).tolist()
        smooth = sitk.SmoothingRecursiveGaussian(sitk.Cast(image, sitk.sitkFloat32), sigma)
        return sitk.Resample(smooth, grid, sitk.Transform(), sitk.sitkLinear, outside)

    in_lung = sitk.Mask(sitk.Clamp(hu, sitk.sitkFloat32, -1000, _TISSUE_HU), lung, _TISSUE_HU)
    share = resample(lung, 0)
    around = sitk.BinaryDilate(share > _DISEASED, [_AROUND_VOXELS] * 3)
    return resample(in_lung, _TISSUE_HU), share, around & (resample(disease, 0) < _DISEASED)


def corners(image: sitk.Image) -> NDArray[np.float64]:
    """The eight corners of an image, (8, 3), x, y, z in mm."""
    ends = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in image.GetSize()))).reshape(3, -1).T
    return np.array([image.TransformContinuousIndexToPhysicalPoint(end.tolist()) for end in ends])


def grid_over(points: NDArray[np.float64], margin_mm: float = 0.0) -> sitk.Image:
    """A grid of 5 mm along the patient's axes that holds the points (n, 3) and a margin around them."""
    extent = np.ptp(points, axis=0) + 2 * margin_mm
    grid = sitk.Image([max(8, int(np.ceil(mm / _SPACING_MM))) for mm in extent], sitk.sitkFloat32)
    grid.SetSpacing((_SPACING_MM,) * 3)
    grid.SetOrigin((points.min(axis=0) - margin_mm + _SPACING_MM / 2).tolist())
    return grid


def _affine(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    """Of the smooth lung masks, from their moments."""
    registration = sitk.ImageRegistrationMethod()
    registration.SetInitialTransform(
        sitk.CenteredTransformInitializer(
            fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
        ),
        inPlace=False,
    )
    registration.SetMetricAsMeanSquares()
    registration.SetInterpolator(sitk.sitkLinear)
    registration.SetOptimizerAsRegularStepGradientDescent(4.0, 0.01, 100, gradientMagnitudeTolerance=1e-9)
    registration.SetOptimizerScalesFromPhysicalShift()
    registration.SetShrinkFactorsPerLevel([2, 1])
    registration.SetSmoothingSigmasPerLevel([2, 1])
    return cast(sitk.Transform, registration.Execute(fixed, moving))


def _splines(
    fixed: sitk.Image, moving: sitk.Image, affine: sitk.Transform, fixed_mask: sitk.Image, moving_mask: sitk.Image
) -> sitk.Transform:
    """What the affine transform leaves, by lung borders and the vessels and fissures within."""
    mesh = [max(1, round(n * _SPACING_MM / _GRID_MM)) for n in fixed.GetSize()]
    registration = sitk.ImageRegistrationMethod()
    registration.SetMovingInitialTransform(affine)
    registration.SetInitialTransform(sitk.BSplineTransformInitializer(fixed, mesh), inPlace=False)
    registration.SetMetricAsMeanSquares()
    registration.SetMetricFixedMask(fixed_mask)
    registration.SetMetricMovingMask(moving_mask)
    registration.SetInterpolator(sitk.sitkLinear)
    registration.SetMetricSamplingStrategy(registration.REGULAR)
    guiding = np.count_nonzero(sitk.GetArrayViewFromImage(fixed_mask))
    registration.SetMetricSamplingPercentage(min(1.0, _SAMPLES / guiding), _SEED)
    registration.SetOptimizerAsLBFGSB(numberOfIterations=20, costFunctionConvergenceFactor=1e10)
    return cast(sitk.Transform, registration.Execute(fixed, moving))


def _dice(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform, scan: sitk.Image) -> float:
    moved = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0)
    seen = shown(scan, fixed, transform)
    one, other = (sitk.GetArrayViewFromImage(image)[seen] > 0.5 for image in (fixed, moved))
    voxels = np.count_nonzero(one) + np.count_nonzero(other)
    return float(2 * np.count_nonzero(one & other) / voxels) if voxels else 0.0


def _folded(transform: sitk.Transform, lungs: sitk.Image) -> float:
    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, lungs.GetSize(), lungs.GetOrigin(), lungs.GetSpacing(), lungs.GetDirection()
    )
    jacobian = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
    return float(np.mean(jacobian[sitk.GetArrayViewFromImage(lungs) > 0.5] <= 0))
