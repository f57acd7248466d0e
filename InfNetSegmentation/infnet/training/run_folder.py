"""The folder of a run, which belongs to one training: resuming another one there would mix them up."""

import csv
import json
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from lightning.fabric.utilities import rank_zero_only

import infnet
from infnet.data.files import locked, read_json, remove_unfinished, written_whole
from infnet.data.labelled_slices import LabelledSlice, Slice, digest
from infnet.errors import InputError, OutputError
from infnet.training.recipe import Recipe

_NOTE = "run.json"
_REMEDIES = {
    "split": "slices.csv deals the slices into other folds than when it began. Put back the slices.csv of then",
    "data_sha256": "its slices or their truths were others. Put back those that its data.csv lists",
}


def claim(
    folder: Path,
    recipe: Recipe,
    slices: Sequence[LabelledSlice],
    others: Mapping[str, Sequence[Slice]] = {},
    results: Sequence[str] = (),
    **more: Any,
) -> None:
    """Make ``folder`` that of this training: of this recipe, these slices, and ``more``, noted in ``run.json``.

    Also noted: versions and command that began it (``begun_by``), and in ``data.csv`` the SHA-256 of each slice with
    its truth, of ``slices`` and of ``others``, by their use. What killed processes have left unfinished is removed.
    ``results``: names in the folder of what the training goes on with.

    Raises InputError where the folder is that of another recipe or other data, or of none that is noted but has
    results; OutputError where it cannot be made.
    """
    run = {"recipe": recipe.as_dict(), "data_sha256": digest(slices), **more}
    try:
        is_claimed = _is_claimed(folder, run, results)
        folder.mkdir(parents=True, exist_ok=True)
        _clear_away(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be used as run folder ({error.strerror}).") from error
    if is_claimed:
        return
    with written_whole(folder / "data.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = [(s.stem, use, digest([s])) for use, some in {"training": slices, **others}.items() for s in some]
        csv.writer(file).writerows([("file", "use", "sha256"), *rows])
    begun_by = {"infnet": infnet.__version__, "torch": torch.__version__, "python": platform.python_version()}
    begun_by["command"] = shlex.join(sys.argv)
    with written_whole(folder / _NOTE) as temporary:
        temporary.write_text(json.dumps({**run, "begun_by": begun_by}, indent=2) + "\n", encoding="utf-8")


def check_claim(
    folder: Path, recipe: Recipe, slices: Sequence[LabelledSlice], results: Sequence[str] = (), **more: Any
) -> None:
    """Raise InputError where `claim` would, and write nothing."""
    _is_claimed(folder, {"recipe": recipe.as_dict(), "data_sha256": digest(slices), **more}, results)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Raises InputError where another process is in such a block with this folder (where its disk has locks)."""
    try:
        with locked(folder / ".infnet-lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"{folder}: another process trains there; wait for it, or choose another folder.") from None


def is_first_process() -> bool:
    """Whether this process is the one that speaks and writes for all that train together."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined, no-any-return]


def _is_claimed(folder: Path, run: Mapping[str, Any], results: Sequence[str]) -> bool:
    """Whether ``folder`` is that of ``run`` already. Raises InputError where it is another one's."""
    note = folder / _NOTE
    if not note.is_file():
        if left := next((folder / name for name in results if (folder / name).exists()), None):
            raise InputError(f"{left}: of a training that no {_NOTE} tells; move it away, or choose another folder.")
        return False
    try:
        found = {name: value for name, value in read_json(note).items() if name != "begun_by"}
        if found != run:
            raise InputError(f"{folder}: holds another training: {_cause(run, found)}, or choose another folder.")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{note}: damaged; choose another folder.") from error
    return True


def _clear_away(folder: Path) -> None:
    """What killed processes have left, their lock on the folder too, unless another one trains there."""
    if is_first_process():  # which would find the folder taken by the others
        with suppress(InputError), alone_in(folder):
            remove_unfinished(folder)


def _cause(run: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """In which way a run differs from the one that was found, and what can be done."""
    differing = [name for name in {**run, **found} if run.get(name) != found.get(name)]
    if len(differing) == 1 and differing[0] in _REMEDIES:
        return _REMEDIES[differing[0]]
    if "recipe" in differing:
        own, other = run["recipe"], found.get("recipe", {})
        differing = [name for name in own if own[name] != other.get(name)]
    return f"it began with another {', '.join(differing)} (see run.json). Give the same again"
