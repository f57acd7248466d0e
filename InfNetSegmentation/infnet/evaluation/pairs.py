"""Which prediction belongs to which truth: files of the same name, whatever their endings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infnet.data.labelled_slices import find_images
from infnet.data.listing import IMAGE_SUFFIXES
from infnet.data.segmentations import SEGMENTATION_ENDING
from infnet.data.volumes import IMAGE_ENDINGS
from infnet.errors import InputError, InputNotFoundError

_VOLUME_ENDINGS = (SEGMENTATION_ENDING, *IMAGE_ENDINGS)
_NAMED = 10  # missing files that a message names


@dataclass(frozen=True)
class Pair:
    """A prediction and its truth. ``name``: the truth's file name without its ending."""

    name: str
    prediction: Path
    truth: Path


@dataclass(frozen=True)
class Pairs:
    """Every truth with its prediction, by name.

    ``are_volumes``: images of three dimensions, not slices. ``without_truth``: predictions left out.
    """

    pairs: Sequence[Pair]
    are_volumes: bool
    without_truth: Sequence[Path]


def match(predictions: Path, truths: Path) -> Pairs:
    """Pair two folders' images by name, or two images whatever their names.

    Raises InputNotFoundError for what does not exist and for truths without a prediction, which it names; InputError
    for slices on one side and volumes on the other.
    """
    found, true = _images(predictions), _images(truths)
    are_volumes = _is_volume(next(iter(true.values())))
    if _is_volume(next(iter(found.values()))) != are_volumes:
        raise InputError(f"{predictions} and {truths}: slices on one side, volumes on the other.")
    if predictions.is_file() and truths.is_file():
        found = dict(zip(true, found.values(), strict=True))
    missing = [name for name in true if name not in found]
    if missing:
        named = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
        raise InputNotFoundError(f"{predictions}: no prediction for {len(missing)} of {len(true)} truths: {named}.")
    return Pairs(
        pairs=[Pair(name, found[name], path) for name, path in true.items()],
        are_volumes=are_volumes,
        without_truth=[path for name, path in found.items() if name not in true],
    )


def _is_volume(path: Path) -> bool:
    return path.name.lower().endswith(_VOLUME_ENDINGS)


def _images(path: Path) -> dict[str, Path]:
    """The images of a folder, or the one image, by name without ending; slices where a folder has both kinds."""
    if path.is_file():
        if not _is_volume(path) and path.suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(f"{path}: not an image ({', '.join((*IMAGE_SUFFIXES, *_VOLUME_ENDINGS))}).")
        return {_name(path): path}
    volumes = sorted(p for p in path.glob("*") if _is_volume(p) and not p.name.startswith("."))
    if not volumes or any(p.suffix.lower() in IMAGE_SUFFIXES for p in path.iterdir()):
        return {p.stem: p for p in find_images(path)}
    named = {_name(p): p for p in volumes}
    if len(named) < len(volumes):
        raise InputError(f"{path}: several volumes of one name, but for their endings; keep one of each.")
    return named


def _name(path: Path) -> str:
    ending = next((e for e in _VOLUME_ENDINGS if path.name.lower().endswith(e)), path.suffix)
    return path.name.removesuffix(path.name[-len(ending) :])
