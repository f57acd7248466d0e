"""Writes the mean of the maps that several networks predicted for the same images.

``python Testing/infnet/mean_maps.py RUN1/predictions RUN2/predictions … -o DIR``: maps of 0..255 as ``infnet
cross-validate`` and ``infnet predict`` write them. ``infnet evaluate DIR TRUTH`` measures the mean; as ``Soft`` beside
``Imgs`` it is a truth to learn from.
"""

import argparse
from pathlib import Path

import numpy as np
from infnet.data.labelled_slices import find_images, read_grey
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for path in find_images(options.predictions[0]):
        mean = np.mean([read_grey(folder / path.name) for folder in options.predictions], axis=0)
        Image.fromarray(mean.round().astype(np.uint8)).save(options.output / path.name)


if __name__ == "__main__":
    main()
