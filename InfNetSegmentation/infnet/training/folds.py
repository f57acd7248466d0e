"""The folds of a cross-validation, by image id; slices of one CT or patient stay together, where that is known."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from infnet.data.labelled_slices import LabelledSlice, Slice
from infnet.errors import InputError


def folds(stems: Sequence[str], count: int, seed: int, volumes: Mapping[str, str | None] = {}) -> list[list[str]]:
    """``stems`` dealt into ``count`` folds at random from ``seed``.

    ``volumes``: what must stay together, by stem; the folds have as many volumes each (to one). A stem without is one
    of its own.
    """
    groups: dict[str, list[str]] = {}
    for stem in sorted(stems):
        groups.setdefault(volumes.get(stem) or stem, []).append(stem)
    order = np.random.default_rng(seed).permutation(sorted(groups))
    return [sorted(stem for group in fold for stem in groups[str(group)]) for fold in np.array_split(order, count)]


def folds_of(slices: Sequence[LabelledSlice], count: int, seed: int) -> list[list[str]]:
    """The folds of ``slices``, by their stems and volumes."""
    return folds([s.stem for s in slices], count, seed, {s.stem: s.volume for s in slices})


def check_folds(slices: Sequence[LabelledSlice], count: int, index: int | None = None) -> None:
    """Raise InputError where ``slices`` cannot be dealt into ``count`` folds, or there is no fold ``index``."""
    volumes = len({s.volume or s.stem for s in slices})
    if not 2 <= count <= volumes:
        what = "CTs, whose slices stay together" if volumes < len(slices) else "slices"
        raise InputError(f"{count} folds of {volumes} {what}: 2 to {volumes} can be used.")
    if index is not None and not 0 <= index < count:
        raise InputError(f"Fold {index} of {count}: they are called 0 to {count - 1}.")


def check_unlabelled(held_out: Iterable[LabelledSlice], unlabelled: Iterable[Slice]) -> None:
    """Raise InputError where an unlabelled slice is the same picture as one that is held out."""
    pictures = {_picture(s): s.stem for s in held_out}
    for s in unlabelled:
        if stem := pictures.get(_picture(s)):
            raise InputError(f"{s.stem}: an unlabelled slice that is also the held-out {stem}; leave one of them out.")


def hold_out(
    slices: Sequence[LabelledSlice], count: int, index: int, seed: int, extra: Sequence[LabelledSlice] = ()
) -> tuple[list[LabelledSlice], list[LabelledSlice]]:
    """The slices to train on, all but fold ``index`` and with the ``extra`` ones, and those of the fold.

    Of the extra ones, those of a CT or patient that is held out are left out. Raises InputError where an extra slice
    shows the same as one that is held out in any fold, or a slice to train on the same as one of this fold.
    """
    pictures = {_picture(s) for s in slices}
    for s in extra:
        if _picture(s) in pictures:
            raise InputError(f"{s.stem}: an extra slice that is also one of those to be held out; leave it out.")
    fold = set(folds_of(slices, count, seed)[index])
    held_out = [s for s in slices if s.stem in fold]
    volumes = {s.volume for s in held_out if s.volume}
    training = [s for s in slices if s.stem not in fold]
    of_fold = {_picture(s): s.stem for s in held_out}
    for s in training:
        if stem := of_fold.get(_picture(s)):
            raise InputError(f"{s.stem}: the same picture as {stem}, which is held out; leave one of them out.")
    return [*training, *(s for s in extra if s.volume not in volumes)], held_out


def _picture(slice_: Slice) -> tuple[tuple[int, ...], bytes]:
    """What is the same of two slices that show the same."""
    return slice_.image.shape, slice_.image.tobytes()
