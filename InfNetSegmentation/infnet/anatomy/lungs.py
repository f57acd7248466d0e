"""A first lung mask by threshold and morphology, and the envelope that dense lung is looked for in.

The steps are the classical ones (Hu, Hoffman and Reinhardt, IEEE TMI 2001): air inside the body, less the airways,
in two parts, with a smooth border. A threshold cannot see consolidated lung; what borders on the chest wall is
regained from the convexity of the lung's outer surface.
"""

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops
from skimage.morphology import convex_hull_image
from skimage.segmentation import watershed

from infnet.data.orientation import AxialView
from infnet.errors import NoLungError
from infnet.reporting import Progress, silent

RIGHT, LEFT = 1, 2

_WORKING_SPACING_MM = 2.0  # of the morphology; the border is refined on the CT's own grid
_AIR_BELOW_HU = -400.0  # half way between aerated lung and soft tissue
_GAS_BELOW_HU = -930.0  # mean of outside air and bowel gas; that of lung is above, emphysema included
_TABLE_MM = 4.0  # half the thickness of a table's shell, below that of a chest wall
_CLOSING_MM = 8.0  # half the width of vessels and nodules that are closed over
_WALL_CLOSING_MM = 20.0  # the same at the chest wall, for consolidation
_SMALLEST_PIECE = 0.1  # of the largest; smaller pieces of air are more often bowel than lung
_POCKET_MM = 8.0
_AIRWAY_WALL_MM = 2.0
_LARGEST_AIRWAYS_ML = 130.0
_TRACHEA_SWAY_MM = 25.0
_SMALLEST_SECTION_MM2 = 1500.0  # of the lungs' largest axial section

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Spacing = NDArray[np.float64]  # mm, (z, y, x)


def segment_lungs(ct: sitk.Image, progress: Progress = silent) -> sitk.Image:
    """Lung mask of a chest CT (HU): uint8 on the CT's grid, 1 right lung, 2 left lung (the patient's), 0 elsewhere.

    Trachea and main bronchi are left out roughly. Raises `NoLungError` if there is no lung.
    """
    view = AxialView(ct)
    working = sitk.BinShrink(view.image, _shrink_factors(view.image))
    hu = np.maximum(sitk.GetArrayFromImage(working).astype(np.float32), -1024)
    spacing = np.array(working.GetSpacing()[::-1])
    progress("lungs", 1, 6)
    air = _air_inside_body(hu, spacing)
    progress("lungs", 2, 6)
    airways = _airways(hu, air, spacing)
    progress("lungs", 3, 6)
    lungs = _two_lungs(hu, air & ~airways, spacing)
    progress("lungs", 4, 6)
    lungs = _close(lungs, airways, spacing)
    progress("lungs", 5, 6)
    labels = _on_full_grid(lungs, working, view)
    progress("lungs", 6, 6)
    return view.restore(labels)


def _shrink_factors(image: sitk.Image) -> list[int]:
    return [
        min(size, max(1, round(_WORKING_SPACING_MM / spacing)))
        for size, spacing in zip(image.GetSize(), image.GetSpacing(), strict=True)
    ]


def _morphology(filter_: type, mask: Mask, spacing: Spacing, radius_mm: tuple[float, float, float]) -> Mask:
    """Binary morphology with an ellipsoid of the given radii (z, y, x)."""
    radius = [round(mm / s) for mm, s in zip(radius_mm[::-1], spacing[::-1], strict=True)]
    image = sitk.GetImageFromArray(mask.view(np.uint8))
    result: Mask = sitk.GetArrayFromImage(filter_(image, radius, sitk.sitkBall)).view(bool)
    return result


def _air_inside_body(hu: NDArray[np.float32], spacing: Spacing) -> Mask:
    """Air that is neither outside the body nor in the table."""
    air = hu < _AIR_BELOW_HU
    tissue = _morphology(sitk.BinaryMorphologicalOpening, ~air, spacing, (0, _TABLE_MM, _TABLE_MM))
    body = _largest_component(tissue)
    components, _ = ndimage.label(air)
    mean = _mean_by_component(hu, components)
    # A tightly cropped lung touches the border too: what tells it from outside air is its density.
    at_border = np.unique(np.concatenate([components[:, [0, -1], :].ravel(), components[:, :, [0, -1]].ravel()]))
    outside = np.zeros(len(mean), bool)
    outside[at_border] = mean[at_border] < _GAS_BELOW_HU
    return air & ~outside[components] & _slice_hulls(body) & ~_gas_pockets(hu, spacing)


def _gas_pockets(hu: NDArray[np.float32], spacing: Spacing) -> Mask:
    """Gas without tissue in it, such as the stomach's, which would join the lung where the wall between is thin."""
    gas = ndimage.uniform_filter(hu, (1, 3, 3)) < -950
    core = _morphology(sitk.BinaryErode, gas, spacing, (_POCKET_MM,) * 3)
    return _morphology(sitk.BinaryDilate, core, spacing, (_POCKET_MM + 4,) * 3)


def _airways(hu: NDArray[np.float32], air: Mask, spacing: Spacing) -> Mask:
    """Trachea and main bronchi: grown from the trachea's lumen until the next step would leak into lung."""
    airways = np.zeros_like(air)
    seeds = _trachea_seeds(hu, air, spacing)
    image = sitk.GetImageFromArray(np.where(air, hu, 0))
    for upper in range(-980, -800, 20) if seeds else []:
        grown = sitk.GetArrayFromImage(sitk.ConnectedThreshold(image, seeds, -1024.0, float(upper))).view(bool)
        if grown.sum() * spacing.prod() / 1000 > _LARGEST_AIRWAYS_ML:
            break
        airways = grown
    return _morphology(sitk.BinaryDilate, airways, spacing, (_AIRWAY_WALL_MM,) * 3)


def _trachea_seeds(hu: NDArray[np.float32], air: Mask, spacing: Spacing) -> list[tuple[int, int, int]]:
    """Indices (x, y, z) of the darkest voxel of each section that looks like the trachea's, in the upper two thirds."""
    pixel_mm2 = spacing[1] * spacing[2]
    seeds = []
    for z in range(len(air) // 3, len(air)):
        components, _ = ndimage.label(air[z])
        for region in regionprops(components, hu[z]):
            if (
                60 < region.area * pixel_mm2 < 700
                and region.solidity > 0.8
                and region.eccentricity < 0.92
                and region.intensity_min < -940
                and region.intensity_mean < -800
            ):
                section = np.where(components == region.label, hu[z], 0)
                y, x = np.unravel_index(np.argmin(section), section.shape)
                seeds.append((int(x), int(y), z))
    # The trachea runs upright; what lies elsewhere is a tip of lung or gas.
    off_axis = np.abs(np.array(seeds) - np.median(seeds, axis=0))[:, :2] * spacing[:0:-1] if seeds else []
    return [seed for seed, off in zip(seeds, off_axis, strict=True) if max(off) < _TRACHEA_SWAY_MM]


def _two_lungs(hu: NDArray[np.float32], air: Mask, spacing: Spacing) -> Labels:
    """The lungs among the pieces of air, as labels; NoLungError if there are none."""
    components, _ = ndimage.label(air)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    sizes[_mean_by_component(hu, components) < _GAS_BELOW_HU] = 0
    largest = components == np.argmax(sizes)
    section_mm2 = largest.sum(axis=(1, 2)).max() * spacing[1] * spacing[2]
    if not sizes.max() or section_mm2 < _SMALLEST_SECTION_MM2:
        raise NoLungError("No lung was found in the CT.")
    parts = _split(largest, spacing)
    for label in np.argsort(sizes)[-2::-1]:
        if sizes[label] < _SMALLEST_PIECE * sizes.max():
            break
        parts.append(components == label)
    x = [_centre(part)[2] for part in parts]
    # x runs from the patient's right to the left.
    if len(parts) > 1 and _beside(parts[0], parts[1], spacing):
        midline = (x[0] + x[1]) / 2
    else:
        midline = _spine(hu, largest, spacing)
    labels = np.zeros(air.shape, np.uint8)
    for part, part_x in zip(parts, x, strict=True):
        labels[part] = LEFT if part_x > midline else RIGHT
    return labels


def _split(piece: Mask, spacing: Spacing) -> list[Mask]:
    """Lungs that touch, parted at their narrowest connection; the piece alone if it is one lung."""
    depth = ndimage.distance_transform_edt(piece, sampling=spacing)
    for margin_mm in np.arange(0.5, 16, 1.5):
        components, _ = ndimage.label(depth > margin_mm)
        sizes = np.bincount(components.ravel())
        sizes[0] = 0
        if not sizes.any():
            break
        first, second = [*np.argsort(sizes)[::-1], 0][:2]
        if sizes[second] > 0.2 * sizes[first] and _beside(components == first, components == second, spacing):
            markers = (components == first) + np.uint8(2) * (components == second)
            parted = watershed(-depth, markers, mask=piece)
            return [parted == 1, parted == 2]
    return [piece]


def _beside(one: Mask, other: Mask, spacing: Spacing) -> bool:
    """Whether two pieces lie side by side, as lungs do, and not above or before each other, as lobes do."""
    z, y, x = np.abs(_centre(one) - _centre(other)) * spacing
    return bool(x > 50 and x > max(z, y))


def _centre(mask: Mask) -> NDArray[np.float64]:
    return np.array([np.average(np.arange(n), weights=mask.sum(axis=tuple({0, 1, 2} - {a}))) for a, n in enumerate(mask.shape)])


def _spine(hu: NDArray[np.float32], lung: Mask, spacing: Spacing) -> float:
    """x index of the spine, the column behind the lung's centre that holds most bone."""
    bone = (hu[:, round(_centre(lung)[1]) :] > 150).sum(axis=(0, 1)).astype(float)
    return float(np.argmax(ndimage.uniform_filter1d(bone, max(1, round(40 / spacing[2])), mode="constant")))


def _close(lungs: Labels, airways: Mask, spacing: Spacing) -> Labels:
    """Vessels, nodules and dense lung at the chest wall become part of the lung that surrounds them."""
    closed = lungs.copy()
    for side in (RIGHT, LEFT):
        box = ndimage.find_objects(lungs == side, max_label=1)[0]
        if box is None:
            continue
        lung = lungs[box] == side
        at_wall = _closing(lung, spacing, (0, _WALL_CLOSING_MM, _WALL_CLOSING_MM)) & _seen_from_chest_wall(lung, side)
        lung = _closing(lung | at_wall, spacing, (_CLOSING_MM,) * 3)
        lung = ndimage.binary_fill_holes(lung)
        closed[box][lung & (closed[box] == 0) & ~airways[box]] = side
    return closed


def _closing(mask: Mask, spacing: Spacing, radius_mm: tuple[float, float, float]) -> Mask:
    pad = [(0, 0), *((math.ceil(mm / s),) * 2 for mm, s in zip(radius_mm[1:], spacing[1:], strict=True))]
    closed = _morphology(sitk.BinaryMorphologicalClosing, np.pad(mask, pad), spacing, radius_mm)
    return closed[:, pad[1][0] : -pad[1][0], pad[2][0] : -pad[2][0]]


def _seen_from_chest_wall(lung: Mask, side: int) -> Mask:
    """Voxels with no lung between them and the lateral or the posterior chest wall."""
    from_lateral = lung if side == RIGHT else lung[:, :, ::-1]
    lateral = ~np.logical_or.accumulate(from_lateral, axis=2)
    if side == LEFT:
        lateral = lateral[:, :, ::-1]
    posterior = ~np.logical_or.accumulate(lung[:, ::-1], axis=1)[:, ::-1] & lung.any(axis=1, keepdims=True)
    return lateral | posterior


def _slice_hulls(mask: Mask) -> Mask:
    """Convex hull of the mask in each axial slice."""
    return np.stack([convex_hull_image(section) if section.any() else section for section in mask])


def _largest_component(mask: Mask) -> Mask:
    components, _ = ndimage.label(mask)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    largest: Mask = components == np.argmax(sizes)
    return largest & mask


def _mean_by_component(hu: NDArray[np.float32], components: NDArray[np.int32]) -> NDArray[np.float64]:
    flat = components.ravel()
    return np.bincount(flat, weights=hu.ravel()) / np.maximum(np.bincount(flat), 1)


def _on_full_grid(lungs: Labels, working: sitk.Image, view: AxialView) -> Labels:
    """Labels of the working grid on the CT's, with a border interpolated between the working grid's voxels."""

    def resampled(array: Labels, interpolator: int) -> Labels:
        image = sitk.GetImageFromArray(array)
        image.CopyInformation(working)
        # The working grid can end a little before the CT does: extrapolate.
        result = sitk.Resample(image, view.image, sitk.Transform(), interpolator, 0, sitk.sitkUInt8, True)
        labels: Labels = sitk.GetArrayFromImage(result)
        return labels

    inside = resampled(np.where(lungs > 0, np.uint8(200), np.uint8(0)), sitk.sitkLinear) >= 100
    # The nearest label is missing in the half voxel that interpolation adds at a convex corner: the side decides.
    return resampled(_nearest_side(lungs), sitk.sitkNearestNeighbor) * inside


def _nearest_side(lungs: Labels) -> Labels:
    """Every voxel labelled with the side of the lung it touches."""
    return ndimage.grey_dilation(lungs, size=(3, 3, 3))*(lungs==0)+lungs
