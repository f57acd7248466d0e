"""NRRD files written slice by slice: the volume need not be in memory as a whole.

The header's fields: "Definition of NRRD File Format", teem.sourceforge.net/nrrd/format.html.
"""

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from infnet.data.files import written_whole


def write_nrrd(slices: Iterable[NDArray[np.float32]], grid: sitk.Image, path: Path) -> None:
    """Write a float32 volume on the grid of an image, compressed, from the slices (y, x) of its last axis.

    Raises `OutputError`; then there is no new file, and an old one is untouched.
    """
    axes = np.reshape(grid.GetDirection(), (3, 3)) * grid.GetSpacing()
    fields = {
        "type": "float",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, grid.GetSize())),
        "space directions": " ".join(map(_vector, axes.T)),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "gzip",
        "space origin": _vector(grid.GetOrigin()),
    }
    header = "\n".join(["NRRD0004", *(f"{name}: {value}" for name, value in fields.items())]) + "\n\n"
    gzip = zlib.compressobj(1, wbits=31)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        file.write(header.encode())
        for slice_ in slices:
            file.write(gzip.compress(np.ascontiguousarray(slice_, "<f4").data))
        file.write(gzip.flush())


def _vector(values: Iterable[Any]) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"
