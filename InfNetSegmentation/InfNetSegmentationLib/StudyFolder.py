"""A result of the scene as the backend's study on disk, from which reports and DICOM files are made."""

from datetime import datetime
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.Images import labelsOf, whyNoVoxels
from InfNetSegmentationLib.Measurement import measureAgain
from InfNetSegmentationLib.Regions import regionsOf
from InfNetSegmentationLib.Scene import FINDING_IDS
from InfNetSegmentationLib.VolumeFiles import arraySteps, volumeSteps


def studySteps(result, folder, case=None, withProbability=False):
    """Write the result as it is in the scene, corrections included, which are measured before: a generator that returns
    the study's folder and the CT's file.

    case - its name; None: the CT's
    Date and patient are those of the CT's DICOM study in the subject hierarchy, if it is in one.

    Raises ValueError where the lungs are no longer in the scene.
    """
    from infnet.anatomy.regions import LUNGS
    from infnet.quantification.study import INFECTION, LOBES, SEGMENTATION, Study, write_result
    from infnet.quantification.study import LUNGS as LUNGS_FILE

    problem = whyNoStudy(result)
    if problem:
        raise ValueError(problem)
    if result.isEdited:
        result = measureAgain(result)
    volumeNode = result.volumeNode
    ctPath, studyFolder = Path(folder) / "ct.nrrd", Path(folder) / "study"
    studyFolder.mkdir()
    parts = regionsOf(result.lobeSource)
    study = Study(
        case=case or volumeNode.GetName(),
        ct=ctPath,
        table=result.table,
        severity=result.severity,
        sources={
            key: result.provenance[key] for key in ("lungs", "lobes", "lobes_approximate") if key in result.provenance
        },
        provenance=result.provenance,
        warnings=result.warnings,
        seconds=result.seconds,
        date=studyDate(volumeNode),
        patient=patientID(volumeNode),
        folder=studyFolder,
    )
    images = [
        (SEGMENTATION, result.segmentationNode, FINDING_IDS),
        (LUNGS_FILE, result.regionsNode, [lung.segment_id for lung in LUNGS]),
    ]
    if parts:
        images.append((LOBES, result.regionsNode, [part.segment_id for part in parts]))
    yield from volumeSteps(volumeNode, ctPath)  # after the look at the scene, which may be closed meanwhile
    for name, node, segmentIDs in images:
        labels = labelsOf(node, segmentIDs, volumeNode)
        yield
        yield from arraySteps(labels, volumeNode, studyFolder / name)
    if withProbability and result.probabilityNode:
        probability = slicer.util.arrayFromVolume(result.probabilityNode)
        yield from arraySteps(probability, volumeNode, studyFolder / INFECTION)
    write_result(study, studyFolder)
    return studyFolder, ctPath


def whyNoStudy(result):
    """Why a result cannot be written, and what helps (a sentence), or None."""
    if result.regionsNode is None:
        return _("The lungs of this result were deleted; press Apply to make them again.")
    return whyNoVoxels(result.volumeNode)


def whyNoSeries(volumeNode):
    """Why a CT cannot have DICOM files, and what helps (a sentence), or None."""
    if _instances(volumeNode):
        return None
    return _(
        "“{}” was not loaded from DICOM, so there is no patient and no study that DICOM files could belong to. "
        "Load the CT with the DICOM module, press Apply, and export again; or save the segmentation as a file."
    ).format(volumeNode.GetName())


def _instances(volumeNode):
    return (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()


def studyDate(volumeNode):
    """Day of the CT's DICOM study, YYYY-MM-DD; None where it is not known."""
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    text = _ofAncestor(volumeNode, constants.GetDICOMStudyDateAttributeName(), constants.GetDICOMLevelStudy())
    try:
        return str(datetime.strptime(text, "%Y%m%d").date())
    except ValueError:
        return None


def patientID(volumeNode):
    """The CT's patient, as DICOM names him; None where that is not known."""
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    return _ofAncestor(volumeNode, constants.GetDICOMPatientIDAttributeName(), constants.GetDICOMLevelPatient()) or None


def _ofAncestor(volumeNode, name, level):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetAttributeFromItemAncestor(hierarchy.GetItemByDataNode(volumeNode), name, level)


def seriesSteps(volumeNode, folder):
    """Copy the DICOM slices that a CT was loaded from into ``folder``, alone: a generator that returns the folder.

    Raises ValueError for a CT that was not loaded from Slicer's DICOM database, or whose files are gone.
    """
    import shutil

    problem = whyNoSeries(volumeNode)
    if problem:
        raise ValueError(problem)
    database = getattr(slicer, "dicomDatabase", None)
    paths = [database.fileForInstance(uid) if database else "" for uid in _instances(volumeNode)]
    if not all(path and Path(path).is_file() for path in paths):
        raise ValueError(
            _(
                "DICOM files of “{}” are no longer in Slicer's DICOM database. Import them again in the DICOM module."
            ).format(volumeNode.GetName())
        )
    folder = Path(folder)
    folder.mkdir()
    for number, path in enumerate(paths):
        shutil.copyfile(path, folder / f"{number:05}.dcm")
        yield
    return folder
