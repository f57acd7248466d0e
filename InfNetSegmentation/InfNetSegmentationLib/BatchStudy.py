"""A case of a batch, from its study on disk into the scene."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import slicer

from InfNetSegmentationLib.BatchCases import markVolume, showsCT
from InfNetSegmentationLib.ResultImport import importResult
from InfNetSegmentationLib.Scene import newNodesRemovedOnError
from InfNetSegmentationLib.SegmentationResult import segmentationOf, storedResult


def loadCase(case):
    """Load CT and result of a finished `BatchCase`. Returns the SegmentationResult.

    What is in the scene already is used: the CT, and the result of this very run, with what was corrected since.
    Raises InfNetError (of infnet) or RuntimeError where a file is gone or damaged.
    """
    from infnet.quantification.study import SEGMENTATION

    folder = case.study.folder
    with newNodesRemovedOnError():
        volumeNode = _inScene(case.ct) or _load(case)
        segmentationNode = segmentationOf(volumeNode)
        present = storedResult(segmentationNode)
        # No two runs take the same milliseconds; what is labelled or measured anew keeps those of its run.
        if present is not None and present.seconds == case.study.seconds:
            return present
        return importResult(asdict(case.study), folder / SEGMENTATION, folder, volumeNode, segmentationNode)


def _inScene(ct):
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if showsCT(node, ct):
            return node
    return None


def _load(case):
    """The CT as the backend reads it, so that a folder's slices are in the same order as its result's."""
    if case.ct.is_file():
        node = slicer.util.loadVolume(str(case.ct), {"name": case.name})
    else:
        from infnet.data.volumes import read_ct, write_image

        image, _warnings = read_ct(case.ct, trust_hu=True)  # whoever made the study did
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ct.nrrd"
            write_image(image, path)
            node = slicer.util.loadVolume(str(path), {"name": case.name})
            slicer.mrmlScene.RemoveNode(node.GetStorageNode())  # the file is gone: the scene saves the voxels itself
    markVolume(node, case.ct)
    return node
