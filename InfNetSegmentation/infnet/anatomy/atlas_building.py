"""Makes the lobe atlas from label images of hand-drawn lobes, and tells how well it does on those left out.

``python -m infnet.anatomy.atlas_building LOBES… -o lobe_atlas.npz``; with ``--leave-one-out`` instead of ``-o``, each
image's lobes are found by an atlas of the others. The label images have 1 left upper, 2 left lower, 3 right upper,
4 right middle and 5 right lower lobe.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infnet.anatomy.lobe_atlas import (
    Distances,
    LungShape,
    Points,
    fill_lobes,
    fit,
    lobe_distances,
    lung_distances,
    save_atlas,
)
from infnet.anatomy.parting import LEFT, RIGHT
from infnet.anatomy.recognition import LUNGMASK, label_table
from infnet.anatomy.regions import LOBES
from infnet.data.orientation import AxialView
from infnet.data.volumes import read_image

_ROUNDS = 2  # the first averages in the shape of the first lung, the second in that of the average


class HandDrawnLobes:
    """A label image's lobes, with `LOBES`' labels: (z, y, x), and their spacing in mm."""

    def __init__(self, path: Path) -> None:
        view = AxialView(read_image(path))
        # The hand-drawn lobes are in the order of lungmask's.
        self.labels: NDArray[np.uint8] = label_table(LUNGMASK)[view.voxels.astype(np.uint8)]
        self.spacing = view.spacing

    def lung(self, side: int) -> NDArray[np.bool_]:
        return np.isin(self.labels, [lobe.label for lobe in LOBES if lobe.lung == side])

    def shape(self, side: int) -> LungShape:
        lung = lung_distances(self.lung(side), self.spacing)
        labels = [lobe.label for lobe in LOBES if lobe.lung == side]
        return LungShape(lung, {label: lobe_distances(self.labels == label, self.spacing, lung) for label in labels})


def average(shapes: Sequence[LungShape]) -> LungShape:
    """The mean of lungs' distance maps, each mapped to the mean of the round before."""
    mean = shapes[0]
    for _ in range(_ROUNDS):
        places = mean.lung.points()
        maps = [fit(mean.lung, shape.lung)(places) for shape in shapes]

        def averaged(distances: Sequence[Distances], mean: LungShape = mean, maps: list[Points] = maps) -> Distances:
            values = np.mean([d.at(there) for d, there in zip(distances, maps, strict=True)], axis=0)
            return Distances(values.reshape(mean.lung.values.shape).astype(np.float32), mean.lung.origin)

        mean = LungShape(
            averaged([shape.lung for shape in shapes]),
            {label: averaged([shape.lobes[label] for shape in shapes]) for label in mean.lobes},
        )
    return mean


def leave_one_out(cases: Sequence[HandDrawnLobes]) -> NDArray[np.float64]:
    """Dice (case, lobe) of the lobes that an atlas of the other cases finds, given the case's lungs."""
    shapes = {side: [case.shape(side) for case in cases] for side in (RIGHT, LEFT)}
    scores = np.zeros((len(cases), len(LOBES)))
    for i, case in enumerate(cases):
        found = np.zeros_like(case.labels)
        for side in (RIGHT, LEFT):
            others = [shape for j, shape in enumerate(shapes[side]) if j != i]
            fill_lobes(found, case.lung(side), case.spacing, average(others))
        for k, lobe in enumerate(LOBES):
            one, other = found == lobe.label, case.labels == lobe.label
            both = np.count_nonzero(one & other)
            scores[i, k] = 2 * both / (np.count_nonzero(one) + np.count_nonzero(other))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lobes", type=Path, nargs="+", metavar="LOBES")
    output = parser.add_mutually_exclusive_group(required=True)
    output.add_argument("-o", "--output", type=Path, metavar="FILE.npz")
    output.add_argument("--leave-one-out", action="store_true")
    options = parser.parse_args()
    cases = [HandDrawnLobes(path) for path in options.lobes]
    if options.output is not None:
        save_atlas({side: average([case.shape(side) for case in cases]) for side in (RIGHT, LEFT)}, options.output)
        return
    scores = leave_one_out(cases)
    for path, row in zip(options.lobes, scores, strict=True):
        print(path.name, *(f"{score:.3f}" for score in row))
    print("mean", *(f"{score:.3f}" for score in scores.mean(axis=0)), f"all {scores.mean():.3f}")


if __name__ == "__main__":
    main()
