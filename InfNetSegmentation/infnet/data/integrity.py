"""Damage to image files that ITK does not tell of: it reads on, and the voxels are wrong."""

import errno
import gzip
import math
import os
import re
import zlib
from pathlib import Path
from struct import unpack

import SimpleITK as sitk

from infnet.data.dicom_lengths import lengths_fit, starts_as_dicom
from infnet.data.itk_names import itk_name

NIFTI_ENDINGS = (".nii.gz", ".nii")
COMPLEX = (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)
_NRRD_ENDINGS, _METAIMAGE_ENDINGS = (".nrrd", ".nhdr"), (".mha", ".mhd")
_UNCOMPRESSED_ENDINGS = (".nii", ".gipl", ".mrc", ".vtk")
_NIFTI_START = 352  # the first byte that voxels can have, but for those of files without extension (NIfTI-1, 2003)
_LONGEST_HEADER = 1 << 20
_DEFLATED_MOST = 1032  # to 1: zlib's "Technical Details"
_COMPRESSED_MOST = 10_000  # by what other formats have
_DEFLATED = (b"gzip", b"gz")
_MOST_BYTES_OF_ONE = {  # by NRRD's encoding; a double can be one digit and a space
    **dict.fromkeys(_DEFLATED, _DEFLATED_MOST),
    **dict.fromkeys((b"raw", b"hex"), 1),
    **dict.fromkeys((b"text", b"txt", b"ascii"), 4),
}
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
    """What is wrong with a NIfTI, NRRD, MetaImage or DICOM file: voxels are missing, a checksum is wrong, ….

    Of another file, whether it can hold as many voxels as its header tells: ITK first allocates them. None where
    nothing is wrong, or where that cannot be told. Raises ITK's RuntimeError for what is no image.
    """
    name = path.name.lower()
    if starts_as_dicom(_start(path)):
        return None if lengths_fit(path) else "truncated or damaged: a length in its header is wrong"
    if name.endswith(_METAIMAGE_ENDINGS) and not _has_dimensions(path):
        return "damaged: its header has no number of dimensions"
    if _needed(path) > _room(path):
        return "truncated: its header tells of more voxels than it holds"
    if name.endswith(NIFTI_ENDINGS):
        return _nifti_damage(path)
    if name.endswith(_NRRD_ENDINGS + _METAIMAGE_ENDINGS):
        return _compressed_damage(path)
    return None


def inflates_to_its_voxels(path: Path) -> bool:
    """Whether a compressed NRRD or NIfTI file ends with the size that its header's voxels have (RFC 1952, ISIZE).

    It may be damaged all the same. Raises ITK's RuntimeError for what is no image.
    """
    if not path.name.lower().endswith((".nrrd", ".nii.gz")) or starts_as_dicom(_start(path)):
        return False
    with path.open("rb") as file:
        file.seek(-min(4, path.stat().st_size), os.SEEK_END)
        inflated: int = unpack("<I", file.read().ljust(4, b"\0"))[0]
    return _needed(path) <= min(inflated, _room(path))


def _needed(path: Path) -> int:
    """Bytes of the voxels that the header tells."""
    reader = _header(path)
    return _values(reader) * int(sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent())


def _room(path: Path) -> float:
    """Bytes of voxels that there can be at most in a file, and in those that its header names."""
    name = path.name.lower()
    if name.endswith(_NRRD_ENDINGS + _METAIMAGE_ENDINGS):
        stored = _stored_voxels(path)
        if stored is None:
            return math.inf
        encoding, file, _ = stored
        return file.stat().st_size * _MOST_BYTES_OF_ONE.get(encoding, _COMPRESSED_MOST)
    if name.endswith(_UNCOMPRESSED_ENDINGS):
        return path.stat().st_size * (_MOST_BYTES_OF_ONE[b"text"] if b"\nASCII" in _start(path)[:1024] else 1)
    if name.endswith(".nii.gz"):
        return path.stat().st_size * _DEFLATED_MOST
    # In some formats the voxels lie in another file of the same name (.hdr and .img).
    files = [file for file in path.parent.iterdir() if file.name.startswith(f"{path.stem}.") and file.is_file()]
    return sum(file.stat().st_size for file in {path, *files}) * _COMPRESSED_MOST


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
    stored = _stored_voxels(path)
    if stored is None or stored[0] not in _DEFLATED:
        return None
    there = _inflated_size(*stored[1:])
    if there is None:
        return "truncated or damaged: its checksum is wrong"
    return "truncated" if there < _needed(path) else None


def _header(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_name(path))
    reader.ReadImageInformation()
    return reader


def _values(reader: sitk.ImageFileReader) -> int:
    components = 1 if reader.GetPixelID() in COMPLEX else reader.GetNumberOfComponents()
    return math.prod(int(n) for n in (*reader.GetSize(), components))


def _stored_voxels(path: Path) -> tuple[bytes, Path, int] | None:
    """Of an NRRD or MetaImage file: how its voxels are encoded, in which file, and where in it they begin.

    None where they lie in several files, or where that cannot be told.
    """
    start = _start(path)
    if path.name.lower().endswith(_NRRD_ENDINGS):
        header = _NRRD_HEADER.match(start)
        text = header[0] if header else start
        found = re.search(rb"^encoding: *(\w+) *\r?$", text, re.MULTILINE | re.IGNORECASE)
        other = re.search(rb"^data ?file: *([^\r\n]*)", text, re.MULTILINE | re.IGNORECASE)
        encoding = found[1].lower() if found else b""
    else:
        header = other = _METAIMAGE_HEADER.match(start)
        told = re.findall(rb"^(CompressedData|BinaryData) *= *True", header[0] if header else b"", re.M | re.I)
        flags = {flag.lower() for flag in told}
        encoding = b"gzip" if b"compresseddata" in flags else b"raw" if b"binarydata" in flags else b"text"
        if header and header[1].strip() == b"LOCAL":
            other = None
    if other is None:
        return (encoding, path, header.end()) if header else None
    apart = path.parent / other[1].strip().decode(errors="surrogateescape")
    return (encoding, apart, 0) if apart.is_file() else None  # not a list or a pattern of files


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
