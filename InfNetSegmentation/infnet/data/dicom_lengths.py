"""Whether a DICOM file holds what its header tells: GDCM first allocates that, gigabytes for one wrong byte."""

import struct
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset
    from pydicom.dataelem import RawDataElement

_UNDEFINED = 0xFFFFFFFF
_MOST_COMPRESSED = 10_000  # to 1: an empty slice of 2048 × 2048 pixels in JPEG 2000 is at 7 000


def starts_as_dicom(content: bytes) -> bool:
    """Whether a file that begins with ``content`` begins as PS3.10 has it."""
    return content[128:132] == b"DICM"


def lengths_fit(path: Path) -> bool:
    """Whether every element and item of a DICOM file, and the image's pixels, have room in it."""
    from pydicom import dcmread

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that are of no form, which are others' business
            dataset = dcmread(path)
            return _are_whole(dataset) and _has_its_pixels(dataset, path.stat().st_size)
    except (OSError, EOFError, RecursionError, MemoryError, struct.error):
        return False
    except NotImplementedError:  # of a value of no type: GDCM takes what follows for its length
        return False
    except Exception:  # of values that it cannot decode, which is another matter
        return True


def _are_whole(dataset: "Dataset") -> bool:
    """Whether the values have their lengths, in sequences too; pydicom reads what there is of them."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    for tag in dataset.keys():  # noqa: SIM118 - its items would be decoded
        element = dataset.get_item(tag)
        length, value = getattr(element, "length", _UNDEFINED), element.value or b""  # decoded: of undefined length
        if length != _UNDEFINED and len(value) != length:
            return False
        # Where the file does not tell the types (implicit VR), the dictionary does.
        vr = element.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else None)
        if vr == "SQ" and not (_items_fit(element) and all(map(_are_whole, dataset[tag].value))):
            return False
    return True


def _items_fit(sequence: "DataElement | RawDataElement") -> bool:
    """Whether the items fill a sequence of known length; pydicom reads what there is of the last one."""
    from pydicom.dataelem import RawDataElement

    if not isinstance(sequence, RawDataElement) or not sequence.value:  # of unknown length, and read already; empty
        return True
    number, end = "<I" if sequence.is_little_endian else ">I", 0
    while end < len(sequence.value):
        (length,) = struct.unpack_from(number, sequence.value, end + 4)
        if length == _UNDEFINED:  # a mark ends the item, which pydicom looks for
            return True
        end += 8 + length
    return end == len(sequence.value)


def _has_its_pixels(dataset: "Dataset", file_size: int) -> bool:
    if "PixelData" not in dataset:
        return True
    rows, columns, bits = (int(dataset.get(name) or 0) for name in ("Rows", "Columns", "BitsAllocated"))
    frames = 1
    with suppress(ValueError):  # text, in which ITK overlooks what is no number
        frames = int(dataset.get("NumberOfFrames") or 1)
    element = dataset.get_item("PixelData")
    is_compressed = getattr(element, "length", _UNDEFINED) == _UNDEFINED
    room = file_size * _MOST_COMPRESSED if is_compressed else len(element.value)
    return rows * columns * bits * frames // 8 <= room
