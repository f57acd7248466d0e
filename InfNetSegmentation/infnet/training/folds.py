"""The folds of a cross-validation, by image id."""

from collections.abc import Sequence

import numpy as np

from infnet.data.labelled_slices import LabelledSlice
from infnet.errors import InputError


def folds(stems: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """``stems`` dealt into ``count`` folds of equal size (to one), at random from ``seed``."""
    order = np.random.default_rng(seed).permutation(sorted(stems))
    return [sorted(map(str, fold)) for fold in np.array_split(order, count)]


def check_folds(slices: Sequence[LabelledSlice], count: int, index: int | None = None) -> None:
    """Raise InputError where ``slices`` cannot be dealt into ``count`` folds, or there is no fold ``index``."""
    if not 2 <= count <= len(slices):
        raise InputError(f"{count} folds of {len(slices)} slices: 2 to {len(slices)} can be used.")
    if index is not None and not 0 <= index < count:
        raise InputError(f"Fold {index} of {count}: they are called 0 to {count - 1}.")


def hold_out(
    slices: Sequence[LabelledSlice], count: int, index: int, seed: int, extra: Sequence[LabelledSlice] = ()
) -> tuple[list[LabelledSlice], list[LabelledSlice]]:
    """The slices to train on, all but fold ``index`` and with the ``extra`` ones, and those of the fold.

    Raises InputError where an extra slice shows the same as one that is held out in any fold.
    """
    images = {s.image.tobytes() for s in slices}
    for s in extra:
        if s.image.tobytes() in images:
            raise InputError(f"{s.stem}: an extra slice that is also one of those to be held out; leave it out.")
    fold = set(folds([s.stem for s in slices], count, seed)[index])
    return [*(s for s in slices if s.stem not in fold), *extra], [s for s in slices if s.stem in fold]
