"""The lobe atlas that comes with the package, fitted to a patient's lungs.

For each lung, the atlas (lobe_atlas.npz, made by `infnet.anatomy.atlas_building`) has the mean signed distance, in mm,
to the lung's and to each lobe's surface. A quadratic map from the patient's lung to the atlas' is found by least
squares between the distances to both lungs' surfaces; a voxel is in the lobe whose distance there is the least
(shape-based averaging: Rohlfing and Maurer, IEEE Trans. Image Process. 2007).

A map with as few parameters as that is stiff: it carries the average fissures into the patient's lung without bending
them. More of them fit the lungs' outlines better and the fissures worse (docs/lungs-and-lobes.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import least_squares

from infnet.anatomy.morphology import box_of
from infnet.anatomy.regions import LOBES, LUNGS
from infnet.data.orientation import AxialView
from infnet.errors import AtlasError
from infnet.threads import in_threads

ATLAS_FILE = Path(__file__).with_name("lobe_atlas.npz")
ATTRIBUTION = "lobe atlas derived from the medrad label maps of lung lobes, CC BY-NC-SA 4.0 (lobe_atlas.LICENSE.txt)"

GRID_MM = 5.0
_MARGIN_MM = 25.0  # of a distance map around its lung
_CLOSING_MM = 10.0  # some lung masks leave out the vessels at the hilum, some do not
_FAR_MM = 20.0  # distances beyond it tell nothing about the surface
_SAMPLES = 4000
_STIFFNESS = 10.0  # mm of error at one sample, as which a coefficient of 1 (half the lung's size) counts
_STEPS = 40
_SMALLEST_VOXELS = 400  # of the grid: 50 mL
_CUT_SECTION = 0.15  # of the lung's largest axial section
_SLAB = 32  # slices
_LEAST_OVERLAP = 0.8  # Dice of the lung and the fitted atlas' lung

Array = NDArray[np.float32]
Points = NDArray[np.float64]  # (n, 3): z, y, x in mm
Map = Callable[[Points], Points]


@dataclass(frozen=True)
class Distances:
    """Signed distances in mm, negative inside, on a grid of `GRID_MM`: (z, y, x), and its first voxel's place in mm."""

    values: Array
    origin: Points

    def points(self) -> Points:
        """The voxels' places, (n, 3)."""
        return np.indices(self.values.shape).reshape(3, -1).T * GRID_MM + self.origin

    def at(self, points: Points) -> NDArray[np.float64]:
        """The distances at places, interpolated; beyond the grid, those at its border."""
        return _interpolated(self.values, ((points - self.origin) / GRID_MM).T)


@dataclass(frozen=True)
class LungShape:
    """A lung and its lobes, by label."""

    lung: Distances
    lobes: dict[int, Distances]


def fit_atlas(lungs: sitk.Image) -> sitk.Image:
    """The lobes (uint8, 1 to 5 as of `infnet.anatomy.regions.LOBES`) of a lung mask (1 right, 2 left), on its grid.

    Every voxel of the lungs is in a lobe. Raises `AtlasError` if a lung is cut off by the scan, is too small or
    does not resemble the atlas' lung.
    """
    view = AxialView(lungs)
    mask = view.voxels
    lobes = np.zeros(mask.shape, np.uint8)
    boxes = {side: box_of(found) for side in _atlas() if (found := mask == side).any()}

    def fill(side: int) -> None:
        _, *in_plane = boxes[side]
        part = (slice(None), *in_plane)  # the height is kept: whether the scan cuts off a lung shows at its ends
        lung = mask[part] == side
        _check_whole(lung)
        _fill(lobes[part], lung, view.spacing, _atlas()[side])

    in_threads(fill, *boxes)
    return view.restore(lobes)


def lung_distances(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> Distances:
    """The signed distance to the surface of a lung, closed over the vessels at its hilum."""
    inside, origin = _coarse(mask, spacing)
    outer = _signed_distance(inside)
    # Closing by distances: grown by the radius, then shrunk by it.
    closed = _signed_distance(outer < _CLOSING_MM) + np.float32(_CLOSING_MM)
    return Distances(closed, origin)


def lobe_distances(lobe: NDArray[np.bool_], spacing: NDArray[np.float64], lung: Distances) -> Distances:
    """The signed distance to the surface of a lobe, on the grid of its lung."""
    inside, _ = _coarse(lobe, spacing, lung)
    return Distances(_signed_distance(inside), lung.origin)


def fit(lung: Distances, atlas: Distances) -> Map:
    """The quadratic map from places in a lung to those in the atlas' lung."""
    (centre, half), (atlas_centre, atlas_half) = _box(lung), _box(atlas)
    points, target = lung.points(), lung.values.ravel()
    near = np.flatnonzero(abs(target) < _FAR_MM)
    chosen = np.random.default_rng(0).choice(near, min(_SAMPLES, len(near)), replace=False)
    target = target[chosen]
    unit = (points[chosen] - centre) / half
    terms = _quadratic_terms(unit)
    shape = (terms.shape[1], 3)
    surface = np.clip(atlas.values, -_FAR_MM, _FAR_MM)
    slopes = [slope / GRID_MM for slope in np.gradient(surface)]
    stiffness = _STIFFNESS * np.eye(terms.shape[1] * 3)

    def mapped(places: Points, coefficients: NDArray[np.float64]) -> Points:
        u = (places - centre) / half
        result: Points = atlas_centre + atlas_half * (u + _quadratic_terms(u) @ coefficients.reshape(shape))
        return result

    def index(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        there = atlas_centre + atlas_half * (unit + terms @ coefficients.reshape(shape))
        return np.asarray((there - atlas.origin) / GRID_MM).T

    def residuals(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([_interpolated(surface, index(coefficients)) - target, _STIFFNESS * coefficients])

    def jacobian(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        at = index(coefficients)
        slope = np.stack([_interpolated(component, at) for component in slopes], axis=1) * atlas_half
        return np.concatenate([(terms[:, :, None] * slope[:, None]).reshape(len(terms), -1), stiffness])

    solution = least_squares(residuals, np.zeros(stiffness.shape[0]), jacobian, max_nfev=_STEPS, ftol=1e-4)
    return lambda places: mapped(places, solution.x)


def overlap(lung: Distances, atlas: Distances, there: Points) -> float:
    """Dice of a lung and the atlas' lung, mapped to it; ``there`` is where the lung's points are in the atlas."""
    one, other = lung.values.ravel() < 0, atlas.at(there) < 0
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))


@cache
def _atlas() -> dict[int, LungShape]:
    """The atlas' lungs by label."""
    with np.load(ATLAS_FILE) as file:
        half_mm = {name: file[name] for name in file.files}
    origin = np.zeros(3)
    shapes = {}
    for side in (lung.label for lung in LUNGS):
        lung, *lobes = (Distances(values.astype(np.float32) / 2, origin) for values in half_mm[f"lung{side}"])
        labels = [lobe.label for lobe in LOBES if lobe.lung == side]
        shapes[side] = LungShape(lung, dict(zip(labels, lobes, strict=True)))
    return shapes


def save_atlas(shapes: dict[int, LungShape], path: Path) -> None:
    """Write an atlas: for each lung the distances of the lung and of its lobes, in steps of 0.5 mm, (lobe, z, y, x)."""
    half_mm: dict[str, Any] = {}
    for side, shape in shapes.items():
        values = np.stack([distances.values for distances in (shape.lung, *shape.lobes.values())])
        half_mm[f"lung{side}"] = np.clip(np.round(2 * values), -127, 127).astype(np.int8)
    np.savez_compressed(path, **half_mm)


def fill_lobes(
    labels: NDArray[np.uint8], lung: NDArray[np.bool_], spacing: NDArray[np.float64], atlas: LungShape
) -> float:
    """Give each voxel of ``lung`` its lobe's label. Returns the overlap of the lung and the fitted atlas."""
    distances = lung_distances(lung, spacing)
    there = fit(distances, atlas.lung)(distances.points())
    coarse = {
        label: lobe.at(there).reshape(distances.values.shape).astype(np.float32) for label, lobe in atlas.lobes.items()
    }
    box = box_of(lung)
    along_z, along_y, along_x = (
        _interpolation(part, step, first, count)
        for part, step, first, count in zip(box, spacing, distances.origin, distances.values.shape, strict=True)
    )
    for start in range(0, len(along_z), _SLAB):  # of a whole lung, the distances alone would take gigabytes
        here = along_z[start : start + _SLAB]
        slab = (slice(box[0].start + start, box[0].start + start + len(here)), *box[1:])
        nearest = np.full([len(here), len(along_y), len(along_x)], np.inf, np.float32)
        for label, values in coarse.items():
            distance = along_y @ np.tensordot(here, values, 1) @ along_x.T
            np.copyto(labels[slab], label, where=(distance < nearest) & lung[slab])
            np.minimum(nearest, distance, out=nearest)
    return overlap(distances, atlas.lung, there)


def _fill(labels: NDArray[np.uint8], lung: NDArray[np.bool_], spacing: NDArray[np.float64], atlas: LungShape) -> None:
    if np.count_nonzero(lung) * spacing.prod() < _SMALLEST_VOXELS * GRID_MM**3:
        raise AtlasError("A lung is too small for the lobe atlas.")
    found = fill_lobes(labels, lung, spacing, atlas)
    if found < _LEAST_OVERLAP:
        raise AtlasError(
            f"A lung is too unlike the lobe atlas (Dice {found:.2f} after fitting): its mask may lack dense lung or "
            "have other gas in it."
        )


def _check_whole(lung: NDArray[np.bool_]) -> None:
    sections = np.count_nonzero(lung, axis=(1, 2))
    if max(sections[0], sections[-1]) > _CUT_SECTION * sections.max():
        raise AtlasError("The scan cuts off a lung, and the lobe atlas fits whole lungs only.")


def _quadratic_terms(unit: Points) -> NDArray[np.float64]:
    """The ten products of powers of z, y and x up to the second, (n, 10)."""
    powers = [power for power in product(range(3), repeat=3) if sum(power) <= 2]
    return np.stack([np.prod(unit**power, axis=1) for power in powers], axis=1)


def _box(lung: Distances) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre and half size, in mm along each axis, of a lung without its outermost fiftieths."""
    low, high = np.quantile(lung.points()[lung.values.ravel() < 0], (0.02, 0.98), axis=0)
    return (low + high) / 2, (high - low) / 2


def _coarse(
    mask: NDArray[np.bool_], spacing: NDArray[np.float64], like: Distances | None = None
) -> tuple[NDArray[np.bool_], Points]:
    """A mask on a grid of `GRID_MM` with a margin, or on that of ``like``, and the grid's origin in mm."""
    box = box_of(mask)
    factors = [max(1, round(GRID_MM / 2 / step)) for step in spacing]
    # A rim of background, for the interpolation at the mask's edge; and whole blocks, without what is left over.
    padded = np.pad(mask[box], [(2 * n, 3 * n) for n in factors])
    number = [length // n for length, n in zip(padded.shape, factors, strict=True)]
    padded = padded[tuple(slice(count * n) for count, n in zip(number, factors, strict=True))]
    blocks = padded.reshape([length for pair in zip(number, factors, strict=True) for length in pair])
    image = sitk.GetImageFromArray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))
    image.SetSpacing((spacing * factors)[::-1])
    first = [axis.start + (n - 1) / 2 - 2 * n for axis, n in zip(box, factors, strict=True)]
    image.SetOrigin((np.array(first) * spacing)[::-1])
    if like is None:
        origin = np.array([axis.start for axis in box]) * spacing - _MARGIN_MM
        height = np.array([axis.stop - axis.start for axis in box]) * spacing + 2 * _MARGIN_MM
        size = np.ceil(height / GRID_MM).astype(int)
    else:
        origin, size = like.origin, np.array(like.values.shape)
    grid = sitk.Image(size[::-1].tolist(), sitk.sitkFloat32)
    grid.SetSpacing([GRID_MM] * 3)
    grid.SetOrigin(origin[::-1])
    return sitk.GetArrayFromImage(sitk.Resample(image, grid)) >= 0.5, origin


def _interpolation(part: slice, step: float, first: float, count: int) -> Array:
    """Linear interpolation along an axis as a matrix: voxels ``part``, ``step`` mm apart, from ``count`` of the grid's,
    the first of which is at ``first`` mm."""
    index = (np.arange(part.start, part.stop) * step - first) / GRID_MM
    weights: Array = np.maximum(1 - abs(index[:, None] - np.arange(count)), 0).astype(np.float32)
    return weights


def _signed_distance(inside: NDArray[np.bool_]) -> Array:
    """Distance to the mask's border in mm, negative inside."""
    edt = ndimage.distance_transform_edt
    distance: Array = (edt(~inside, sampling=GRID_MM) - edt(inside, sampling=GRID_MM)).astype(np.float32)
    return distance


def _interpolated(values: NDArray[np.floating], index: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = ndimage.map_coordinates(values, index, np.float64, order=1, mode="nearest")
    return result
