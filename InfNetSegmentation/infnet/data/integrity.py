"""Damage to image files that ITK does not tell of: it reads on, and the voxels are wrong."""

import errno
import gzip
import math
import os
import re
import zlib
from pathlib import Path

import SimpleITK as sitk

from infnet.data.itk_names import itk_name

NIFTI_ENDINGS = (".nii.gz", ".nii")
_NRRD_ENDINGS, _METAIMAGE_ENDINGS = (".nrrd", ".nhdr"), (".mha", ".mhd")
_NIFTI_START = 352  # the first byte that voxels can have, but for those of files without extension (NIfTI-1, 2003)
_LONGEST_HEADER = 1 << 20
_BLOCK = 1 << 20
_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32
_GZIP_MARK = b"\x1f"
_NRRD_HEADER = re.compile(rb"NRRD.*?\r?\n\r?\n", re.DOTALL)
_METAIMAGE_HEADER = re.compile(rb".*?^ElementDataFile *= *([^\r\n]*)\r?\n", re.DOTALL | re.MULTILINE)


def write_checked(image: sitk.Image, path: Path) -> None:
    """Write an image, compressed. Raises OSError where not all of it could be written, which ITK does not tell of."""
    sitk.WriteImage(image, itk_name(path), useCompression=True)
    try:
        is_whole = damage(path) is None
    except RuntimeError:  # not even its header
        is_whole = False
    if not is_whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def damage(path: Path) -> str | None:
    """What is wrong with a NIfTI, NRRD or MetaImage file: voxels are missing, a checksum is wrong, ….

    None where nothing is, or where that cannot be told. Raises ITK's RuntimeError for what is no such file.
    """
    name = path.name.lower()
    if name.endswith(NIFTI_ENDINGS):
        return _nifti_damage(path)
    if name.endswith(_METAIMAGE_ENDINGS) and not _has_dimensions(path):
        return "damaged: its header has no number of dimensions"
    if name.endswith(_NRRD_ENDINGS + _METAIMAGE_ENDINGS):
        return _compressed_damage(path)
    return None


def _nifti_damage(path: Path) -> str | None:
    reader = _header(path)
    start = float(reader.GetMetaData("vox_offset"))
    size = start + _values(reader) * int(reader.GetMetaData("bitpix")) / 8
    if path.name.lower().endswith(".gz"):
        try:
            with gzip.open(path) as file:
                there = sum(len(block) for block in iter(lambda: file.read(_BLOCK), b""))
        except (EOFError, zlib.error):
            return "truncated or damaged"
    else:
        there = path.stat().st_size
    if there < size:
        return "truncated"
    # Where a header tells of no possible start, ITK reads on from the header's end.
    return "damaged: its header does not tell where its voxels start" if start < _NIFTI_START and there > size else None


def _has_dimensions(path: Path) -> bool:
    """Whether a MetaImage has; of any other number, ITK ends the process."""
    header, _, _ = _start(path).partition(b"ElementDataFile")
    found = re.findall(rb"NDims\s*[=:]\s*(\S*)", header)
    return len(found) == 1 and found[0] in (b"1", b"2", b"3", b"4", b"5")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LONGEST_HEADER)


def _compressed_damage(path: Path) -> str | None:
    reader = _header(path)
    voxels = _compressed_voxels(path)
    if voxels is None:
        return None
    component = sitk.Image([1, 1], reader.GetPixelID(), reader.GetNumberOfComponents()).GetSizeOfPixelComponent()
    there = _inflated_size(*voxels)
    if there is None:
        return "truncated or damaged: its checksum is wrong"
    return "truncated" if there < _values(reader) * component else None


def _header(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_name(path))
    reader.ReadImageInformation()
    return reader


def _values(reader: sitk.ImageFileReader) -> int:
    return math.prod(int(n) for n in (*reader.GetSize(), reader.GetNumberOfComponents()))


def _compressed_voxels(path: Path) -> tuple[Path, int] | None:
    """The file of the deflated voxels and where in it they begin; None where they are not deflated."""
    start = _start(path)
    if path.name.lower().endswith(_NRRD_ENDINGS):
        header = _NRRD_HEADER.match(start)
        text = header[0] if header else start
        if not re.search(rb"^encoding: *gz(ip)? *\r?$", text, re.MULTILINE | re.IGNORECASE):
            return None
        other = re.search(rb"^data ?file: *([^\r\n]*)", text, re.MULTILINE | re.IGNORECASE)
    else:
        header = other = _METAIMAGE_HEADER.match(start)
        if not (header and re.search(rb"^CompressedData *= *True", header[0], re.MULTILINE | re.IGNORECASE)):
            return None
        if header[1].strip() == b"LOCAL":
            other = None
    if other is None:
        return (path, header.end()) if header else None
    apart = path.parent / other[1].strip().decode(errors="surrogateescape")
    return (apart, 0) if apart.is_file() else None  # not a list or a pattern of files


def _inflated_size(path: Path, offset: int) -> int | None:
    """Bytes of a zlib or gzip stream that begins at ``offset``, or of several gzip streams in a row.

    None where one ends early or its checksum is wrong.
    """
    inflate = zlib.decompressobj(_ZLIB_OR_GZIP)
    size = 0
    with path.open("rb") as file:
        file.seek(offset)
        try:
            while block := inflate.unconsumed_tail or inflate.unused_data or file.read(_BLOCK):
                if inflate.eof:
                    if not block.startswith(_GZIP_MARK):
                        break
                    inflate = zlib.decompressobj(_ZLIB_OR_GZIP)
                size += len(inflate.decompress(block, _BLOCK))
        except zlib.error:
            return None
    return size if inflate.eof else None
