"""Writes label images of what a cross-validation for findings predicted, within given infection.

``python Testing/infnet/label_maps.py RUN/predictions INFECTION -o DIR``: INFECTION/STEM.png is an infection map of
0..255, or a label image, whose infection then is what is labelled. ``infnet evaluate DIR TRUTH --class 1`` measures.
"""

import argparse
from pathlib import Path

import numpy as np
from infnet.data.labelled_slices import find_images, read_grey, read_labels
from infnet.errors import InputError
from PIL import Image


def is_infected(path: Path) -> np.ndarray:
    try:
        return read_labels(path) > 0
    except InputError:  # grey values: a map
        return read_grey(path) >= 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("infection", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for path in find_images(options.predictions):
        finding = np.where(read_grey(path) > 127.5, 2, 1)
        labels = np.where(is_infected(options.infection / path.name), finding, 0)
        Image.fromarray(labels.astype(np.uint8)).save(options.output / path.name)


if __name__ == "__main__":
    main()
