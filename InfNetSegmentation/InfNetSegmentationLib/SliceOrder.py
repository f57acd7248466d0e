"""CTs that were loaded from DICOM files by their names, and not by Slicer's DICOM module, which looks at positions."""

from pathlib import Path

from slicer.i18n import tr as _


def checkSliceOrder(volumeNode):
    """Raises ValueError if slices of a volume's DICOM series are not in it, or not in their order.

    Slicer takes such files by their names, and loads them without a word, with a wrong distance of slices.
    """
    import SimpleITK as sitk

    storage = volumeNode.GetStorageNode()
    if storage is None or storage.GetNumberOfFileNames() < 2 or volumeNode.GetAttribute("DICOM.instanceUIDs"):
        return
    count = storage.GetNumberOfFileNames()
    paths = [Path(storage.GetFullNameFromNthFileName(number)) for number in range(count)]
    folder = str(paths[0].parent)
    for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(folder):
        ordered = [Path(path) for path in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder, uid)]
        if set(paths) <= set(ordered) and paths not in (ordered, ordered[::-1]):
            raise ValueError(
                _(
                    "The slices of “{}” are not all there, or not in their order: it was loaded from DICOM files, but "
                    "not by the DICOM module. Import the folder {} in the DICOM module, and load the CT from there."
                ).format(volumeNode.GetName(), folder)
            )
