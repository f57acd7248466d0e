"""The resizing of MATLAB's ``imresize``, by which the paper's tool fits a prediction to its truth."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def imresize(image: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """An 8-bit image (H, W) at another ``shape``: bicubic (a = −0.5), antialiased where it shrinks.

    Pillow's bicubic filter is MATLAB's, but for two things: beyond its border MATLAB mirrors the image where Pillow
    cuts the filter off, and MATLAB begins with the axis that shrinks most (of equals, with the rows), where Pillow
    begins with the columns; both round to 8 bits in between.
    """
    if image.shape == shape:
        return image
    rows, columns = (new / old for new, old in zip(shape, image.shape, strict=True))
    if rows <= columns:
        return np.ascontiguousarray(_columns_first(image.T, (shape[1], shape[0])).T)
    return _columns_first(image, shape)


def _columns_first(image: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    # The filter reaches 2 pixels of the larger grid to each side of a pixel's centre.
    margin = [math.ceil(2 * max(1, old / new)) + 1 for new, old in zip(shape, image.shape, strict=True)]
    mirrored = np.pad(image, [(m, m) for m in margin], mode="symmetric")
    (top, left), (height, width) = margin, image.shape
    resized = Image.fromarray(mirrored).resize(
        (shape[1], shape[0]), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height)
    )
    return np.asarray(resized)
