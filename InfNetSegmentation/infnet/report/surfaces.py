"""The lungs and the findings in 3D, seen from four sides: parallel rays through a grid, in numpy alone.

A window and a graphics driver, which other renderers need, are not there on a cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from infnet.anatomy.morphology import box_of
from infnet.data.findings import CONSOLIDATION, FINDINGS
from infnet.quantification.registration import corners

SIDES = {"from the front": 0, "from the right": 1, "from behind": 2, "from the left": 3}
"""Where the viewer stands, in quarter turns about the patient."""

_GRID_MM = 1.5
_MARGIN = 4  # voxels of the grid
_SMOOTHING_MM = 1.8
_DENSE = (0.15, 0.35)  # of a smoothed mask, where a finding begins and is whole: keeps what one slice shows
_GLASS_COLOUR, _GLASS_OPACITY = (0.40, 0.47, 0.56), 0.055
_FINDING_OPACITY = 0.5
_STRIPE, _STRIPE_SHADE = 4, 0.7  # voxels; of consolidation, for those who see red and green alike

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Surface:
    """``opacity`` (up, back, left) of each voxel, and ``inward``, the unit normal along these axes."""

    colour: NDArray[np.float32]
    opacity: Floats
    inward: Floats
    striped: bool


def views(findings: sitk.Image, lungs: sitk.Image) -> Iterator[Floats]:
    """One picture (row, column, RGB from 0 to 1) for each of `SIDES`, at one scale, on white.

    ``findings`` (0, 1 ground-glass opacity, 2 consolidation) and ``lungs`` (0 outside) are on one grid of any
    direction; the patient stands upright in the pictures.
    """
    surfaces = _surfaces(findings, lungs)
    for quarter_turns in SIDES.values():
        yield _look(surfaces, quarter_turns)


def _surfaces(findings: sitk.Image, lungs: sitk.Image) -> list[_Surface]:
    part = _around(lungs)
    findings, lungs = findings[part], lungs[part]
    grid = _grid(lungs)
    lung = _density(lungs > 0, grid)
    inward, steepness = _slope(lung)
    glass = _GLASS_OPACITY * steepness / max(float(steepness.max()), 1e-6)
    surfaces = [_Surface(np.array(_GLASS_COLOUR, np.float32), glass, inward, striped=False)]
    for finding in FINDINGS:
        density = _density(findings == finding.label, grid)
        begins, whole = _DENSE
        opacity = np.float32(_FINDING_OPACITY) * ((density - begins) / (whole - begins)).clip(0, 1)
        colour = np.array(finding.colour, np.float32) / np.float32(255)
        surfaces.append(_Surface(colour, opacity, _slope(density)[0], finding is CONSOLIDATION))
    return surfaces


def _around(lungs: sitk.Image) -> tuple[slice, ...]:
    """The box around the lungs; the whole image where there are none."""
    inside = sitk.GetArrayViewFromImage(lungs) > 0
    return box_of(inside)[::-1] if inside.any() else (slice(None),) * 3


def _grid(image: sitk.Image) -> sitk.Image:
    """An isotropic grid around the image along the patient's axes (left, back, up)."""
    ends = corners(image)
    low = ends.min(axis=0) - _MARGIN * _GRID_MM
    size = np.ceil((ends.max(axis=0) - low) / _GRID_MM).astype(int) + _MARGIN
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing([_GRID_MM] * 3)
    grid.SetOrigin(low.tolist())
    return grid


def _density(mask: sitk.Image, grid: sitk.Image) -> Floats:
    """The mask on the grid, with soft borders: 0 to 1, (up, back, left)."""
    soft = sitk.Resample(sitk.Cast(mask, sitk.sitkFloat32), grid, sitk.Transform(), sitk.sitkLinear, 0.0)
    density: Floats = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(soft, _SMOOTHING_MM))
    return density


def _slope(density: Floats) -> tuple[Floats, Floats]:
    """The direction in which the density rises, (3, …), and how steeply."""
    slope = np.stack(np.gradient(density))
    steepness = np.sqrt(np.einsum("i...,i...", slope, slope))
    slope /= np.maximum(steepness, np.float32(1e-6))
    return slope, steepness


def _look(surfaces: list[_Surface], quarter_turns: int) -> Floats:
    """Lay the slices of the surfaces over each other, the farthest first. Light comes from the viewer and above."""
    away = [np.array([0, 1, 0]), np.array([0, 0, 1]), np.array([0, -1, 0]), np.array([0, 0, -1])][quarter_turns]
    light_direction = (0.95 * away - 0.3 * np.array([1, 0, 0])).astype(np.float32)
    turned = []
    for surface in surfaces:
        light = np.tensordot(light_direction, surface.inward, axes=1)
        light = 0.5 + 0.6 * (abs(light) if surface is surfaces[0] else light.clip(0, 1))
        turned.append([np.rot90(volume, -quarter_turns, axes=(1, 2)) for volume in (surface.opacity, light)])
    height, depth, width = turned[0][0].shape
    stripes = np.where(np.indices((height, width)).sum(axis=0) // _STRIPE % 2, np.float32(1), np.float32(_STRIPE_SHADE))
    picture = np.ones((height, width, 3), np.float32)
    for distance in reversed(range(depth)):
        for surface, (opacity, light) in zip(surfaces, turned, strict=True):
            alpha = opacity[:, distance]
            if not alpha.any():
                continue
            brightness = light[:, distance] * (stripes if surface.striped else 1)
            picture += alpha[..., None] * (brightness[..., None] * surface.colour - picture)
    return picture[::-1].clip(0, 1)
