"""An infection model's answer as the mean over a slice's mirror images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from infnet.inference.runtimes import Runtime
from infnet.inference.runtimes.probabilities import FloatImages
from infnet.weights.cards import ModelCard

Axes = tuple[int, ...]

MIRRORINGS: tuple[Axes, ...] = ((), (-1,), (-2, -1), (-2,))
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


def dealt(count: int, neighbours: int) -> list[tuple[Axes, ...]]:
    """The first ``count`` mirror images, dealt out to at most ``neighbours`` slices in a row, to each as many.

    They can share them where the mean over their maps is taken. One slice gets all. Of four, each of two gets two that
    are turned against each other along both axes: the mean of such two comes nearer to that of four (docs/speed.md).
    """
    sharing = max(n for n in range(1, count + 1) if count % n == 0 and n <= max(neighbours, 1))
    return [MIRRORINGS[first:count:sharing] for first in range(sharing)]


def mean_over_mirror_images(
    ask: Runtime,
    image: FloatImages,
    card: ModelCard,
    gate_threshold: float | None = None,
    mirrorings: Sequence[Sequence[Axes]] | None = None,
) -> tuple[InfectionPrediction, NDArray[np.bool_]]:
    """The means over mirror images, and which slices have passed the gate (N,).

    ``mirrorings``: the axes of those of each slice, of as many for each; None: all `MIRRORINGS`. Of slices that have
    not passed, or reach nowhere `MIRRORED_FROM`, the answers are those to the first of them.
    """
    mirrorings = [MIRRORINGS] * len(image) if mirrorings is None else mirrorings

    def looks(chosen: Sequence[int], turn: int) -> dict[str, FloatImages]:
        """The answers to the chosen slices' images of this turn, turned back."""
        axes = [mirrorings[i][turn] for i in chosen]
        answer = ask(np.stack([np.flip(image[i], a) for i, a in zip(chosen, axes, strict=True)]))._asdict()
        return {
            name: np.stack([np.flip(v, a) if v.ndim == 3 else v for v, a in zip(value, axes, strict=True)])
            for name, value in answer.items()
            if value is not None
        }

    means = looks(range(len(image)), 0)
    passed = np.ones(len(image), bool)
    if gate_threshold is not None and "gate" in means:
        passed = means["gate"] >= gate_threshold
    mirrored = np.flatnonzero(passed & (means["infection"].max((1, 2, 3)) >= MIRRORED_FROM))
    if len(mirrored):
        count = len(mirrorings[0])
        for turn in range(1, count):
            for name, value in looks(mirrored.tolist(), turn).items():
                means[name][mirrored] += value
        for mean in means.values():
            mean[mirrored] /= count
    infection = means["infection"]
    if (card.temperature, card.offset) != (1, 0):  # fitted to such means
        infection = expit(logit(infection.clip(1e-6, 1 - 1e-6)) / card.temperature + card.offset).astype(np.float32)
    return InfectionPrediction(infection, means.get("consolidation"), means.get("gate")), passed
