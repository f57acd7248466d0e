"""Axial CT slices in the look of the training slices, and maps back in their place."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)
Box = tuple[slice, slice]  # rows (y), columns (x) of an axial slice
FloatSlice = NDArray[np.float32]

LOWEST_THRESHOLD = 0.05
"""From this probability on, the networks tell the finding of each voxel, whatever the threshold. A result can therefore
be labelled by any other threshold above this without them, voxel for voxel as a run with that threshold would be."""


@dataclass(frozen=True)
class SliceLook:
    """How the training slices look: window, crop and orientation.

    The labelled slices of COVID-SemiSeg are cropped to the lungs slice by slice and stand as transposed axials:
    front of the patient to the left, the patient's right on top.

    window - HU shown as 0 and as 1; fitted (`infnet.data.window`)
    smallest_crop - height and width of the smallest crop, as a share of the box around all lungs; near apex and base
        the lungs' own box would show less than any training slice
    transposed - whether rows run from the patient's right to the left
    """

    window: tuple[float, float] = (-1100.0, 250.0)
    smallest_crop: float = 0.6
    transposed: bool = True

    def render(self, hu: NDArray[np.number]) -> NDArray[np.float32]:
        """A crop of an axial slice (y, x) in HU as the networks see it: float32 in [0, 1]."""
        low, high = self.window
        grey = ((hu.astype(np.float32) - low) / (high - low)).clip(0, 1)
        return np.ascontiguousarray(self._turn(grey))

    def restore(self, map_: NDArray[T]) -> NDArray[T]:
        """A map of a rendered slice, on the axial slice's rows and columns again."""
        return self._turn(map_)

    def _turn(self, array: NDArray[T]) -> NDArray[T]:
        return array.T if self.transposed else array

    def crops(self, lungs: NDArray[np.uint8]) -> dict[int, Box]:
        """The crop of each slice with lung, by slice index; ``lungs`` is axial (z, y, x), nonzero in lung."""
        if not lungs.any():
            return {}
        around_all = _box(lungs.max(axis=0))
        crops = {}
        for z in np.flatnonzero(lungs.any(axis=(1, 2))):
            rows, columns = (self._widened(*parts) for parts in zip(_box(lungs[z]), around_all, strict=True))
            crops[int(z)] = rows, columns
        return crops

    def _widened(self, part: slice, whole: slice) -> slice:
        """``part`` widened to the smallest crop about its middle, within ``whole``."""
        size = max(part.stop - part.start, round(self.smallest_crop * (whole.stop - whole.start)))
        start = min(max((part.start + part.stop - size) // 2, whole.start), whole.stop - size)
        return slice(start, start + size)


@dataclass(frozen=True)
class SlicePrediction:
    """What the networks say of one slice, (H, W) float32 each.

    ``infection``: probability of infection. ``consolidation``: probability that a pixel, if infected, is
    consolidation rather than ground-glass opacity; 0 all over where no pixel is infected. ``gate``: probability that
    the slice shows infection at all, None where the model does not say. ``passed``: whether it did, by the model's
    ``gate_threshold``; where it did not, both maps are 0.
    """

    infection: FloatSlice
    consolidation: FloatSlice
    gate: float | None = None
    passed: bool = True

    def labels(self, threshold: float) -> NDArray[np.uint8]:
        """(H, W) uint8: 0 background, 1 ground-glass opacity, 2 consolidation, within infection ≥ threshold."""
        return finding_labels(self.infection, self.consolidation, threshold)


def finding_labels(infection: FloatSlice, consolidation: FloatSlice, threshold: float) -> NDArray[np.uint8]:
    """0 background, 1 ground-glass opacity, 2 consolidation, within infection ≥ threshold; all of one shape.

    ``infection``: probability of infection; ``consolidation``: that of consolidation where there is infection.
    """
    finding = np.where(consolidation > 0.5, 2, 1)
    return np.where(infection >= threshold, finding, 0).astype(np.uint8)


def _box(mask: NDArray[np.generic]) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
