"""From a CT to its infection: axial slices through the networks, and back onto the CT's grid."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from infnet.anatomy.lungs import lung_envelope
from infnet.data.orientation import AxialView
from infnet.inference.slices import SliceLook
from infnet.reporting import Progress, silent

if TYPE_CHECKING:  # it imports torch
    from infnet.inference.predictor import SlicePrediction

Predictor = Callable[[Iterable[NDArray[np.float32]]], Iterator["SlicePrediction"]]


@dataclass(frozen=True)
class SegmentedVolume:
    """Images on the CT's exact grid.

    labels - uint8: 0 background, 1 ground-glass opacity, 2 consolidation
    infection - float32: probability of infection, 0 outside the lungs' envelope
    lungs - uint8: 1 right lung, 2 left lung, with the infected lung that the lung mask had missed
    slices - number of axial slices with lung
    """

    labels: sitk.Image
    infection: sitk.Image
    lungs: sitk.Image
    slices: int


def segment_volume(
    ct: sitk.Image,
    predictor: Predictor,
    lungs: sitk.Image,
    look: SliceLook | None = None,
    threshold: float = 0.5,
    progress: Progress = silent,
) -> SegmentedVolume:
    """Segment a CT (HU) of any direction, slice by axial slice.

    ``lungs`` is a lung mask on the CT's grid, as of `infnet.anatomy.lungs.segment_lungs`. Infection is accepted
    within the mask's envelope, not only within the mask, which lacks consolidated lung. Slices without lung are
    skipped, and slices are rendered as the predictor asks for them, so memory grows with its batch.
    """
    look = look or SliceLook()
    view = AxialView(ct)
    hu = view.array()
    mask = AxialView(lungs).array()
    envelope = lung_envelope(mask, view.spacing)
    crops = look.crops(envelope)
    infection = np.zeros(hu.shape, np.float32)
    labels = np.zeros(hu.shape, np.uint8)
    progress("infection", 0, len(crops))
    predictions = predictor(look.render(hu[z][box]) for z, box in crops.items())
    for done, ((z, box), prediction) in enumerate(zip(crops.items(), predictions, strict=True), start=1):
        inside = envelope[z][box] > 0
        infection[z][box] = look.restore(prediction.infection) * inside
        labels[z][box] = look.restore(prediction.labels(threshold)) * inside
        progress("infection", done, len(crops))
    return SegmentedVolume(
        labels=view.restore(labels),
        infection=view.restore(infection),
        lungs=view.restore(np.where(labels > 0, envelope, mask)),
        slices=len(crops),
    )
