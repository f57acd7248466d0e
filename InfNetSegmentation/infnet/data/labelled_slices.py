"""Labelled 2-D slices in the layout of COVID-SemiSeg: ``Imgs/STEM.jpg`` beside ``GT/STEM.png``."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from infnet.errors import InputError, InputNotFoundError, UnreadableImageError

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
    for one, other in pairwise(paths):
        if one.stem == other.stem:
            raise InputError(f"{folder}: {one.name} and {other.name} would share their results; rename one.")
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
    """A label image (H, W): the indices of a palette PNG or of a grey one; 8-bit masks of {0, 255} become {0, 1}.

    Raises UnreadableImageError for a damaged file, InputError for other values than those.
    """
    image = _open(path)
    labels = np.asarray(image if image.mode in ("P", "L", "1") else image.convert("L")).astype(np.uint8)
    if image.mode != "P" and labels.max(initial=0) > 2:
        labels = (labels > 127).astype(np.uint8)
    if labels.max(initial=0) > 2:
        raise InputError(f"{path}: label {labels.max()}; expected 0 background, 1 GGO, 2 consolidation.")
    return labels


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
