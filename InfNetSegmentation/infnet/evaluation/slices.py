"""Predictions and truths of 2-D slices, read for evaluation."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infnet.data.labelled_slices import read_grey, read_labels
from infnet.evaluation.pairs import Pair


def are_label_images(paths: Iterable[Path]) -> bool:
    """Whether images are labels (palette images, or no value above 2), all of them, and not probabilities of 0..255.

    All of them, since the map of one healthy slice may have no value above 2 either.
    """
    return all(read_grey(path).max() <= 2 or _is_palette_image(path) for path in paths)  # the first tells of damage


def read_slices(pair: Pair, labels: bool, finding: int | None) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A prediction (0..255) and its truth, (H, W) each, not necessarily of one size.

    ``labels``: whether the prediction is a label image. Of the truth and of such a prediction the label ``finding``
    counts, or any if None. Raises `InputError`.
    """
    truth = _mask(read_labels(pair.truth), finding)
    if labels:
        return _mask(read_labels(pair.prediction), finding).astype(np.uint8) * 255, truth
    return read_grey(pair.prediction), truth


def _mask(labels: NDArray[np.uint8], finding: int | None) -> NDArray[np.bool_]:
    return labels > 0 if finding is None else labels == finding


def _is_palette_image(path: Path) -> bool:
    with Image.open(path) as image:
        return image.mode == "P"
