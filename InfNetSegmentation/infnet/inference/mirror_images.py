"""An infection model's answer as the mean over a slice's mirror images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from infnet.inference.runtimes import Runtime
from infnet.inference.runtimes.probabilities import FloatImages
from infnet.weights.cards import ModelCard

MIRRORINGS = ((), (-1,), (-2,), (-2, -1))
"""Axes along which the mirror images are turned, whose mean is the answer; the first of them, where fewer are asked.

What each costs and gains: docs/speed.md, "Fewer mirror images".
"""

MIRRORED_FROM = 0.2
"""A slice in which the network, asked once, finds nowhere this probability of infection is not asked of again.

What that saves, and that it loses nothing: docs/speed.md, "Skipped slices".
"""


class InfectionPrediction(NamedTuple):
    """Probabilities of an infection model: (N, 1, S, S), and of the gate (N,); None for what it does not say."""

    infection: FloatImages
    consolidation: FloatImages | None
    gate: FloatImages | None


def mean_over_mirror_images(
    ask: Runtime,
    image: FloatImages,
    card: ModelCard,
    gate_threshold: float | None = None,
    count: int = len(MIRRORINGS),
) -> tuple[InfectionPrediction, NDArray[np.bool_]]:
    """The means over ``count`` mirror images, the slice itself among them, and which slices have passed the gate (N,).

    Of slices that have not, or reach nowhere `MIRRORED_FROM`, the answers are those to the slice as it is.
    """
    whole, *mirrorings = MIRRORINGS[:count]
    means = {name: value.copy() for name, value in ask(np.flip(image, whole))._asdict().items() if value is not None}
    passed = np.ones(len(image), bool)
    if gate_threshold is not None and "gate" in means:
        passed = means["gate"] >= gate_threshold
    mirrored = passed & (means["infection"].max((1, 2, 3)) >= MIRRORED_FROM)
    if mirrored.any():
        for axes in mirrorings:
            for name, value in ask(np.flip(image[mirrored], axes))._asdict().items():
                if value is not None:
                    means[name][mirrored] += np.flip(value, axes) if value.ndim == 4 else value
        for mean in means.values():
            mean[mirrored] /= count
    infection = means["infection"]
    if (card.temperature, card.offset) != (1, 0):  # fitted to such means
        infection = expit(logit(infection.clip(1e-6, 1 - 1e-6)) / card.temperature + card.offset).astype(np.float32)
    return InfectionPrediction(infection, means.get("consolidation"), means.get("gate")), passed
