"""Lobes that are segmented already: in a file of 3D Slicer, TotalSegmentator, lungmask or another program."""

import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from infnet.anatomy.recognition import LABEL_MAPS, label_table, recognise
from infnet.anatomy.regions import LOBES, ZONES, Region
from infnet.data.integrity import NIFTI_ENDINGS
from infnet.data.segmentations import label_segments, segment_names
from infnet.data.volumes import read_image
from infnet.errors import InputError

_LEAST_IN_THEIR_LUNG = 0.8  # of the voxels that a map of labels calls lobes; by chance it is about half
_NIFTI_HEADER, _LONGEST_TABLE = 348, 1 << 20  # bytes
_NIFTI_LABEL = re.compile(rb'<Label Key="(\d+)"[^>]*><!\[CDATA\[([^\]]*)\]\]>')


def read_lobes(path: Path, lungs: sitk.Image) -> sitk.Image:
    """The lobes in a segmentation file on the grid of ``lungs`` (1 right, 2 left), to the nearest voxel: uint8, 1 to 5.

    The segments of a .seg.nrrd are recognised by their codes and names, the labels of TotalSegmentator's NIfTI by
    the names in its header. Labels without names are read as those of the program, of `LABEL_MAPS`, by which most
    voxels, four fifths of them at least, lie in the lung that they belong to. Raises `InputNotFoundError`,
    `UnreadableImageError`, or `InputError` if no lobe is recognised or none lies in the lungs.
    """
    image = read_image(path)
    if image.GetDimension() != 3:
        raise InputError(f"{path}: an image of {image.GetDimension()} dimensions; lobes need a volume.")
    if segments := segment_names(image):
        image = label_segments(image, _lobe_label)
    elif image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"{path}: several values a voxel and no names of segments; give a label image.")
    voxels = sitk.GetArrayFromImage(sitk.Resample(image, lungs, sitk.Transform(), sitk.sitkNearestNeighbor))
    if segments:
        lobes = voxels
    elif named := _nifti_labels(path):
        lobes = np.zeros(voxels.shape, np.uint8)
        for label, region in named.items():
            if region in LOBES:
                lobes[voxels == label] = region.label
    else:
        lobes = _by_values(voxels, sitk.GetArrayViewFromImage(lungs), path)
    if not lobes.any():
        raise InputError(
            f"{path}: no lobe was recognised in it that lies in the CT. Its segments need SNOMED CT codes, names like "
            "“left upper lobe” or lung_upper_lobe_left, or the labels of lungmask or TotalSegmentator."
        )
    result = sitk.GetImageFromArray(lobes)
    result.CopyInformation(lungs)
    return result


def _lobe_label(name: str, terminology: str) -> int | None:
    region = recognise(name, terminology)
    return region.label if region in LOBES else None


def _nifti_labels(path: Path) -> Mapping[int, Region | None]:
    """What the labels of a NIfTI file are by the table that TotalSegmentator puts between its header and its voxels."""
    if not path.name.lower().endswith(NIFTI_ENDINGS):
        return {}
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        length = float(np.frombuffer(file.read(_NIFTI_HEADER)[108:112], np.float32)[0]) - _NIFTI_HEADER
        table = file.read(int(length)) if 0 < length < _LONGEST_TABLE else b""  # of a damaged header, it may be NaN
    return {int(label): recognise(name.decode("utf-8", "replace")) for label, name in _NIFTI_LABEL.findall(table)}


def _by_values(labels: NDArray[Any], lungs: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """Nameless labels as lobes, by the map of labels that puts most of their voxels into the lung they belong to."""
    values = np.where((lungs > 0) & (labels > 0), labels, 0).astype(np.uint16)
    best, lobes, are_zones = 0, np.zeros(lungs.shape, np.uint8), False
    for mask, regions in LABEL_MAPS:
        table, sides = label_table(regions, mask + 1), np.zeros(mask + 1, np.uint8)
        sides[list(regions)] = [region.lung for region in regions.values()]
        found = sides[values & mask]
        inside = found > 0
        number, in_their_lung = int(np.count_nonzero(inside)), int(np.count_nonzero(found[inside] == lungs[inside]))
        fit = 2 * in_their_lung - number
        if fit > best and in_their_lung >= _LEAST_IN_THEIR_LUNG * number:
            # The lobes reach as far as the file says, not only as far as the lung mask.
            best, lobes = fit, table[labels.astype(np.uint16) & mask]
            are_zones = ZONES[0] in regions.values()
    if are_zones:
        raise InputError(f"{path}: has six zones, the thirds of each lung's height, and not lobes.")
    return lobes
