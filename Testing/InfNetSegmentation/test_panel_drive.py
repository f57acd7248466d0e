"""The panel as a person uses it, on a real CT with the shipped models; and what a lack of memory looks like to them."""

import csv
import logging
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from slicerhost.sampledata import downloadChestCT


@pytest.fixture(scope="session")
def realCT(tmp_path_factory):
    """lung2 of pyradiomics, a patient's CT, at a quarter of its resolution so that the test is quick."""
    try:
        source = downloadChestCT()
    except RuntimeError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("ct") / "lung2.nrrd"
    sitk.WriteImage(sitk.BinShrink(sitk.ReadImage(source), (4, 4, 4)), path)
    return path


def answerDialog(monkeypatch, path):
    import qt

    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", staticmethod(lambda *arguments: str(path)))


def test_from_an_empty_scene_to_a_table_and_a_segmentation_on_disk(module, host, realCT, tmp_path, monkeypatch):
    """Load, Apply, look, save; then the files are read by another program, and the scene by another session."""
    panel = host.openModule(module)
    panel.parent.show()
    assert not panel.ui.applyButton.enabled, "nothing to segment"
    volumeNode = slicer.util.loadVolume(str(realCT))
    panel.enter()
    assert panel.ui.inputVolumeSelector.currentNode() is volumeNode
    panel.ui.deviceSelector.currentIndex = panel.ui.deviceSelector.count - 1
    stages = set()
    panel.ui.applyButton.click()
    while panel.logic.running:
        host.waitUntil(lambda: panel.ui.stageLabel.text not in stages or not panel.logic.running, seconds=300)
        stages.add(panel.ui.stageLabel.text)
    assert {text.partition(",")[0] for text in stages} >= {"Finding the lungs", "Finding the infection"}
    assert panel.ui.errorLabel.text == "" and panel.ui.resultsSection.visible
    assert "of the lungs infected" in panel.ui.summaryLabel.text
    answerDialog(monkeypatch, tmp_path / "lung2.csv")
    panel.ui.saveTableButton.click()
    segmentationNode = panel.ui.outputSegmentationSelector.currentNode()
    assert slicer.util.saveNode(segmentationNode, str(tmp_path / "lung2.seg.nrrd"))

    saved = sitk.ReadImage(tmp_path / "lung2.seg.nrrd")
    ct = sitk.ReadImage(realCT)
    voxelMl = np.prod(ct.GetSpacing()) / 1000
    with (tmp_path / "lung2.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["Case"] for row in rows} == {"lung2"}
    total = rows[-1]
    labels = sitk.GetArrayFromImage(saved)
    for value, finding in ((1, "Ground-glass opacity"), (2, "Consolidation")):
        assert np.count_nonzero(labels == value) * voxelMl == pytest.approx(float(total[f"{finding} (mL)"]), abs=0.01)
    assert 2000 < float(total["Volume (mL)"]) < 7000, "an adult's lungs"
    assert np.count_nonzero(labels) > 0, "the lesion of the left lower lobe"

    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"), {})
    summary = panel.ui.summaryLabel.text
    host.clearScene()
    assert not panel.ui.resultsSection.visible
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {})
    assert panel.ui.resultsSection.visible and panel.ui.summaryLabel.text == summary
    host.closeModule(panel)


def test_a_lack_of_memory_is_told_with_its_remedy(module, host, fakeBackend, addCT, monkeypatch, caplog):
    """A backend that is told to fail so; that it halves its batches first is tested in test_predictor.py."""
    logicClass = partial(module.InfNetSegmentationLogic, fakeBackend("out-of-memory"))
    monkeypatch.setattr(module.InfNetSegmentationWidget, "logicClass", logicClass)
    addCT()
    panel = host.openModule(module)
    numberOfNodes = slicer.mrmlScene.GetNumberOfNodes()
    with caplog.at_level(logging.ERROR):
        panel.ui.applyButton.click()
        host.waitUntil(lambda: not panel.logic.running)
    cause, remedy = panel.ui.errorLabel.text.split("\n\n")
    assert cause == "There is not enough memory for one slice; close other programs."
    assert "Processor (CPU)" in remedy and "Close other programs" in remedy
    assert cause in caplog.text, "the message box"
    assert panel.ui.applyButton.text == "Apply" and panel.ui.applyButton.enabled
    assert slicer.mrmlScene.GetNumberOfNodes() == numberOfNodes
    host.closeModule(panel)
