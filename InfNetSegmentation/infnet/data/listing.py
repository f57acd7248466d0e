"""``DIR/slices.csv``: which volume each slice of a folder is of."""

import csv
import io
import os
from pathlib import Path

from infnet.errors import InputError

LISTING = "slices.csv"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_WORDS = ("file", "volume", "patient")


def read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of ``folder/slices.csv``, all with a cell for each column, one of which is ``file``: a slice's stem.

    Spaces around a cell do not count, nor the ending of a picture.
    None of a list whose first line has neither the word file nor volume nor patient: it is there for something else.
    Raises InputError for any other: to take it for a list without volumes would let slices of one CT be parted.
    """
    path = folder / LISTING
    if path.exists() and not path.is_file():  # for a pipe one would wait
        raise InputError(f"{path}: not a file; put the list of the slices there, or nothing.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise ValueError("it has NUL bytes")
        reader = csv.DictReader(io.StringIO(text), strict=True, skipinitialspace=True)
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); it names the volume of each slice.") from error
    header = ",".join(reader.fieldnames)
    if header and not any(word in header for word in _WORDS):
        return []
    if "file" not in reader.fieldnames:
        raise InputError(
            f"{path}: has no column called file, for the pictures' names; write it as CSV with "
            "commas, in UTF-8, or take it away."
        )
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise InputError(f"{path}, slice {number}: has more or fewer cells than there are columns.")
    return [{name: cell.strip() for name, cell in row.items()} | {"file": _stem(row["file"].strip())} for row in rows]


def volumes_of(folder: Path) -> dict[str, str]:
    """{slice's stem: what it must not be separated from in a split}, for the slices of which that is known.

    That is the column ``patient`` of ``folder/slices.csv`` or, without one, ``volume``. Raises InputError for a list
    that cannot be read.
    """
    rows = read_rows(folder) if os.path.lexists(folder / LISTING) else []
    volumes = {row["file"]: row.get("patient") or row.get("volume") for row in rows}
    return {file: volume for file, volume in volumes.items() if volume}


def _stem(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
