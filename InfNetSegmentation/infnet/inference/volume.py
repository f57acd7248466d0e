"""From a CT to its infection: axial slices through the networks, and back onto the CT's grid."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import DTypeLike, NDArray

from infnet.anatomy.envelope import lung_envelope
from infnet.data.nrrd import write_nrrd
from infnet.data.orientation import AxialView
from infnet.data.volumes import write_image
from infnet.inference.joining import SliceMaps, alike, joined
from infnet.inference.slices import LOWEST_THRESHOLD, Box, SliceLook, SlicePrediction, finding_labels
from infnet.inference.stages import Seconds, timed
from infnet.reporting import Progress, silent

Predictor = Callable[[Iterable[NDArray[np.float32]], int], Iterator[SlicePrediction]]
"""As `infnet.inference.predictor.SlicePredictor` is called."""

_PIXEL_TYPES = {"float32": sitk.sitkFloat32, "uint8": sitk.sitkUInt8}


@dataclass(frozen=True)
class SliceCounts:
    """Axial slices with lung and without it, which are skipped; and of those with lung, the ones without infection by
    the infection model's gate (`infnet.inference.slices.SlicePrediction`)."""

    with_lung: int
    without_lung: int
    without_infection: int


class LungMap:
    """Values (float32 or uint8) of the lungs' envelope, a quarter of the volume's voxels or less; 0 elsewhere."""

    def __init__(self, grid: sitk.Image, dtype: DTypeLike) -> None:
        self._view = AxialView(grid)
        self._grid = grid
        self._dtype = np.dtype(dtype)
        self._sections: dict[int, tuple[Box, NDArray[np.uint8], NDArray[Any]]] = {}

    def add(self, z: int, box: Box, inside: NDArray[np.bool_], map_: NDArray[Any]) -> None:
        """The map of an axial slice's crop; only what is ``inside`` is kept."""
        self._sections[z] = box, np.packbits(inside), map_[inside]

    def image(self) -> sitk.Image:
        """The map on the whole grid."""
        image = sitk.Image(self._grid.GetSize(), _PIXEL_TYPES[self._dtype.name])
        image.CopyInformation(self._grid)
        for z in self._sections:
            self._view.paste(self._section(z), z, image)
        return image

    def write(self, path: Path) -> None:
        """Write it as `infnet.data.volumes.write_image` does; into an .nrrd without a volume in memory, if it can."""
        if path.suffix.lower() == ".nrrd" and self._view.slices_are_axial:
            write_nrrd(self._view.slices_of(self._section), self._dtype, self._grid, path)
        else:
            write_image(self.image(), path)

    def _section(self, z: int) -> NDArray[Any]:
        """The map of an axial slice (y, x)."""
        section = np.zeros(self._view.voxels.shape[1:], self._dtype)
        if z in self._sections:
            box, bits, values = self._sections[z]
            crop = section[box]
            crop[np.unpackbits(bits, count=crop.size).reshape(crop.shape).view(bool)] = values
        return section


@dataclass(frozen=True)
class SegmentedVolume:
    """What was found, on the CT's exact grid.

    labels - uint8: 0 background, 1 ground-glass opacity, 2 consolidation
    infection - probability of infection; a volume of its own only when its image is asked for
    candidates - labels as these, from the probability `LOWEST_THRESHOLD` on (or from the threshold, if that is lower)
    slices - how many were looked at, and how many were not
    """

    labels: sitk.Image
    infection: LungMap
    candidates: LungMap
    slices: SliceCounts


def segment_volume(
    ct: sitk.Image,
    predictor: Predictor,
    lungs: sitk.Image,
    look: SliceLook | None = None,
    threshold: float = 0.5,
    progress: Progress = silent,
    seconds: Seconds | None = None,
    smoothing_mm: float = 0.0,
) -> SegmentedVolume:
    """Segment a CT (HU) of any direction, slice by axial slice, whose maps are then joined (`joined`).

    ``lungs`` is a lung mask on the CT's grid, as of `infnet.anatomy.lungs.segment_lungs`. Infection is accepted
    within the mask's envelope, not only within the mask, which lacks consolidated lung. Slices without lung are
    skipped, and slices are rendered as the predictor asks for them, so memory grows with its batch. What the job waits
    for the predictor is added to ``seconds``, as "network".
    """
    look = look or SliceLook()
    seconds = {} if seconds is None else seconds
    view, lung_view = AxialView(ct), AxialView(lungs)
    distance = float(view.spacing[0])
    envelope = lung_envelope(lung_view.voxels, view.spacing)
    crops = look.crops(envelope)
    insides = {z: envelope[z][box] > 0 for z, box in crops.items()}
    del envelope
    labels = sitk.Image(ct.GetSize(), sitk.sitkUInt8)
    labels.CopyInformation(ct)
    infection, candidates = LungMap(labels, np.float32), LungMap(labels, np.uint8)
    without_infection = 0

    def maps() -> Iterator[SliceMaps]:
        nonlocal without_infection
        progress("infection", 0, len(crops))
        slices = (look.render(view.voxels[z][box]) for z, box in crops.items())
        predictions = predictor(slices, alike(distance, smoothing_mm))
        for done, (z, box) in enumerate(crops.items(), start=1):
            with timed(seconds, "network"):
                prediction = next(predictions)
            without_infection += not prediction.passed
            # In memory as the CT is, since `joined` goes over them again and again.
            restored = (
                np.ascontiguousarray(look.restore(map_)) for map_ in (prediction.infection, prediction.consolidation)
            )
            yield SliceMaps(z, box, insides[z], *restored)
            progress("infection", done, len(crops))

    for z, box, inside, probability, consolidation in joined(maps(), distance, smoothing_mm):
        infection.add(z, box, inside, probability)
        candidate = finding_labels(probability, consolidation, min(threshold, LOWEST_THRESHOLD)) * inside
        candidates.add(z, box, candidate > 0, candidate)
        section = np.zeros(view.voxels.shape[1:], np.uint8)
        section[box] = candidate * (probability >= threshold)
        if section.any():
            view.paste(section, z, labels)
    counts = SliceCounts(len(crops), len(view.voxels) - len(crops), without_infection)
    return SegmentedVolume(labels, infection, candidates, counts)
