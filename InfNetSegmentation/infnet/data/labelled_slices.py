"""Labelled 2-D slices in the layout of COVID-SemiSeg: ``Imgs/STEM.jpg`` beside ``GT/STEM.png``."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from infnet.errors import InputError, InputNotFoundError, UnreadableImageError

_PAPERS_GREYS = (0, 38, 75)  # of the labels' colours in Fan et al.: black, dark red and dark green
_MASK_SOFTNESS = 30  # grey values by which JPEG and smooth drawing change a mask's black and white

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class LabelledSlice:
    """One slice and its truth, all (H, W) uint8.

    ``labels``: 0 background, 1 infection (or ground-glass opacity), 2 consolidation. ``prior``: infection
    probability as 0..255, or None where none was given.
    """

    stem: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    prior: NDArray[np.uint8] | None = None


def find_images(folder: Path) -> list[Path]:
    """The 2-D image files of ``folder``, sorted by name. Raises InputNotFoundError where there are none."""
    if not folder.is_dir():
        raise InputNotFoundError(f"{folder}: no such folder. Name a folder that holds 2-D images.")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise InputNotFoundError(f"{folder}: holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    stem, count = Counter(path.stem for path in paths).most_common(1)[0]
    if count > 1:
        names = " and ".join(path.name for path in paths if path.stem == stem)
        raise InputError(f"{folder}: {names} would share their results; rename all but one.")
    return paths


def read_grey(path: Path) -> NDArray[np.uint8]:
    """An image as 8-bit grey (H, W).

    Raises UnreadableImageError for a damaged file, another kind of file, or more than 8 bits a channel.
    """
    image = _open(path)
    if image.mode.startswith(("I", "F")):
        raise UnreadableImageError(f"{path}: has more than 8 bits; save it as 8-bit grey through a lung window.")
    return np.asarray(image.convert("L"))


def unit_range(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """8-bit grey values or probabilities as float32 in [0, 1]."""
    return (grey / 255).astype(np.float32)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """A label image (H, W) of 0, 1 and 2: the indices of a palette image, or the values of a grey one.

    Masks, black and white but for a little softness, become 0 and 1; the paper's colours, or their greys, 0, 1
    and 2. Raises UnreadableImageError for a damaged file, InputError for other values than those.
    """
    image = _open(path)
    values = np.asarray(image.convert("L") if image.mode in ("RGB", "RGBA", "LA", "PA", "CMYK") else image)
    found = np.unique(values)
    if np.isin(found, (0, 1, 2)).all():
        return values.astype(np.uint8)
    if image.mode != "P":
        if np.isin(found, _PAPERS_GREYS).all():
            return np.searchsorted(_PAPERS_GREYS, values).astype(np.uint8)
        from_white = 255 - found.astype(np.float64)
        if abs(from_white).min() <= _MASK_SOFTNESS and (np.minimum(found, abs(from_white)) <= _MASK_SOFTNESS).all():
            return (values > 127).astype(np.uint8)
    listed = ", ".join(f"{value:g}" for value in found[:10]) + (", …" if len(found) > 10 else "")
    raise InputError(
        f"{path}: values {listed}; save it with 0 background, 1 GGO, 2 consolidation, or as a mask of 0 and 255."
    )


def read_labelled_slices(folder: Path, priors: Path | None = None) -> Sequence[LabelledSlice]:
    """Every slice of ``folder/Imgs`` with its truth from ``folder/GT``, sorted by stem.

    ``priors``: a folder of ``STEM.png`` infection probabilities (as ``infnet predict`` and ``infnet
    cross-validate`` write them). Raises InputError where a mask or prior is missing or of another size.
    """
    slices = []
    for path in find_images(folder / "Imgs"):
        image = read_grey(path)
        labels = read_labels(_existing(folder / "GT" / f"{path.stem}.png"))
        prior = read_grey(_existing(priors / f"{path.stem}.png")) if priors else None
        for name, other in (("mask", labels), ("prior", prior)):
            if other is not None and other.shape != image.shape:
                raise InputError(f"{path}: {image.shape}, but its {name} is {other.shape}. Remove or mend it.")
        slices.append(LabelledSlice(path.stem, image, labels, prior))
    return slices


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputNotFoundError(f"{path}: missing; every slice in Imgs needs one.")
    return path


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{path}: no such file.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UnreadableImageError(f"{path}: not a readable image ({error}).") from error
    return image
