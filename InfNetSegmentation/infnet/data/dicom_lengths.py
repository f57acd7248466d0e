"""Whether a DICOM file is as long as its header tells: GDCM first allocates that, gigabytes for one wrong byte.

Elements, items and their lengths: DICOM PS3.5, sections 7.1 and 7.5, and PS3.10, section 7.1.
"""

import mmap
import re
from pathlib import Path
from struct import unpack_from

_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # whose length has four bytes
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_KNOWN = _LONG | _SHORT
_SYNTAX, _FRAMES, _ROWS, _COLUMNS, _BITS, _PIXELS = (
    (0x0002, 0x0010), (0x0028, 0x0008), (0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0100), (0x7FE0, 0x0010)
)  # fmt: skip
_ITEM, _ENDS = (0xFFFE, 0xE000), ((0xFFFE, 0xE00D), (0xFFFE, 0xE0DD))
_IMPLICIT, _BIG_ENDIAN, _DEFLATED = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"
_PREAMBLE = 132
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 64  # sequences and items in each other; GDCM's stack holds some thousands
_MOST_COMPRESSED = 10_000  # to 1: an empty slice of 2048 × 2048 pixels in JPEG 2000 is at 7 000


def starts_as_dicom(content: bytes) -> bool:
    """Whether a file that begins with ``content`` begins as PS3.10 has it."""
    return content[128:132] == b"DICM"


def lengths_fit(path: Path) -> bool:
    """Whether every element and item of a DICOM file, and the image's pixels, have room in it. Raises OSError."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Walk(data).lengths_fit()


class _Walk:
    """From element to element, into sequences too, past the values."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.size = data, len(data)
        self.order, self.implicit = "<", False
        self.room: int | None = None  # bytes of the pixels
        self.told: dict[tuple[int, int], bytes] = {}  # values of the image's size
        # Of each sequence and item that is open: its end, whether its elements are implicit, whether it holds pixels.
        self.open: list[tuple[int, bool, bool]] = []

    def lengths_fit(self) -> bool:
        at, is_meta = _PREAMBLE, True
        while at + 8 <= self.size:
            while self.open and at >= self.open[-1][0]:
                self.open.pop()
            if is_meta and unpack_from("<H", self.data, at) != (2,):
                is_meta = False
                syntax = self.told.get(_SYNTAX, b"").rstrip(b"\0 ")
                if syntax == _DEFLATED:
                    return True
                self.order = ">" if syntax == _BIG_ENDIAN else "<"
                # Some files have no types although their syntax has.
                self.implicit = syntax == _IMPLICIT or self.data[at + 4 : at + 6] not in _KNOWN
            tag, vr, length, start = self._head(at)
            end = self.size + 1 if length == _UNDEFINED else start + length
            if start > self.size or (length != _UNDEFINED and end > self.size):
                return False
            if tag == _PIXELS and not self.open:
                self.room = self.size * _MOST_COMPRESSED if length == _UNDEFINED else length
            at = start
            _, implicit, holds_pixels = self.open[-1] if self.open else (0, self.implicit, False)
            if tag in _ENDS:
                self.open = self.open[:-1]
            elif length == _UNDEFINED or vr == b"SQ" or (tag == _ITEM and not holds_pixels):
                self.open.append((end, implicit or vr == b"UN", tag == _PIXELS))
                if len(self.open) > _DEEPEST:
                    return False
            else:
                if not self.open:
                    self.told.setdefault(tag, self.data[start : min(end, start + 64)])
                at = end
        return self.room is None or self._voxels() <= self.room

    def _head(self, at: int) -> tuple[tuple[int, int], bytes, int, int]:
        """Tag, VR (none where it is implicit), length and start of the value of the element at ``at``."""
        group, element, long = unpack_from(f"{self.order}HHI", self.data, at)
        vr = self.data[at + 4 : at + 6]
        implicit = self.open[-1][1] if self.open else self.implicit
        if implicit or group == 0xFFFE or vr not in _KNOWN:
            # Private elements of some makers have types of their own; of DICOM's, one that is unknown is damaged.
            is_damaged = not implicit and group % 2 == 0 and group != 0xFFFE and any(vr)
            return (group, element), b"", self.size if is_damaged else long, at + 8
        if vr in _SHORT:
            return (group, element), vr, *unpack_from(f"{self.order}H", self.data, at + 6), at + 8
        if at + 12 > self.size:
            return (group, element), vr, 0, at + 12
        return (group, element), vr, *unpack_from(f"{self.order}I", self.data, at + 8), at + 12

    def _voxels(self) -> int:
        """Bytes that the image's pixels need at least."""
        values = [self.told.get(tag, b"") for tag in (_ROWS, _COLUMNS, _BITS)]
        rows, columns, bits = (unpack_from(f"{self.order}H", v)[0] if len(v) >= 2 else 0 for v in values)
        frames = re.match(rb" *\+?(\d+)", self.told.get(_FRAMES, b""))
        return int(rows * columns * bits * (int(frames[1]) if frames else 1) // 8)
