"""The two lungs in a mask that does not tell them apart, parted at their narrowest connection."""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from infnet.anatomy.morphology import Mask, Spacing, box_of
from infnet.data.orientation import AxialView

RIGHT, LEFT = 1, 2
"""Labels of the lungs."""

_WORKING_SPACING_MM = 2.0
_PIECE = 1 << 20  # voxels


def part_lungs(mask: sitk.Image) -> sitk.Image:
    """A mask of both lungs in one label, labelled 1 right, 2 left; a mask of one lung as it is.

    ``mask`` is uint8, 1 in lung. The lungs are parted at their narrowest connection; every voxel of the mask is kept.
    """
    view = AxialView(mask)
    working = sitk.BinShrink(view.image * 200, shrink_factors(view.image))
    inside = sitk.GetArrayViewFromImage(working) >= 100
    spacing = np.array(working.GetSpacing()[::-1])
    pieces = split_lungs(inside, spacing) if inside.any() else []
    if len(pieces) < 2:
        return mask
    right, left = sorted(pieces, key=lambda piece: centre_of(piece)[2])
    labels = np.where(left, np.uint8(LEFT), right * np.uint8(RIGHT))
    nearest = ndimage.distance_transform_edt(labels == 0, spacing, return_distances=False, return_indices=True)
    sides = sitk.GetImageFromArray(labels[tuple(nearest)])
    sides.CopyInformation(working)
    sides = sitk.Resample(sides, view.image, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8, True)
    return view.restore(sitk.GetArrayViewFromImage(sides) * view.voxels)


def shrink_factors(image: sitk.Image) -> list[int]:
    """By which an image's grid becomes one of about 2 mm, on which lungs are looked for."""
    return [
        min(size, max(1, round(_WORKING_SPACING_MM / spacing)))
        for size, spacing in zip(image.GetSize(), image.GetSpacing(), strict=True)
    ]


def split_lungs(piece: Mask, spacing: Spacing) -> list[Mask]:
    """Lungs that touch, parted at their narrowest connection; the piece alone if it is one lung."""
    box = box_of(piece)
    inside = piece[box]
    depth = ndimage.distance_transform_edt(np.pad(inside, ((0, 0), (1, 1), (1, 1))), sampling=spacing)
    depth = depth[:, 1:-1, 1:-1].astype(np.float32)
    for margin_mm in np.arange(0.5, 16, 1.5):
        components, _ = ndimage.label(depth > margin_mm)
        sizes = sizes_of(components)
        if np.count_nonzero(sizes) < 2:
            continue
        first, second = np.argsort(sizes)[:-3:-1]
        if sizes[second] > 0.2 * sizes[first] and are_beside(components == first, components == second, spacing):
            markers = (components == first) + np.uint8(2) * (components == second)
            parted = np.zeros(piece.shape, np.uint8)
            parted[box] = watershed(-depth, markers, mask=inside)
            return [parted == 1, parted == 2]
    return [piece]


def are_beside(one: Mask, other: Mask, spacing: Spacing) -> bool:
    """Whether two pieces lie side by side, as lungs do, and not one above or before the other as lobes."""
    z, y, x = np.abs(centre_of(one) - centre_of(other)) * spacing
    return bool(x > 50 and x > max(z, y))


def centre_of(mask: Mask) -> NDArray[np.float64]:
    """Centre of gravity (z, y, x), by index."""
    z, yx = mask.sum(axis=(1, 2)), mask.sum(axis=0)
    return np.array([np.average(np.arange(len(n)), weights=n) for n in (z, yx.sum(axis=1), yx.sum(axis=0))])


def sizes_of(components: NDArray[np.int32]) -> NDArray[np.int64]:
    """Number of voxels by component; none for the background."""
    sizes = _sums(components, None).astype(np.int64)
    sizes[0] = 0
    return sizes


def means_of(
    values: NDArray[np.floating], components: NDArray[np.int32], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean of the voxels' values by component, given `sizes_of` them; that of the background is of no use."""
    means: NDArray[np.float64] = _sums(components, values) / sizes.clip(1)
    return means


def _sums(components: NDArray[np.int32], values: NDArray[np.floating] | None) -> NDArray[np.float64]:
    """Sums of the voxels' values by component, piece by piece: NumPy makes numbers of eight bytes of them."""
    labels, weights = components.ravel(), None if values is None else values.ravel()
    sums = np.zeros(int(labels.max(initial=0)) + 1)
    for start in range(0, len(labels), _PIECE):
        piece = slice(start, start + _PIECE)
        sums += np.bincount(labels[piece], None if weights is None else weights[piece], len(sums))
    return sums
