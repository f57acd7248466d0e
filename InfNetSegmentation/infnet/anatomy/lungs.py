"""A lung mask by threshold and morphology.

The steps are the classical ones (Hu, Hoffman and Reinhardt, IEEE TMI 2001): air inside the body, less the
airways, in two parts, with a smooth border. A threshold does not see consolidated lung: what borders on the
chest wall is regained by closing, and `infnet.anatomy.envelope.lung_envelope` is wide enough for the rest.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from infnet.anatomy.airways import HU, find_airways
from infnet.anatomy.envelope import Labels, hull_of_pixels
from infnet.anatomy.morphology import Box, Mask, Spacing, box_of, closing, dilate, erode, in_mm, opening
from infnet.anatomy.parting import LEFT, RIGHT, are_beside, centre_of, means_of, shrink_factors, sizes_of, split_lungs
from infnet.data.orientation import AxialView
from infnet.errors import NoLungError
from infnet.reporting import Progress, silent
from infnet.threads import in_threads

SOURCE = "threshold and morphology"
"""What results say of a mask of `segment_lungs`."""

UNLIKELY_SHARE = 1 / 3
"""Of the other lung's volume: a smaller lung was hardly found whole. Healthy lungs are far from it."""

_NAMES = {RIGHT: "right", LEFT: "left"}

# Of 18 lungs without dense disease, at most 18 and 15 mm; of 17 without a lower lobe 42 to 121, of 12 without an upper
# one 33 to 100.
_FORWARD_MM = 30.0  # from the rearmost place of a lung to the rear border of its lower half
_LOWER_APEX_MM = 30.0  # than the other lung's

_AIR_BELOW_HU = -400.0  # half way between aerated lung and soft tissue
_GAS_BELOW_HU = -930.0  # mean of outside air and of bowel gas; that of lung is above, emphysema included
_POCKET_BELOW_HU = -950.0
_POCKET_MM = 8.0  # radius of the smallest pocket of gas that is searched for
_BOWEL_WALL_MM = 4.0
_TABLE_SHELL_MM = 4.0  # half its thickness, less than that of a chest wall
_SMALLEST_SECTION_MM2 = 1500.0  # of the lungs' largest axial section
_SMALLEST_PIECE = 0.1  # of the largest: smaller pieces of air are more often bowel than lung
_CLOSING_MM = 8.0  # half the width of the vessels and nodules that are closed over
_WALL_CLOSING_MM = 25.0  # the same for dense lung at the chest wall, in the axial plane
_DENT_HEIGHT_MM = 90.0  # of the tallest dense lung that is regained at the ribs
_LEAST_DENT_MM, _DEEPEST_DENT_MM = 10.0, 60.0  # shallower: ribs; deeper: the lung's other border


def segment_lungs(ct: sitk.Image, progress: Progress = silent, name: object = "the CT") -> sitk.Image:
    """Lung mask of a chest CT (HU): uint8 on the CT's grid, 1 right lung, 2 left lung, 0 elsewhere.

    Right is the patient's right. Trachea and main bronchi are left out roughly. Raises `NoLungError` without
    lungs; ``name`` is what its message calls the CT.
    """
    view = AxialView(ct)
    axial = view.image
    working = sitk.BinShrink(axial, shrink_factors(axial))
    whole = sitk.GetArrayFromImage(working).astype(np.float32)
    np.maximum(whole, -1024, out=whole)
    spacing = np.array(working.GetSpacing()[::-1])
    progress("lungs", 1, 6)
    box, air = _air_inside_body(whole, spacing)
    hu = whole[box]
    progress("lungs", 2, 6)
    airways = find_airways(hu, air, spacing)
    progress("lungs", 3, 6)
    lungs = _two_lungs(hu, air & ~airways, spacing)
    if lungs is None:
        raise NoLungError(f"{name}: no lung was found. Is it a chest CT in Hounsfield units?")
    progress("lungs", 4, 6)
    closed = np.zeros(whole.shape, np.uint8)
    closed[box] = _close(lungs, airways, spacing)
    progress("lungs", 5, 6)
    labels = _on_full_grid(closed, working, axial)
    progress("lungs", 6, 6)
    return view.restore(labels)


def lung_warnings(lungs: sitk.Image) -> list[str]:
    """What a lung mask as of `segment_lungs` may lack, one sentence each: lung without air is not seen."""
    mask = sitk.GetArrayViewFromImage(lungs)
    sizes = {side: np.count_nonzero(mask == side) for side in (RIGHT, LEFT)}
    large, small = (RIGHT, LEFT) if sizes[RIGHT] >= sizes[LEFT] else (LEFT, RIGHT)
    share = sizes[small] / sizes[large] if sizes[large] else 1.0
    advice = f"do not rely on the rows of the {_NAMES[small]} lung and of the total."
    warnings = []
    if share == 0:
        warnings.append(
            f"Only the {_NAMES[large]} lung was found. A wholly consolidated, removed or cropped {_NAMES[small]} lung "
            f"is not measured: {advice}"
        )
    elif share < UNLIKELY_SHARE:
        warnings.append(
            f"The {_NAMES[small]} lung found has {100 * share:.0f} % of the volume of the {_NAMES[large]} one. Where "
            f"it is consolidated, it may not have been found: {advice}"
        )
    return warnings + _missing_parts(lungs)


def _missing_parts(lungs: sitk.Image) -> list[str]:
    """A sentence for each lung whose outline lacks the back of its lower half, or the apex that the other lung has."""
    view = AxialView(lungs)
    mask, axial = view.voxels, view.image
    (_, dy, dz), direction = axial.GetSpacing(), np.reshape(axial.GetDirection(), (3, 3))
    # Places are the patient's: where the gantry or the grid is tilted, those of the grid lean.
    back_mm = np.arange(len(mask))[:, None] * dz * direction[1, 2] + np.arange(mask.shape[1]) * dy * direction[1, 1]
    warnings, apex_mm = [], {}
    for side, name in _NAMES.items():
        rows = (mask == side).any(axis=2)
        slices = np.flatnonzero(rows.any(axis=1))
        if not len(slices):
            continue
        y, x = np.argwhere(mask[slices[-1]] == side).mean(axis=0).tolist()
        apex_mm[side] = axial.TransformContinuousIndexToPhysicalPoint((x, y, float(slices[-1])))[2]
        ends_mm = np.where(rows, back_mm, -np.inf).max(axis=1)[slices]
        forward_mm = ends_mm.max() - np.median(ends_mm[: (len(slices) + 1) // 2])
        if forward_mm > _FORWARD_MM:
            warnings.append(
                f"The lower half of the {name} lung found ends {forward_mm:.0f} mm before its back. Consolidation, "
                "collapse or fluid may lie there. Consolidated lung that was not found is not counted: do not rely on "
                f"the rows of the {name} lung, of its lobes and of the total."
            )
    for side, its_mm in apex_mm.items():
        if (lower_mm := max(apex_mm.values()) - its_mm) > _LOWER_APEX_MM:
            warnings.append(
                f"The {_NAMES[side]} lung found ends {lower_mm:.0f} mm below the other one's apex. Where its upper "
                f"part is consolidated, it is not counted: do not rely on the rows of the {_NAMES[side]} lung, of its "
                "lobes and of the total."
            )
    return warnings


def _air_inside_body(hu: HU, spacing: Spacing) -> tuple[Box, Mask]:
    """The box around the body, and the air in it that is neither outside the body nor a larger pocket of gas."""
    air = hu < _AIR_BELOW_HU
    with ThreadPoolExecutor(max_workers=1) as thread:
        pieces = thread.submit(_pieces_of_air, hu, air)
        body = _body(air, spacing)
    components, sizes, outside = pieces.result()
    if not body.any():
        return (slice(None),) * 3, body
    box = (slice(None), *box_of(body)[1:])  # the height is kept, by which the trachea is looked for
    body, components = body[box], components[box]
    # Where clothes or a blanket lie in outside air, it is as dense as a lung, but not between two parts of the body.
    enclosed = np.logical_or(*in_threads(partial(_between, body), 1, 2))
    outside |= means_of(enclosed, components, sizes) < 0.5
    inside = np.zeros_like(air)
    inside[box] = air[box] & ~outside[components]
    for section, found, of_body in zip(inside[box], enclosed, body, strict=True):
        if np.any(section & ~found):  # what is between two parts of the body is in its hull
            section &= hull_of_pixels(of_body) if of_body.any() else of_body
    if inside.any():
        # Where only a thin wall parts stomach and lung, they are one component.
        _, *in_plane = box_of(inside)
        near = (slice(None), *(_widened(part, step) for part, step in zip(in_plane, spacing[1:], strict=True)))
        inside[near] &= ~_pockets_of_gas(hu[near], spacing)
    return box, inside[box]


def _body(air: Mask, spacing: Spacing) -> Mask:
    """The largest piece of tissue; thin shells, as of a table, are none."""
    tissue = in_mm(opening, ~air, spacing, (0, _TABLE_SHELL_MM, _TABLE_SHELL_MM))
    components, _ = ndimage.label(tissue)
    return np.asarray(tissue & (components == np.argmax(sizes_of(components))))


def _pieces_of_air(hu: HU, air: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64], Mask]:
    """The air by its connected pieces, their sizes, and which of them are outside air at the scan's border."""
    components, _ = ndimage.label(air)
    sizes = sizes_of(components)
    outside = np.zeros(len(sizes), bool)
    # A lung in a tightly cropped CT touches the border too: what tells it from outside air is its density.
    at_border = np.union1d(components[:, [0, -1], :], components[:, :, [0, -1]])
    at_border = at_border[at_border > 0]
    outside[at_border] = means_of(hu, components, sizes)[at_border] < _GAS_BELOW_HU
    return components, sizes, outside


def _widened(part: slice, step_mm: float) -> slice:
    """A part of an axis, and as much around it as has a say in which of its voxels are in a pocket of gas."""
    margin = math.ceil((2 * _POCKET_MM + _BOWEL_WALL_MM) / step_mm) + 2  # for the rounding of radii, and the filter
    return slice(max(0, part.start - margin), part.stop + margin)


def _pockets_of_gas(hu: HU, spacing: Spacing) -> Mask:
    gas = ndimage.uniform_filter(hu, (1, 3, 3)) < _POCKET_BELOW_HU
    # Half of a slice counts, or of slices of 8 mm it would take three to show what one is filled with.
    pockets = in_mm(erode, gas, spacing, (_POCKET_MM - spacing[0] / 2, _POCKET_MM, _POCKET_MM))
    return in_mm(dilate, pockets, spacing, (_POCKET_MM + _BOWEL_WALL_MM,) * 3)


def _between(body: Mask, axis: int) -> Mask:
    """Voxels with a part of the body on both sides along an axis."""
    places = np.arange(body.shape[axis]).reshape([-1 if n == axis else 1 for n in range(3)])
    first = body.argmax(axis, keepdims=True)
    last = body.shape[axis] - 1 - np.flip(body, axis).argmax(axis, keepdims=True)
    return np.asarray((places >= first) & (places <= last) & body.any(axis, keepdims=True))


def _two_lungs(hu: HU, air: Mask, spacing: Spacing) -> Labels | None:
    """The lungs among the pieces of air, as labels; None if there are none."""
    components, _ = ndimage.label(air)
    sizes = sizes_of(components)
    sizes[means_of(hu, components, sizes) < _GAS_BELOW_HU] = 0
    largest = components == np.argmax(sizes)
    section_mm2 = max(map(np.count_nonzero, largest)) * spacing[1] * spacing[2]
    if not sizes.any() or section_mm2 < _SMALLEST_SECTION_MM2:
        return None
    pieces = split_lungs(largest, spacing)
    pieces += [
        components == label
        for label in np.flatnonzero(sizes > _SMALLEST_PIECE * sizes.max())
        if label != np.argmax(sizes)
    ]
    pieces.sort(key=np.count_nonzero, reverse=True)
    x = [centre_of(piece)[2] for piece in pieces]
    if len(pieces) > 1 and are_beside(pieces[0], pieces[1], spacing):
        midline = (x[0] + x[1]) / 2
    else:
        midline = _spine(hu, largest, spacing)
    labels = np.zeros(air.shape, np.uint8)
    for piece, piece_x in zip(pieces, x, strict=True):
        labels[piece] = LEFT if piece_x > midline else RIGHT  # x runs from the patient's right to the left
    return labels


def _spine(hu: HU, lung: Mask, spacing: Spacing) -> int:
    """x index of the spine: where, behind the centre of the lung, most bone is."""
    bone = (hu[:, round(centre_of(lung)[1]) :] > 150).sum(axis=(0, 1)).astype(np.float64)
    return int(np.argmax(ndimage.uniform_filter1d(bone, max(1, round(40 / spacing[2])), mode="constant")))


def _close(lungs: Labels, airways: Mask, spacing: Spacing) -> Labels:
    """Vessels, nodules and dense lung at the chest wall become part of the lung around them."""
    boxes = ndimage.find_objects(lungs, max_label=2)

    def whole(side: int) -> Mask | None:
        box = boxes[side - 1]
        if box is None:
            return None
        lung = lungs[box] == side
        lung = lung | _lateral_dents(lung, side, spacing)
        at_wall = in_mm(closing, lung, spacing, (0, _WALL_CLOSING_MM, _WALL_CLOSING_MM))
        lung = in_mm(closing, lung | (at_wall & _faces_chest_wall(lung, side)), spacing, (_CLOSING_MM,) * 3)
        around, _ = ndimage.label(np.pad(~lung, 1, constant_values=True))
        return np.asarray(around[1:-1, 1:-1, 1:-1] != around[0, 0, 0])  # with its holes, not connected with that

    closed = lungs.copy()
    for side, lung in zip((RIGHT, LEFT), in_threads(whole, RIGHT, LEFT), strict=True):
        if lung is not None:
            box = boxes[side - 1]
            closed[box][lung & (closed[box] == 0) & ~airways[box]] = side
    return closed


def _lateral_dents(lung: Mask, side: int, spacing: Spacing) -> Mask:
    """Dense lung at the ribs: where the lateral border is dented, with lung at the ribs above it and below it.

    The border is closed along the body only. Liver and spleen, which dent it as deeply, have no lung below them.
    """
    width = lung.shape[2]
    columns = np.arange(width, 0, -1)  # by their place from the middle of the body outwards
    if side == LEFT:
        columns = columns[::-1]
    border = np.where(lung, columns, 0).max(axis=2)
    half = round(_DENT_HEIGHT_MM / 2 / spacing[0])
    padded = np.pad(border, ((half, half), (0, 0)))
    closed = ndimage.grey_closing(padded, (2 * half + 1, 1))[half : half + len(border)]
    depth_mm = (closed - border) * spacing[2]
    dented = (border > 0) & (depth_mm > _LEAST_DENT_MM) & (depth_mm < _DEEPEST_DENT_MM)
    return np.asarray(dented[:, :, None] & (columns > border[:, :, None]) & (columns <= closed[:, :, None]))


def _faces_chest_wall(lung: Mask, side: int) -> Mask:
    """Voxels without lung between them and the lateral or the posterior chest wall."""
    inward = slice(None) if side == RIGHT else slice(None, None, -1)
    lateral = ~np.logical_or.accumulate(lung[:, :, inward], axis=2)[:, :, inward]
    posterior = ~np.logical_or.accumulate(lung[:, ::-1], axis=1)[:, ::-1] & lung.any(axis=1, keepdims=True)
    return lateral | posterior


def _on_full_grid(lungs: Labels, working: sitk.Image, axial: sitk.Image) -> Labels:
    """Labels of the working grid on the CT's, their border interpolated between the working grid's voxels."""
    labels = np.zeros(axial.GetSize()[::-1], np.uint8)
    factors = shrink_factors(axial)[::-1]
    boxes = ndimage.find_objects(lungs, max_label=2)
    for side in (LEFT, RIGHT):
        box = boxes[side - 1]
        if box is None:
            continue
        # A voxel of the working grid beyond the lung, nothing is left to interpolate.
        region = tuple(
            slice(max(0, (extent.start - 1) * factor), min(size, (extent.stop + 1) * factor))
            for extent, factor, size in zip(box, factors, labels.shape, strict=True)
        )
        image = sitk.GetImageFromArray((lungs == side) * np.uint8(200))
        image.CopyInformation(working)
        start, size = [part.start for part in region[::-1]], [part.stop - part.start for part in region[::-1]]
        # The working grid can end a little before the CT's does: extrapolate.
        image = sitk.Resample(
            image,
            size,
            sitk.Transform(),
            sitk.sitkLinear,
            axial.TransformIndexToPhysicalPoint(start),
            axial.GetSpacing(),
            axial.GetDirection(),
            0,
            sitk.sitkUInt8,
            True,
        )
        labels[region][sitk.GetArrayViewFromImage(image) >= 100] = side
    return labels
