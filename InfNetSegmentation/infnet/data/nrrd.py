"""NRRD files written slice by slice: the volume need not be in memory as a whole.

The header's fields: "Definition of NRRD File Format", teem.sourceforge.net/nrrd/format.html.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import DTypeLike, NDArray

from infnet.data.files import written_whole

_TYPES = {"float32": "float", "float64": "double"}  # integers are called as numpy's are


def write_nrrd(slices: Iterable[NDArray[Any]], dtype: DTypeLike, grid: sitk.Image, path: Path) -> None:
    """Write a volume on the grid of an image, compressed, from the slices (y, x) of its last axis.

    ``dtype`` is theirs. Raises `OutputError`; then there is no new file, and an old one is untouched.
    """
    axes = np.reshape(grid.GetDirection(), (3, 3)) * grid.GetSpacing()
    with written_whole(path) as temporary, temporary.open("wb") as file:
        file.writelines(nrrd_chunks(slices, dtype, grid.GetSize(), axes, grid.GetOrigin()))


def nrrd_chunks(
    slabs: Iterable[NDArray[Any]],
    dtype: DTypeLike,
    size: Sequence[int],
    axes: NDArray[np.float64],
    origin: Sequence[float],
    compressed: bool = True,
) -> Iterator[bytes | memoryview]:
    """The content of an NRRD file, piece by piece: the header, then each slab (slices, or stacks of them) of voxels.

    ``size`` (x, y, z) is the volume's in voxels, column n of ``axes`` the step in mm (LPS) to the next voxel along axis
    n, ``origin`` the place of the first voxel.
    """
    little_endian = np.dtype(dtype).newbyteorder("<")
    fields = {
        "type": _TYPES.get(little_endian.name, little_endian.name),
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, size)),
        "space directions": " ".join(map(_vector, axes.T)),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "gzip" if compressed else "raw",
        "space origin": _vector(origin),
    }
    yield ("\n".join(["NRRD0004", *(f"{name}: {value}" for name, value in fields.items())]) + "\n\n").encode()
    # In probabilities only runs of zeros repeat: to look for nothing else is twice as fast, and the file no larger.
    gzip = zlib.compressobj(1, wbits=31, strategy=zlib.Z_RLE)
    for slab in slabs:
        voxels = np.ascontiguousarray(slab, little_endian).data.cast("B")
        yield gzip.compress(voxels) if compressed else voxels
    if compressed:
        yield gzip.flush()


def _vector(values: Iterable[Any]) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"
