"""What it changes that neighbouring slices share the mirror images, whose maps are averaged.

``python Testing/infnet/shared_mirror_images.py UNLABELLED --distance 1 2 3``: UNLABELLED has Imgs and slices.csv. How
far apart its volumes' slices are is not known, so ``--distance`` says what mm are assumed; the average is over 4 mm, as
in ``infnet segment``. For each distance: how many looks a slice gets, and infection, ground glass and consolidation
beside those of four looks at each: Dice, and the volume (1: as large).
"""

import argparse
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from infnet.data.labelled_slices import find_images, read_grey, unit_range
from infnet.data.listing import volumes_of
from infnet.inference.joining import SliceMaps, alike, joined
from infnet.inference.mirror_images import MIRRORINGS, dealt
from infnet.inference.predictor import SlicePredictor
from infnet.inference.slices import Box, FloatSlice, finding_labels
from joined_volumes import offset
from numpy.typing import NDArray

SIGMA_MM = 4.0


def volumes(folder: Path) -> Iterator[tuple[list[FloatSlice], list[Box]]]:
    """Each volume's slices, and where their crops lie."""
    names, found = volumes_of(folder), {}
    for path in find_images(folder / "Imgs"):
        found.setdefault(names[path.stem], []).append(path)
    for paths in found.values():
        images = [read_grey(path) for path in sorted(paths, key=lambda path: int(path.stem.rsplit("_", 1)[1]))]
        corners = np.cumsum([(0, 0), *(offset(a, b) for a, b in pairwise(images))], axis=0)
        corners -= corners.min(0)
        boxes = [np.s_[y : y + i.shape[0], x : x + i.shape[1]] for i, (y, x) in zip(images, corners, strict=True)]
        yield [unit_range(image) for image in images], boxes


def labels(maps: Iterable[SliceMaps], distance: float, threshold: float) -> NDArray[np.uint8]:
    """Of all slices' pixels."""
    found = joined(maps, distance, SIGMA_MM)
    return np.concatenate([finding_labels(s.infection, s.consolidation, threshold).ravel() for s in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("unlabelled", type=Path)
    parser.add_argument("--distance", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    options = parser.parse_args()
    predictor = SlicePredictor.from_models()
    counts = {mm: np.zeros((3, 3)) for mm in options.distance}  # both, each way; of infection and the two findings
    for slices, boxes in volumes(options.unlabelled):
        maps = {}
        for sharing in {1, *(len(dealt(len(MIRRORINGS), alike(mm, SIGMA_MM))) for mm in options.distance)}:
            maps[sharing] = [
                SliceMaps(z, box, np.ones(slice_.shape, bool), told.infection, told.consolidation)
                for z, (slice_, box, told) in enumerate(zip(slices, boxes, predictor(slices, sharing), strict=True))
            ]
        for mm, count in counts.items():
            sharing = len(dealt(len(MIRRORINGS), alike(mm, SIGMA_MM)))
            all_looks, shared = (labels(maps[n], mm, predictor.threshold) for n in (1, sharing))
            for row, of in zip(count, ((1, 2), (1,), (2,)), strict=True):
                one, other = np.isin(all_looks, of), np.isin(shared, of)
                row += np.count_nonzero(one & other), np.count_nonzero(one), np.count_nonzero(other)
    for mm, count in counts.items():
        looks = len(dealt(len(MIRRORINGS), alike(mm, SIGMA_MM))[0])
        told = ", ".join(f"{2 * both / (one + other):.4f} ({other / one:.4f})" for both, one, other in count)
        print(f"{mm:g} mm: {looks} looks a slice; infection, ground glass, consolidation: {told}")


if __name__ == "__main__":
    main()
