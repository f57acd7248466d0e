"""Labelled 2-D slices in the layout of COVID-SemiSeg: ``Imgs/STEM.jpg`` beside ``GT/STEM.png``.

Pseudo-labels are infection probabilities, 0..255, and lie in ``Soft/STEM.png`` instead: a folder's truth is soft if it
has ``Soft``, whatever its values are. Beside it, ``Consolidation/STEM.png``, the probability of consolidation where
there is infection, may tell the findings apart.
"""

import glob
import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infnet.data.listing import IMAGE_SUFFIXES, LISTING, volumes_of
from infnet.errors import InputError, InputNotFoundError, UnreadableImageError

_PAPERS_GREYS = (0, 38, 75)  # of the labels' colours in Fan et al.: black, dark red and dark green
_MASK_SOFTNESS = 30  # grey values by which JPEG and smooth drawing change a mask's black and white

_FORMATS = ("JPEG", "PNG", "BMP", "TIFF")  # whatever a file's name is: of some others, Pillow starts programs
_DAMAGE = (  # what Pillow raises for damaged files
    OSError,
    SyntaxError,
    ValueError,
    OverflowError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True)
class Slice:
    """One slice without a truth; ``image`` is (H, W) uint8."""

    stem: str
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledSlice(Slice):
    """One slice and its truth, all (H, W) uint8.

    ``labels``: 0 background, 1 infection (or ground-glass opacity), 2 consolidation; all 0 is a healthy slice.
    ``prior``: infection probability as 0..255, or None where none was given. ``soft``: the truth as infection
    probability, 0..255 (then ``labels`` is what it says from 128 on), or None where the labels are a reader's.
    ``volume``: the CT or patient that it is of, or None where that is not known. ``soft_consolidation``: of a soft
    truth that tells the findings apart, the probability of consolidation where there is infection, 0..255.
    """

    labels: NDArray[np.uint8]
    prior: NDArray[np.uint8] | None = None
    soft: NDArray[np.uint8] | None = None
    volume: str | None = None
    soft_consolidation: NDArray[np.uint8] | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether a reader found no infection; a pseudo-label cannot tell."""
        return self.soft is None and not self.labels.any()


def with_soft_truth(
    slice_: Slice, soft: NDArray[np.uint8], consolidation: NDArray[np.uint8] | None = None
) -> LabelledSlice:
    """A slice whose truth is an infection probability and, within it, perhaps one of ``consolidation``; both 0..255."""
    labels = (soft >= 128).astype(np.uint8)
    if consolidation is not None:
        labels += labels * (consolidation >= 128)
    return LabelledSlice(slice_.stem, slice_.image, labels, soft=soft, soft_consolidation=consolidation)


def find_images(folder: Path) -> list[Path]:
    """The 2-D image files of ``folder``, sorted by name. Raises InputNotFoundError where there are none."""
    if not folder.is_dir():
        raise InputNotFoundError(f"{folder}: no such folder. Name a folder that holds 2-D images.")
    # A name that begins with a dot is a file half written, or macOS's notes on one.
    paths = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    paths.sort(key=lambda path: path.name)  # on Windows paths are sorted without regard to case
    for path in paths:
        if not path.is_file():  # for a pipe one would wait
            raise InputError(f"{path}: a folder, a link to nothing, a pipe or a device; take it out.")
        try:
            path.name.encode()
        except UnicodeEncodeError as error:  # no list or table could name it
            raise InputError(f"{path}: the name is not in UTF-8; rename it.") from error
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
    return _as_grey(image, path)


def unit_range(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """8-bit grey values or probabilities as float32 in [0, 1]."""
    return (grey / 255).astype(np.float32)


def eight_bit(unit: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Grey values or probabilities in [0, 1] as 0..255, rounded."""
    return (unit * 255).round().astype(np.uint8)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """A label image (H, W) of 0, 1 and 2: the indices of a palette image, or the values of a grey one.

    Masks, black and white but for a little softness, become 0 and 1; the paper's colours, or their greys, 0, 1
    and 2. Raises UnreadableImageError for a damaged file, InputError for other values than those.
    """
    image = _open(path)
    values = _as_grey(image, path) if len(image.getbands()) > 1 else np.asarray(image)
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


def read_slices(folder: Path) -> Sequence[Slice]:
    """Every slice of ``folder/Imgs``, sorted by stem; 1,600 of 350² pixels take 200 MB."""
    return [Slice(path.stem, read_grey(path)) for path in find_images(folder / "Imgs")]


def read_labelled_slices(folder: Path, priors: Path | None = None) -> Sequence[LabelledSlice]:
    """Every slice of ``folder/Imgs`` with its truth from ``folder/GT`` or ``folder/Soft``, sorted by stem.

    ``priors``: a folder of ``STEM.png`` infection probabilities (as ``infnet predict`` and ``infnet
    cross-validate`` write them). ``folder/slices.csv``, where there is one, names the volumes. Raises InputError where
    a truth or prior is missing or of another size, or where there are both kinds of truth.
    """
    if (folder / "Soft").is_dir():
        if (folder / "GT").is_dir():
            raise InputError(f"{folder}: holds both GT and Soft; move one of them away.")
        findings = folder / "Consolidation"
        slices = read_soft_truths(read_slices(folder), folder / "Soft", findings if findings.is_dir() else None)
        return _with_volumes(slices, folder)
    labelled = []
    for s in read_slices(folder):
        labels = read_fitting(s, folder / "GT" / f"{s.stem}.png", read_labels)
        prior = read_fitting(s, priors / f"{s.stem}.png", read_grey) if priors else None
        labelled.append(LabelledSlice(s.stem, s.image, labels, prior))
    return _with_volumes(labelled, folder)


def read_soft_truths(
    slices: Iterable[Slice], folder: Path, consolidation: Path | None = None
) -> Sequence[LabelledSlice]:
    """``slices`` with ``folder/STEM.png``, infection probability as 0..255, as truth.

    ``consolidation``: the folder of the same for consolidation where there is infection. Raises InputError.
    """
    truths = []
    for s in slices:
        infection, *findings = (
            read_fitting(s, maps / f"{s.stem}.png", read_grey) for maps in (folder, consolidation) if maps
        )
        truths.append(with_soft_truth(s, infection, *findings))
    return truths


def read_fitting(slice_: Slice, path: Path, read: Callable[[Path], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The mask or map of a slice. Raises InputError where it is missing or of another size."""
    if not path.is_file():
        others = path.parent.glob(f"{glob.escape(path.stem)}.*")
        instead = "".join(f" Save {other.name} as {path.name}." for other in others)
        raise InputNotFoundError(f"{path}: missing; every slice in Imgs needs one.{instead}")
    map_ = read(path)
    if map_.shape != slice_.image.shape:
        raise InputError(f"{path}: {map_.shape}, but its slice is {slice_.image.shape}. Remove or mend it.")
    return map_


def digest(slices: Iterable[Slice]) -> str:
    """SHA-256 of all that training sees of the slices."""
    sha256 = hashlib.sha256()
    for s in slices:
        sha256.update(repr((s.stem, s.image.shape)).encode())
        given = {field.name: getattr(s, field.name) for field in fields(s) if field.name not in ("stem", "volume")}
        if given.get("soft_consolidation") is None:  # as before there was such a thing
            given.pop("soft_consolidation", None)
        for array in given.values():
            sha256.update(b"none" if array is None else array.tobytes())
    return sha256.hexdigest()


def _with_volumes(slices: Sequence[LabelledSlice], folder: Path) -> list[LabelledSlice]:
    volumes = volumes_of(folder)
    if volumes and not any(s.stem in volumes for s in slices):
        raise InputError(f"{folder / LISTING}: its column file names none of the slices in Imgs; name them there.")
    return [replace(s, volume=volumes.get(s.stem)) for s in slices]


def _as_grey(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    if "A" in image.getbands() and image.getchannel("A").getextrema() != (255, 255):  # what shows through, nobody knows
        raise UnreadableImageError(f"{path}: is transparent in part; save it as 8-bit grey, without transparency.")
    try:
        return np.asarray(image.convert("L"))
    except ValueError as error:  # colours that Pillow can read but not convert, such as LAB
        raise UnreadableImageError(f"{path}: {error}; save it as 8-bit grey.") from error


def _open(path: Path) -> Image.Image:
    try:
        if not path.is_file():  # for a pipe one would wait
            raise InputNotFoundError(f"{path}: no such file.")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_FORMATS)
            image.load()
        if getattr(image, "n_frames", 1) > 1:
            raise UnreadableImageError(f"{path}: holds several pictures; save each as a file of its own.")
    except _DAMAGE as error:
        raise UnreadableImageError(f"{path}: not a readable image ({error}); save it again, or take it out.") from error
    return image
