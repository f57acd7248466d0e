"""How much of what is found in COVID-SemiSeg's volumes is left when maps are joined across slices.

``python Testing/infnet/joined_volumes.py UNLABELLED PREDICTIONS --sigma 0.8``: UNLABELLED has Imgs and slices.csv, and
PREDICTIONS is what ``infnet predict UNLABELLED/Imgs`` wrote. The slices of a volume were cropped one by one; each is
put where it differs least from the one before. How far apart they are is not known, so ``--sigma`` counts slices.
"""

import argparse
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from infnet.data.labelled_slices import find_images, read_grey, unit_range
from infnet.data.listing import volumes_of
from infnet.inference.joining import SliceMaps, joined


def offset(before, after):
    """Rows and columns that ``after``'s corner lies from ``before``'s, where their grey values differ least."""

    def difference(shift):
        (top, left), (rows, columns) = np.maximum(shift, 0), np.minimum(before.shape, np.add(shift, after.shape))
        here = before[top:rows:3, left:columns:3].astype(float)
        return abs(here - after[top - shift[0] : rows - shift[0] : 3, left - shift[1] : columns - shift[1] : 3]).mean()

    ranges = (range(min(0, d) - 2, max(0, d) + 3) for d in np.subtract(before.shape, after.shape))
    return min(product(*ranges), key=difference)


def infected(slices):
    return [s.infection >= 0.5 for s in slices]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("unlabelled", type=Path)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--sigma", type=float, nargs="+", default=[0.8])
    options = parser.parse_args()
    names, volumes = volumes_of(options.unlabelled), {}
    for path in find_images(options.unlabelled / "Imgs"):
        volumes.setdefault(names[path.stem], []).append(path)
    print(f"{'volume':<50}{'slices':>7}{'% infected':>11}" + "".join(f"{f'left at {s:g}':>12}" for s in options.sigma))
    totals = np.zeros(1 + len(options.sigma))
    for name, paths in volumes.items():
        paths.sort(key=lambda path: int(path.stem.rsplit("_", 1)[1]))
        images = [read_grey(path) for path in paths]
        corners = np.cumsum([(0, 0), *(offset(a, b) for a, b in pairwise(images))], axis=0)
        corners -= corners.min(0)
        slices = []
        for z, (path, (y, x)) in enumerate(zip(paths, corners, strict=True)):
            infection = unit_range(read_grey(options.predictions / "infection" / f"{path.stem}.png"))
            h, w = infection.shape
            inside = np.ones((h, w), bool)
            slices.append(SliceMaps(z, np.s_[y : y + h, x : x + w], inside, infection, np.zeros_like(infection)))
        alone = sum(int(m.sum()) for m in infected(slices)) or 1  # a volume without infection keeps none
        left = [sum(int(m.sum()) for m in infected(joined(slices, 1.0, s))) for s in options.sigma]
        share = 100 * alone / sum(s.infection.size for s in slices)
        print(f"{name:<50}{len(slices):>7}{share:>11.1f}" + "".join(f"{n / alone:>12.3f}" for n in left), flush=True)
        totals += [alone, *left]
    print(f"{'all':<68}" + "".join(f"{n / totals[0]:>12.3f}" for n in totals[1:]))


if __name__ == "__main__":
    main()
