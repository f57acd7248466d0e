"""The two lungs in a mask that does not tell them apart, parted at their narrowest connection.

And what tells connected pieces from each other: their sizes, means, centres and places.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from infnet.anatomy.morphology import Mask, Spacing, box_of
from infnet.anatomy.regions import LUNGS
from infnet.data.orientation import AxialView

RIGHT, LEFT = (lung.label for lung in LUNGS)
"""Labels of the lungs: 1, 2."""

_WORKING_SPACING_MM = 2.0


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

    def deeper(than_mm: float) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        components, _ = ndimage.label(depth > than_mm)
        return components, sizes_of(components)

    with ThreadPoolExecutor(max_workers=2) as threads:
        for components, sizes in threads.map(deeper, np.arange(0.5, 16, 1.5)):
            if np.count_nonzero(sizes) < 2:
                continue
            first, second = np.argsort(sizes)[:-3:-1]
            if sizes[second] > 0.2 * sizes[first] and are_beside(components == first, components == second, spacing):
                threads.shutdown(wait=False, cancel_futures=True)
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
    labels, starts = _runs(components.ravel())
    sizes = np.bincount(labels, np.diff(starts, append=components.size), 1).astype(np.int64)
    sizes[0] = 0
    return sizes


def means_of(
    values: NDArray[np.floating] | Mask, components: NDArray[np.int32], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean of the voxels' values by component, given `sizes_of` them; that of the background is of no use.

    What is left out of ``components``, but not of ``sizes``, counts as 0.
    """
    there = components > 0
    labels, starts = _runs(components[there])
    sums = np.add.reduceat(values[there], starts, dtype=np.float64)
    means: NDArray[np.float64] = np.bincount(labels, sums, len(sizes)) / sizes.clip(1)
    return means


def _runs(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """The label of each run of voxels of one label, and where it starts: there are far fewer than voxels."""
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1])[: labels.size])
    return labels[starts], starts
