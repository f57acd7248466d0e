"""Pictures of the findings: axial slices with the findings marked, and the lungs in 3D from four sides."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from infnet.data.findings import CONSOLIDATION, FINDINGS, GROUND_GLASS_OPACITY, Finding
from infnet.data.orientation import AxialView
from infnet.report.numbers import percent, signed
from infnet.report.surfaces import SIDES, views

LUNG_WINDOW = (-1350.0, 150.0)
"""HU shown as black and as white: centre -600, width 1500."""
HATCHES = {GROUND_GLASS_OPACITY: "", CONSOLIDATION: "//////"}
"""What tells the findings apart where red and green look alike."""

_WIDTH_INCHES = 10.0
_MARGIN_MM = 8.0  # of chest wall around the lungs
_ON_GREY: dict[str, Any] = {"color": "white", "path_effects": [withStroke(linewidth=1.8, foreground="black")]}
_ON_WHITE: dict[str, Any] = {"color": "#444"}

RGB = tuple[float, float, float]
Extent = tuple[float, float, float, float]  # left, right, bottom, top: those of matplotlib's imshow


@dataclass(frozen=True)
class Picture:
    """A PNG or JPEG file in memory, and what it shows in words for those who do not see it."""

    data: bytes
    media_type: str
    description: str


def colour(finding: Finding) -> RGB:
    """RGB from 0 to 1, as matplotlib wants it."""
    red, green, blue = (value / 255 for value in finding.colour)
    return red, green, blue


def save_figure(figure: Figure, description: str, photograph: bool = False) -> Picture:
    """The figure as JPEG if it is a ``photograph``, else as PNG."""
    file = io.BytesIO()
    if photograph:
        figure.savefig(file, format="jpeg", dpi=200, pil_kwargs={"quality": 90, "subsampling": 0})
        return Picture(file.getvalue(), "image/jpeg", description)
    figure.savefig(file, format="png", dpi=200)
    return Picture(file.getvalue(), "image/png", description)


def choose_slices(lung: Sequence[int], diseased: Sequence[int], count: int) -> list[int]:
    """Which slices to show, ascending: at most ``count`` of those with lung.

    ``lung`` and ``diseased`` are the areas in each slice. Half the slices are spread evenly from the lowest lung to
    the highest; the others are those with most disease, but for close neighbours of one that is already chosen, and
    when no disease is left, those farthest from the chosen ones.
    """
    candidates = np.flatnonzero(np.asarray(lung))
    if len(candidates) <= count:
        return [int(z) for z in candidates]
    first, extent = int(candidates[0]), int(candidates[-1] - candidates[0]) + 1
    even = max(1, count // 2)
    middles = first + (np.arange(even) + 0.5) * extent / even - 0.5
    chosen = list(dict.fromkeys(int(candidates[np.abs(candidates - middle).argmin()]) for middle in middles))
    while len(chosen) < count:
        free = np.setdiff1d(candidates, chosen)
        distance = np.abs(free[:, None] - np.array(chosen)).min(axis=1)
        area = np.where(distance >= extent / (2 * count), np.asarray(diseased)[free], 0)
        chosen.append(int(free[(area if area.any() else distance).argmax()]))
    return sorted(chosen)


def montage(ct: sitk.Image, findings: sitk.Image, lungs: sitk.Image, count: int = 12) -> Picture:
    """Axial slices in the lung window, head first, seen from the feet (the patient's right on the left).

    ``ct`` (HU), ``findings`` (0, 1 ground-glass opacity, 2 consolidation) and ``lungs`` (0 outside) are on one grid
    of any direction. Slices are shown as scanned, cropped to the box around all lungs.
    """
    view, findings_view, lungs_view = AxialView(ct), AxialView(findings), AxialView(lungs)
    hu, labels, lung = (sitk.GetArrayViewFromImage(each.image) for each in (view, findings_view, lungs_view))
    lung_area = [int(np.count_nonzero(inside)) for inside in lung]
    diseased = [int(np.count_nonzero(label[inside > 0])) for label, inside in zip(labels, lung, strict=True)]
    chosen = choose_slices(lung_area, diseased, count) or [len(hu) // 2]
    rows, columns = _crop(np.any(lung, axis=0), view.spacing)
    height_mm, width_mm = view.spacing[1:] * [rows.stop - rows.start, columns.stop - columns.start]
    extent = (0.0, float(width_mm), float(height_mm), 0.0)
    figure, axes = _tiles(len(chosen), min(4, len(chosen)), [width_mm] * min(4, len(chosen)), height_mm)
    for axis, z in zip(axes, reversed(chosen), strict=True):
        low, high = LUNG_WINDOW
        axis.imshow(hu[z, rows, columns], "gray", vmin=low, vmax=high, interpolation="bilinear", extent=extent)
        for finding in FINDINGS:
            _mark(axis, labels[z, rows, columns] == finding.label, finding, extent)
        middle = [(size - 1) / 2 for size in view.image.GetSize()[:2]]
        superior = view.image.TransformContinuousIndexToPhysicalPoint((*middle, float(z)))[2]
        share = percent(100 * diseased[z] / lung_area[z]) if lung_area[z] else "no lung"
        _note(axis, 0.02, 0.97, signed(f"S {superior:.1f} mm"), _ON_GREY)
        _note(axis, 0.98, 0.97, share, _ON_GREY)
        _sides(axis, "R", "L", 0.5, _ON_GREY)
    return save_figure(
        figure,
        f"{len(chosen)} axial CT slices from head to feet, the patient's right on the left. Ground-glass opacity is "
        "outlined in red, consolidation in green and hatched.",
        photograph=True,
    )


def projections(findings: sitk.Image, lungs: sitk.Image) -> Picture:
    """The findings within transparent lungs, seen from four sides at one scale; images as for `montage`."""
    pictures = list(views(findings, lungs))
    figure, axes = _tiles(
        len(pictures), len(pictures), [picture.shape[1] for picture in pictures], len(pictures[0]), title=0.22
    )
    for axis, picture, side, letters in zip(axes, pictures, SIDES, ("RL", "PA", "LR", "AP"), strict=True):
        axis.imshow(picture, interpolation="bicubic")
        axis.set_title(side.capitalize(), fontsize=8, color="#444")
        _sides(axis, letters[0], letters[1], 0.03, _ON_WHITE)
    return save_figure(
        figure,
        "The lungs as transparent surfaces from the front, the right, behind and the left, with ground-glass opacity "
        "in red and consolidation in green and striped.",
        photograph=True,
    )


def _crop(inside: NDArray[np.bool_], spacing: NDArray[np.float64]) -> tuple[slice, slice]:
    """Rows and columns of the box around ``inside`` (y, x), with the margin; everything if nothing is inside."""
    parts = []
    for axis in (0, 1):
        filled = np.flatnonzero(inside.any(axis=1 - axis))
        first, last = (filled[0], filled[-1]) if len(filled) else (0, inside.shape[axis] - 1)
        margin = round(_MARGIN_MM / spacing[1 + axis])
        parts.append(slice(max(0, int(first) - margin), min(inside.shape[axis], int(last) + 1 + margin)))
    return parts[0], parts[1]


def _tiles(
    count: int, columns: int, widths: Sequence[float], height: float, title: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` tiles without frames, room (inches) for a title above, a legend of the findings below."""
    rows = -(-count // columns)
    gap, legend = 0.05, 0.34  # inches
    scale = (min(_WIDTH_INCHES, 3.4 * columns) - (columns - 1) * gap) / sum(widths)
    width = sum(widths) * scale + (columns - 1) * gap
    total = rows * (height * scale + gap) + title + legend
    figure = Figure(figsize=(width, total), facecolor="white")
    axes = []
    for i in range(count):
        row, column = divmod(i, columns)
        left = sum(widths[:column]) * scale + column * gap
        bottom = total - title - (row + 1) * height * scale - row * gap
        axis = figure.add_axes((left / width, bottom / total, widths[column] * scale / width, height * scale / total))
        axis.set_axis_off()
        axes.append(axis)
    patches = [
        Patch(facecolor=(*colour(f), 0.45), edgecolor=colour(f), hatch=HATCHES[f], label=f.name) for f in FINDINGS
    ]
    figure.legend(handles=patches, loc="lower center", ncols=len(patches), frameon=False, fontsize=8)
    return figure, axes


def _mark(axis: Axes, mask: NDArray[np.bool_], finding: Finding, extent: Extent) -> None:
    """Tint the mask lightly, outline it, and hatch it if that is the finding's sign."""
    if not mask.any():
        return
    tint = np.zeros((*mask.shape, 4))
    tint[mask] = (*colour(finding), 0.22)
    axis.imshow(tint, interpolation="nearest", extent=extent)
    padded = np.pad(mask, 1).astype(float)  # or an outline at the edge would stay open
    (left, right, bottom, top), (height, width) = extent, mask.shape
    x = left + (np.arange(-1, width + 1) + 0.5) * (right - left) / width
    y = top + (np.arange(-1, height + 1) + 0.5) * (bottom - top) / height
    axis.contour(x, y, padded, levels=[0.5], colors=[colour(finding)], linewidths=0.9)
    if HATCHES[finding]:
        hatched = axis.contourf(x, y, padded, levels=[0.5, 1.5], colors="none", hatches=[HATCHES[finding]])
        hatched.set_edgecolor((*colour(finding), 0.75))
        hatched.set_linewidth(0.0)


def _note(axis: Axes, x: float, y: float, text: str, style: dict[str, Any]) -> None:
    side = "left" if x < 0.5 else "right"
    axis.text(x, y, text, transform=axis.transAxes, va="top", ha=side, fontsize=7, **style)


def _sides(axis: Axes, left: str, right: str, y: float, style: dict[str, Any]) -> None:
    for x, letter in ((0.02, left), (0.98, right)):
        side = "left" if x < 0.5 else "right"
        axis.text(x, y, letter, transform=axis.transAxes, va="center", ha=side, fontsize=8, weight="bold", **style)
