"""``DIR/slices.csv``: which volume each slice of a folder is of."""

import csv
from pathlib import Path

from infnet.errors import InputError

LISTING = "slices.csv"


def read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of ``folder/slices.csv``. Raises InputError."""
    path = folder / LISTING
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); it names the volume of each slice.") from error


def volumes_of(folder: Path) -> dict[str, str]:
    """{slice's stem: what it must not be separated from in a split}, for the slices of which that is known.

    That is the column ``patient`` of ``folder/slices.csv`` or, without one, ``volume``. Raises InputError for a list
    that cannot be read.
    """
    rows = read_rows(folder) if (folder / LISTING).is_file() else []
    volumes = {row.get("file"): row.get("patient") or row.get("volume") for row in rows}
    return {file: volume for file, volume in volumes.items() if file and volume}
