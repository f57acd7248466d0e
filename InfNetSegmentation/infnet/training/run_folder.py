"""The folder of a run, which belongs to one training: resuming another one there would mix them up."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infnet.data.files import read_json, written_whole
from infnet.data.labelled_slices import LabelledSlice, digest
from infnet.errors import InputError, OutputError
from infnet.training.recipe import Recipe


def claim(folder: Path, recipe: Recipe, slices: Sequence[LabelledSlice], **more: Any) -> None:
    """Make ``folder`` that of this training, noted in ``run.json``.

    Raises InputError where the folder is that of another recipe or other data, OutputError where it cannot be made.
    """
    run = {"recipe": recipe.as_dict(), "data_sha256": digest(slices), **more}
    note = folder / "run.json"
    try:
        if note.is_file():
            if read_json(note) != run:
                raise InputError(f"{folder}: holds another training (see run.json); choose another folder.")
            return
        folder.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        raise InputError(f"{note}: damaged; choose another folder.") from error
    except OSError as error:
        raise OutputError(f"{folder}: cannot be used as run folder ({error.strerror}).") from error
    with written_whole(note) as temporary:
        temporary.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
