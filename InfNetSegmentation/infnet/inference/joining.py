"""Maps joined across slices: what a network says of a slice, and of its neighbours, which it has not seen beside it.

A network that looks at one axial slice at a time finds something in one and nothing in the next. Disease goes on from
slice to slice, and much of what is found wrongly does not.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infnet.inference.slices import Box

_FARTHEST = 2.5  # standard deviations from which slices no longer count
_ALIKE = 1.5  # standard deviations within which slices of several kinds count the same
_ROUNDING = 1e-3  # of a distance of 5 mm, say


class SliceMaps(NamedTuple):
    """An axial slice ``z``: what a network says of its crop ``box``, (h, w) each.

    ``inside``: what of it belongs to the lungs' envelope. ``infection``: probability of infection. ``consolidation``:
    probability of consolidation where there is infection.
    """

    z: int
    box: Box
    inside: NDArray[np.bool_]
    infection: NDArray[np.float32]
    consolidation: NDArray[np.float32]


def joined(slices: Iterable[SliceMaps], distance: float, sigma: float) -> Iterator[SliceMaps]:
    """Each slice with the weighted mean of its own maps and its neighbours', voxel by voxel, within the envelope.

    Weights are Gaussian, of standard deviation ``sigma``; ``distance`` is that from slice to slice, both in mm. What of
    a neighbour is outside the envelope does not count, so that disease at its edge stays. ``slices`` come in order of
    z, some of which may be missing. Memory grows with the neighbours that count, not with the slices.
    """
    if sigma == 0:
        yield from slices
        return
    reach = int(_FARTHEST * sigma / distance + _ROUNDING)
    weights = np.exp(-0.5 * (np.arange(reach + 1) * distance / sigma) ** 2).astype(np.float32)
    near: deque[SliceMaps] = deque()  # all that may still count, in order
    waiting: deque[SliceMaps] = deque()  # those of them that have not been yielded

    for slice_ in slices:
        near.append(slice_)
        waiting.append(slice_)
        while waiting and waiting[0].z + reach <= slice_.z:
            yield _mean(waiting[0], near, weights)
            waiting.popleft()
        first = waiting[0].z if waiting else slice_.z + 1  # of those that are still to be yielded
        while near and near[0].z < first - reach:
            near.popleft()
    for slice_ in waiting:
        yield _mean(slice_, near, weights)


def alike(distance: float, sigma: float) -> int:
    """Of how many kinds slices in a row can be, in turn, that each kind counts the same in `joined`, within 3 %.

    So many as lie within 1.5 standard deviations; at least 1.
    """
    return max(1, int(_ALIKE * sigma / distance + _ROUNDING))


def _mean(slice_: SliceMaps, near: Iterable[SliceMaps], weights: NDArray[np.float32]) -> SliceMaps:
    shape = slice_.inside.shape
    total, infection, consolidation = (np.zeros(shape, np.float32) for _ in range(3))
    for other in near:
        apart = abs(other.z - slice_.z)
        if apart >= len(weights):
            continue
        here, there = _overlap(slice_.box, other.box)
        weight = weights[apart] * other.inside[there]
        weighted = weight * other.infection[there]
        total[here] += weight
        infection[here] += weighted
        consolidation[here] += weighted * other.consolidation[there]
    inside = slice_.inside
    with np.errstate(invalid="ignore", divide="ignore"):  # outside the envelope, and where nothing is infected
        consolidation = np.where(infection > 0, consolidation / infection, 0).astype(np.float32)
        infection = np.where(inside, infection / total, slice_.infection).astype(np.float32)
    return SliceMaps(slice_.z, slice_.box, inside, infection, consolidation)


def _overlap(one: Box, other: Box) -> tuple[Box, Box]:
    """What two crops share, in the rows and columns of either."""
    shared = [(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)]

    def within(box: Box) -> Box:
        rows, columns = (
            slice(start - part.start, max(start, stop) - part.start)
            for (start, stop), part in zip(shared, box, strict=True)
        )
        return rows, columns

    return within(one), within(other)
