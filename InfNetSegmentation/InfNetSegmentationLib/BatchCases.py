"""The CTs of a batch, as the list that the backend reads; it lies in the results' folder, so that a batch can go on."""

import csv
import re
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.Scene import shortFileName
from InfNetSegmentationLib.SliceOrder import sliceOrderSteps
from InfNetSegmentationLib.VolumeFiles import sameSteps, volumeSteps

CASE_LIST = "cases.csv"
_FILE_ATTRIBUTE = "InfNet.BatchCT"  # of a volume node: the path under which a batch knows it
_WRITTEN_ATTRIBUTE = "InfNet.BatchCTWritten"  # and when that was last written, in ns
_SCENE_FOLDER = "scene-cts"


def caseListSteps(cts, folder):
    """Write the list of cases into the results' folder. A generator that returns the list's path.

    cts - the path of a folder (the CTs in it, and DICOM series at any depth) or of a list (docs/cohorts.md), or
        volume nodes, whose voxels are written into the results' folder, in the volumes' own coordinates

    Raises InputError (of infnet) where there is no CT, ValueError where there is none in the scene.
    """
    from infnet.inference.cohort import read_cases

    folder = Path(folder)
    columns = ["ct", "case"]
    if isinstance(cts, str | Path):
        cases = read_cases(Path(cts).absolute())
        columns += [
            name for name in ("date", "patient", "lungs", "lobes") if any(getattr(case, name) for case in cases)
        ]
        rows = [[case.ct, case.name, *(getattr(case, name) for name in columns[2:])] for case in cases]
        folder.mkdir(parents=True, exist_ok=True)
    else:
        rows = yield from _volumesSteps(cts, folder)
    with (folder / CASE_LIST).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return folder / CASE_LIST


def markVolume(volumeNode, ct):
    """Note that a volume, and no other any more, shows what is at a path now."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.GetAttribute(_FILE_ATTRIBUTE) == str(ct):
            node.RemoveAttribute(_FILE_ATTRIBUTE)
    volumeNode.SetAttribute(_FILE_ATTRIBUTE, str(ct))
    volumeNode.SetAttribute(_WRITTEN_ATTRIBUTE, _lastWritten(ct))


def showsCT(volumeNode, ct):
    """Whether a volume shows what is at a path now or, if there is nothing any more, what was there."""
    if volumeNode.GetAttribute(_FILE_ATTRIBUTE) != str(ct):
        return False
    return _lastWritten(ct) in ("", volumeNode.GetAttribute(_WRITTEN_ATTRIBUTE))


def _lastWritten(ct):
    """When a file, or the newest in a folder, was last written, in ns; "" where there is none."""
    files = ct.iterdir() if ct.is_dir() else [ct]
    return str(max((path.stat().st_mtime_ns for path in files if path.is_file()), default=""))


def _volumesSteps(volumeNodes, folder):
    """Write each volume; a generator that returns the list's rows: the file, and the case's name.

    A file that holds a volume's voxels already stays as it is: of one with a new date the backend would make the study
    again.
    """
    if not volumeNodes:
        raise ValueError(_("There is no CT in the scene: load one, or choose a folder."))
    target = folder / _SCENE_FOLDER
    target.mkdir(parents=True, exist_ok=True)
    rows, taken, takenFiles = [], set(), set()
    for node in volumeNodes:
        yield from sliceOrderSteps(node)
        name = _unusedName(node.GetName(), taken)
        # On Windows ITK opens no file whose name has other letters.
        plain = name.encode("ascii", "backslashreplace").decode().replace("\\", "_")
        path = target / f"{_unusedName(plain, takenFiles)}.nrrd"
        if not (yield from sameSteps(node, path)):
            newPath = path.with_name(f".new-{path.name}")
            try:
                yield from volumeSteps(node, newPath)
                newPath.replace(path)
            finally:
                newPath.unlink(missing_ok=True)
        markVolume(node, path)
        rows.append([path.relative_to(folder), name])
    return rows


def _unusedName(name, taken):
    """A name for a folder or a file, on any system, that no other case has."""
    base = shortFileName(re.sub(r'[/\\:*?"<>|]', "_", name)).strip(". ") or "CT"
    candidates = [base, *(f"{base} ({number})" for number in range(2, len(taken) + 3))]
    chosen = next(candidate for candidate in candidates if candidate.casefold() not in taken)
    taken.add(chosen.casefold())
    return chosen
