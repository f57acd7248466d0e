"""CTs that were loaded from DICOM files by their names, and not by Slicer's DICOM module, which looks at positions."""

from pathlib import Path

import numpy as np
from slicer.i18n import tr as _

_SERIES, _POSITION, _ORIENTATION = "0020|000e", "0020|0032", "0020|0037"


def sliceOrderSteps(volumeNode):
    """Raises ValueError if slices of a volume's DICOM series are not in it, or not in their order.

    Slicer takes such files by their names, and loads them without a word, with a wrong distance of slices.

    A generator: each step reads the header of a file.
    """
    storage = volumeNode.GetStorageNode()
    if storage is None or storage.GetNumberOfFileNames() < 2 or volumeNode.GetAttribute("DICOM.instanceUIDs"):
        return
    count = storage.GetNumberOfFileNames()
    paths = [Path(storage.GetFullNameFromNthFileName(number)) for number in range(count)]
    first = _header(paths[0])
    if first is None:
        return
    series, _position, orientation = first
    normal = np.cross(orientation[:3], orientation[3:])
    heights = {}  # of the slices of the series, along their normal
    for path in paths[0].parent.iterdir():
        header = _header(path)
        if header and header[0] == series:
            heights[path] = header[1] @ normal
        yield
    if not set(paths) <= set(heights):
        return  # of several series or folders
    steps = np.diff([heights[path] for path in paths])
    if len(heights) > count or not (np.all(steps > 0) or np.all(steps < 0)):
        raise ValueError(
            _(
                "The slices of “{}” are not all there, or not in their order: it was loaded from DICOM files, but "
                "not by the DICOM module. Import the folder {} in the DICOM module, and load the CT from there."
            ).format(volumeNode.GetName(), paths[0].parent)
        )


def _header(path):
    """Series, position (3) and orientation (6) of a DICOM slice; None for a file that has them not."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        series, position, orientation = map(reader.GetMetaData, (_SERIES, _POSITION, _ORIENTATION))
        return series, _numbers(position, 3), _numbers(orientation, 6)
    except (RuntimeError, ValueError):
        return None


def _numbers(text, count):
    return np.array(text.split("\\"), float).reshape(count)
