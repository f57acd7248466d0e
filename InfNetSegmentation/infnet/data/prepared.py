"""Slices prepared from CTs (``infnet prepare``), which remember where they come from.

``DIR/slices.csv`` has a row for every ``DIR/Imgs/FILE.png``, so that a map of such a slice can be put back in its CT.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from infnet.data.files import written_whole
from infnet.data.labelled_slices import Slice, eight_bit
from infnet.data.listing import LISTING, read_rows
from infnet.data.orientation import AxialView
from infnet.errors import InputError
from infnet.inference.slices import SliceLook

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class PreparedSlice:
    """A row of ``slices.csv``: a slice and its place in the volume that it was cut from.

    file - name of the picture, without ending
    volume - name of the CT
    slice - index among the CT's axial slices, from the feet to the head (`infnet.data.orientation.AxialView`)
    first_row, last_row, first_column, last_column - the crop in that axial slice, front to back and right to left
    window_low, window_high - HU shown as 0 and as 255
    transposed - 1 where the picture's rows are the axial slice's columns
    """

    file: str
    volume: str
    slice: int
    first_row: int
    last_row: int
    first_column: int
    last_column: int
    window_low: float
    window_high: float
    transposed: int

    def part_of(self, axial: NDArray[T]) -> NDArray[T]:
        """The view of an axial volume (z, y, x) that the slice shows, as its picture lies (H, W)."""
        rows = slice(self.first_row, self.last_row + 1)
        part = axial[self.slice, rows, self.first_column : self.last_column + 1]
        return part.T if self.transposed else part


def cut(
    ct: sitk.Image,
    envelope: NDArray[np.uint8],
    look: SliceLook,
    volume: str,
    black_outside: bool = False,
) -> Iterator[tuple[PreparedSlice, NDArray[np.uint8]]]:
    """Every axial slice of a CT (HU) that shows lung, as 8-bit picture in the training look.

    ``envelope`` (z, y, x) is nonzero in lung and what may be lung (`infnet.anatomy.envelope.lung_envelope`); with
    ``black_outside``, all else is black.
    """
    hu = AxialView(ct).array()
    low, high = look.window
    if black_outside:
        hu[envelope == 0] = low
    for z, box in look.crops(envelope).items():
        rows, columns = box
        edges = (rows.start, rows.stop - 1, columns.start, columns.stop - 1)
        place = PreparedSlice(f"{volume}_{z:03}", volume, z, *edges, low, high, int(look.transposed))
        yield place, eight_bit(look.render(hu[z][box]))


def put_back(
    ct: sitk.Image, places: Iterable[PreparedSlice], maps: Mapping[str, NDArray[np.generic]], outside: float = 0
) -> sitk.Image:
    """The ``maps`` of a CT's prepared slices, by file, as an image on the CT's grid; ``outside`` where there are none.

    Raises InputError where a map has not the size of its slice.
    """
    view = AxialView(ct)
    kind = np.result_type(np.uint8, *{map_.dtype for map_ in maps.values()})
    volume = np.full(view.array().shape, outside, kind)
    for place in places:
        if place.file in maps:
            part, map_ = place.part_of(volume), maps[place.file]
            if map_.shape != part.shape:
                raise InputError(f"{place.file}: its map is {map_.shape}, but the slice {part.shape}.")
            part[...] = map_
    return view.restore(volume)


def write_listing(folder: Path, places: Sequence[PreparedSlice]) -> None:
    """Write ``folder/slices.csv``. Raises OutputError."""
    with (
        written_whole(folder / LISTING) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, [field.name for field in fields(PreparedSlice)])
        writer.writeheader()
        writer.writerows(map(asdict, places))


def read_listing(folder: Path) -> list[PreparedSlice]:
    """The rows of ``folder/slices.csv`` as `infnet prepare` writes it. Raises InputError for another file."""
    types = {field.name: field.type for field in fields(PreparedSlice)}
    try:
        return [
            PreparedSlice(**{name: types[name](row[name]) for name in types})  # type: ignore[operator]
            for row in read_rows(folder)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / LISTING}: not the list of infnet prepare ({error}).") from error


def without_volumes(slices: Sequence[Slice], folder: Path, excluded: Sequence[str]) -> Sequence[Slice]:
    """``slices`` less those of the ``excluded`` volumes, by the columns file and volume of ``folder/slices.csv``.

    Raises InputError where a volume or a slice is not in that list, so that no slice slips through.
    """
    if not excluded:
        return slices
    volumes = {row["file"]: row.get("volume", "") for row in read_rows(folder)}
    if unknown := set(excluded) - set(volumes.values()):
        raise InputError(f"{folder / LISTING}: has no volume {', '.join(sorted(unknown))}.")
    if missing := [s.stem for s in slices if s.stem not in volumes]:
        raise InputError(f"{folder / LISTING}: does not say which volume {missing[0]} is of.")
    return [s for s in slices if volumes[s.stem] not in excluded]
