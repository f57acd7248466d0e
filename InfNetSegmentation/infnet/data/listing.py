"""``DIR/slices.csv``: which volume each slice of a folder is of."""

import csv
import io
import os
from pathlib import Path

from infnet.errors import InputError

LISTING = "slices.csv"


def read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of ``folder/slices.csv``, all with a cell for each column, one of which is ``file``.

    Raises InputError for another file: to take it for a list without volumes would let slices of one CT be parted.
    """
    path = folder / LISTING
    if path.exists() and not path.is_file():  # for a pipe one would wait
        raise InputError(f"{path}: not a file; put the list of the slices there, or nothing.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise ValueError("it has NUL bytes")
        reader = csv.DictReader(io.StringIO(text), strict=True)
        rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); it names the volume of each slice.") from error
    if "file" not in (reader.fieldnames or ()):
        raise InputError(f"{path}: has no column called file; write it as CSV with commas, in UTF-8.")
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise InputError(f"{path}, slice {number}: has more or fewer cells than there are columns.")
    return rows


def volumes_of(folder: Path) -> dict[str, str]:
    """{slice's stem: what it must not be separated from in a split}, for the slices of which that is known.

    That is the column ``patient`` of ``folder/slices.csv`` or, without one, ``volume``. Raises InputError for a list
    that cannot be read.
    """
    rows = read_rows(folder) if os.path.lexists(folder / LISTING) else []
    volumes = {row.get("file"): row.get("patient") or row.get("volume") for row in rows}
    return {file: volume for file, volume in volumes.items() if file and volume}
