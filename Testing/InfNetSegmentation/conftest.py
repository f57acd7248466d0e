"""What the tests of InfNetSegmentation share."""

import shutil
from pathlib import Path

import numpy as np
import pytest

MODULE = Path(__file__).parents[2] / "InfNetSegmentation/InfNetSegmentation.py"


@pytest.fixture
def module(host):
    return host.loadModule(MODULE)


@pytest.fixture
def addCT(host):
    """Adds a CT of random Hounsfield units to the scene: no symmetry, so that every mix-up shows."""

    def add(direction=np.diag([-1.0, -1.0, 1.0]), name="CT"):  # noqa: B008 (an array that nobody changes)
        import slicer

        values = np.random.default_rng(1).integers(-1000, 300, (7, 9, 11)).astype(np.int16)
        ijkToRAS = np.eye(4)
        ijkToRAS[:3, :3] = direction * [0.7, 0.8, 2.5]  # columns: image axes in RAS times spacing
        ijkToRAS[:3, 3] = [12.5, -30.25, 7.0]
        return slicer.util.addVolumeFromArray(values, ijkToRAS, name)

    return add


@pytest.fixture
def labelsOf(module):
    """The labels 0, 1, 2 that the two segments hold on the CT's grid; they must not overlap."""

    def labels(segmentationNode, volumeNode):
        import slicer
        from InfNetSegmentationLib.Scene import FINDINGS

        opacity, consolidation = (
            slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode)
            for segmentID, _name in FINDINGS
        )
        assert not np.any(opacity & consolidation)
        return opacity + 2 * consolidation

    return labels


@pytest.fixture
def fakeLabels():
    """The labels that the fake backend gives a CT."""

    def labels(volumeNode):
        import slicer

        values = slicer.util.arrayFromVolume(volumeNode)
        return (values >= 100).astype(np.uint8) + (values >= 200)

    return labels


@pytest.fixture
def makeResult(module, tmp_path):
    """The result of a run of the fake backend, without starting its process."""
    from slicerhost import fakebackend

    def make(volumeNode, segmentationNode=None, *arguments):
        from InfNetSegmentationLib.ResultImport import importResult
        from slicerhost.scene import writeVolume

        ctPath, labelsPath, studyFolder = tmp_path / "ct.nrrd", tmp_path / "findings.nrrd", tmp_path / "study"
        shutil.rmtree(studyFolder, ignore_errors=True)
        writeVolume(volumeNode, ctPath)
        options = ["success", "segment", ctPath, "-o", labelsPath, "--study", studyFolder, *arguments]
        payload = fakebackend.segmented(fakebackend.parse([str(option) for option in options]))
        return importResult(payload, labelsPath, studyFolder, volumeNode, segmentationNode)

    return make
