"""Many CTs from the panel: the real command line with thresholds in place of the networks (batchbackend.py)."""

import csv
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer

REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, str(REPOSITORY / "Testing/slicerhost/batchbackend.py")]


@pytest.fixture
def writeDicom(monkeypatch):
    """Writes an image as a DICOM series, as the backend's tests do."""
    monkeypatch.syspath_prepend(REPOSITORY / "Testing/infnet")
    import phantoms

    return phantoms.write_dicom_series


@pytest.fixture
def ct():
    """No symmetry, so that every mix-up shows."""
    values = np.random.default_rng(1).integers(-1000, 300, (7, 9, 11)).astype(np.int16)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 0.8, 2.5))
    return image


@pytest.fixture
def logic(module):
    return module.InfNetSegmentationLogic(COMMAND)


@pytest.fixture
def openPanel(host, module, monkeypatch):
    opened = []

    def openIt():
        monkeypatch.setattr(
            module.InfNetSegmentationWidget, "logicClass", partial(module.InfNetSegmentationLogic, COMMAND)
        )
        panel = host.openModule(module)
        panel.parent.show()
        panel.ui.batchSection.collapsed = False
        opened.append(panel)
        return panel

    yield openIt
    for panel in opened:
        host.closeModule(panel)


def shown(panel):
    """The table's rows: name and remarks, and whether there are numbers."""
    table = panel.ui.batchTable
    rows = ([table.item(row, column).text() for column in range(5)] for row in range(table.rowCount))
    return [(name, bool(ml), remarks) for name, ml, _share, _score, remarks in rows]


def rowsOf(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_from_the_first_click_over_a_stop_to_a_case_in_the_scene(openPanel, host, ct, writeDicom, tmp_path):
    """Files and a DICOM study, one of them no CT; stopped after the first case, gone on with in another session."""
    folder = tmp_path / "cts"
    folder.mkdir()
    sitk.WriteImage(ct, folder / "anna.nrrd")
    (folder / "broken.nrrd").write_text("no image", encoding="utf-8")
    (folder / "otto").mkdir()
    writeDicom(ct, folder / "otto/CT 1")
    sitk.WriteImage(ct, folder / "slow.nrrd")
    names = ["anna", "broken", "otto_CT 1", "slow"]
    panel = openPanel()
    assert not panel.ui.batchButton.enabled and "folder of the CTs" in panel.ui.batchButton.toolTip
    panel.ui.batchInputLine.currentPath = str(folder)
    panel.ui.batchOutputLine.currentPath = str(tmp_path / "elsewhere")
    panel.ui.batchOutputLine.currentPath = ""  # emptied again
    results = folder / "InfNet-results"
    assert not panel.ui.batchNoteLabel.visible
    panel.ui.regionOfInterestSelector.addNode()
    assert panel.ui.batchNoteLabel.visible, "that a batch does not use it"
    panel.ui.batchButton.click()
    assert panel.ui.batchButton.text == "Stop" and panel.ui.applyButton.text == "Cancel"
    assert not panel.ui.batchInputsWidget.enabled and panel.ui.batchProgressBar.visible
    assert shown(panel) == [(name, False, "to be done") for name in names]
    host.waitUntil(lambda: panel.ui.stageLabel.text == "Finding the infection")
    assert [numbers for _name, numbers, _remarks in shown(panel)] == [True, False, True, False]
    assert "broken.nrrd" in shown(panel)[1][2], "the cause is told at once"
    assert (panel.ui.batchProgressBar.value, panel.ui.batchProgressBar.maximum) == (3, 4)
    panel.ui.batchButton.click()
    assert not panel.ui.applyButton.enabled
    host.waitUntil(lambda: not panel.logic.running)
    assert panel.ui.batchButton.text == "Segment all" and panel.ui.batchButton.enabled
    assert not panel.ui.errorLabel.visible, "to stop is no error"
    assert [row["infection_ml"] != "" for row in rowsOf(results / "summary.csv")] == [True, False, True, False]
    assert {row["case"] for row in rowsOf(results / "cohort.csv")} == {"anna", "otto_CT 1"}
    made = (results / "anna/result.json").stat().st_mtime_ns

    host.clearScene()
    assert panel.ui.batchInputLine.currentPath == "" and not panel.ui.batchTable.visible
    panel.ui.batchInputLine.currentPath = str(folder)
    assert shown(panel)[0][1], "the folder's results are there again"
    (folder / "go").touch()
    panel.ui.batchButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert (results / "anna/result.json").stat().st_mtime_ns == made, "what is done is not done again"
    assert [(name, numbers) for name, numbers, _remarks in shown(panel)] == [*zip(names, (1, 0, 1, 1), strict=True)]
    assert panel.ui.batchLabel.text == "3 of 4 cases finished, 1 failed"
    summary = rowsOf(results / "summary.csv")
    assert [row["case"] for row in summary] == names
    assert "broken.nrrd" in summary[1]["failure"] and not summary[1]["infection_ml"]
    cohort = [row for row in rowsOf(results / "cohort.csv") if row["region"] == "total"]
    assert [row["case"] for row in cohort] == ["anna", "otto_CT 1", "slow"]
    assert float(summary[2]["infection_ml"]) == pytest.approx(float(cohort[1]["infection_ml"]), abs=1e-3)

    panel.ui.batchTable.selectRow(1)
    assert not panel.ui.batchLoadButton.enabled, "there is nothing to load"
    panel.ui.batchTable.selectRow(2)
    panel.ui.batchLoadButton.click()
    numberOfNodes = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.batchTable.cellDoubleClicked.emit(2, 0)
    assert slicer.mrmlScene.GetNumberOfNodes() == numberOfNodes, "loaded twice, it is in the scene once"
    assert panel.ui.resultsSection.text == "Results of otto_CT 1"
    result = panel.logic.result(panel.ui.outputSegmentationSelector.currentNode())
    labels = sitk.GetArrayFromImage(sitk.ReadImage(results / "otto_CT 1/segmentation.seg.nrrd"))
    opacity = slicer.util.arrayFromSegmentBinaryLabelmap(
        result.segmentationNode, "GroundGlassOpacity", result.volumeNode
    )
    np.testing.assert_array_equal(opacity, labels == 1)
    assert opacity.any()
    values = slicer.util.arrayFromVolume(panel.ui.inputVolumeSelector.currentNode())
    np.testing.assert_array_equal(values, sitk.GetArrayFromImage(ct).clip(-1024))
    assert result.volumeNode.GetDisplayNode().GetLevel() == -600, "in a lung window, as after Apply"

    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.zeros_like(opacity), result.segmentationNode, "GroundGlassOpacity", result.volumeNode
    )
    assert panel.ui.editedLabel.visible
    panel.ui.batchLoadButton.click()
    assert panel.ui.editedLabel.visible
    assert not slicer.util.arrayFromSegmentBinaryLabelmap(
        result.segmentationNode, "GroundGlassOpacity", result.volumeNode
    ).any(), "what was corrected is not loaded over"


def test_a_batch_takes_the_settings_of_the_panel(openPanel, host, ct, tmp_path):
    sitk.WriteImage(ct, tmp_path / "anna.nrrd")
    panel = openPanel()
    panel.ui.batchInputLine.currentPath = str(tmp_path)
    panel.ui.smoothingBox.value = 1.5
    panel.ui.minimumLesionSlider.value = 0.2
    panel.ui.thresholdSlider.value = 0.4
    panel.ui.batchButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    inputs = json.loads((tmp_path / "InfNet-results/anna/result.json").read_text(encoding="utf-8"))["inputs"]
    assert (inputs["smoothing_mm"], inputs["minimum_lesion_ml"], inputs["threshold"]) == (1.5, 0.2, 0.4)


def test_the_cts_of_the_scene(logic, host, ct, tmp_path):
    """Two of one name, under a transform; from Python, and again: unchanged voxels are not segmented twice."""
    path = tmp_path / "ct.nrrd"
    sitk.WriteImage(ct, path)
    nodes = [slicer.util.loadVolume(str(path), {"name": "a/b"}) for _time in range(2)]
    nodes[1].SetName("a/b")
    transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    slicer.util.updateTransformMatrixFromArray(transformNode, np.diag([1, 1, 2, 1]))
    nodes[1].SetAndObserveTransformNodeID(transformNode.GetID())
    from InfNetSegmentationLib.BatchStudy import loadCase
    from InfNetSegmentationLib.Parameters import Settings
    from InfNetSegmentationLib.SceneCTs import sceneCTs

    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "whose file is gone")
    assert sceneCTs() == nodes
    settings = Settings()
    first = logic.processBatch(sceneCTs(), tmp_path / "out", settings)
    assert [(case.name, case.failure) for case in first] == [("a_b", ""), ("a_b (2)", "")]
    assert first[0].total == first[1].total
    result = loadCase(first[1])
    assert result.volumeNode is nodes[1]
    loadCase(first[0])
    assert result.segmentationNode.GetTransformNodeID() == transformNode.GetID()
    slicer.util.arrayFromVolume(nodes[0])[:] -= 40
    files = [tmp_path / "out" / case.name / "result.json" for case in first]
    made = [path.stat().st_mtime_ns for path in files]
    messages = []
    second = logic.processBatch(sceneCTs(), tmp_path / "out", settings, logCallback=messages.append)
    assert [path.stat().st_mtime_ns != time for path, time in zip(files, made, strict=True)] == [True, False]
    assert "2 cases, 1 of them finished already." in messages
    assert loadCase(second[0]).table == second[0].study.table != first[0].study.table, "the new run's result is loaded"
    with pytest.raises(ValueError, match="no CT in the scene"):
        logic.processBatch([], tmp_path / "out", settings)


def test_a_ct_whose_file_was_replaced_is_loaded_anew(logic, host, ct, tmp_path):
    from InfNetSegmentationLib.BatchStudy import loadCase

    path = tmp_path / "cts/anna.nrrd"
    path.parent.mkdir()
    sitk.WriteImage(ct, path)
    (case,) = logic.processBatch(path.parent, tmp_path / "out")
    first = loadCase(case)
    assert loadCase(case).volumeNode is first.volumeNode
    sitk.WriteImage(ct - 40, path)
    (case,) = logic.processBatch(path.parent, tmp_path / "out")
    second = loadCase(case)
    assert second.volumeNode is not first.volumeNode and second.table != first.table
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(second.volumeNode), sitk.GetArrayFromImage(ct - 40))
    path.unlink()
    assert loadCase(case).volumeNode is second.volumeNode, "what is in the scene is still there"


def test_names_may_be_longer_than_those_of_folders(logic, host, ct, tmp_path):
    path = tmp_path / "ct.nrrd"
    sitk.WriteImage(ct, path)
    nodes = [slicer.util.loadVolume(str(path), {"name": 60 * "Лёгкие" + end}) for end in ("1", "2")]
    cases = logic.processBatch(nodes, tmp_path / "out")
    assert [case.failure for case in cases] == ["", ""] and cases[0].study and cases[1].study
    assert cases[1].name == f"{cases[0].name} (2)"


def test_cts_of_the_scene_have_files_that_itk_opens_on_windows(logic, host, ct, tmp_path):
    """Whatever letters their names have, and whether the plain one is another's already."""
    from InfNetSegmentationLib.BatchStudy import loadCase

    sitk.WriteImage(ct, tmp_path / "ct.nrrd")
    names = ["Müller 1", "M_xfcller 1", "王"]
    nodes = [slicer.util.loadVolume(str(tmp_path / "ct.nrrd"), {"name": name}) for name in names]
    cases = logic.processBatch(nodes, tmp_path / "out")
    assert [(case.name, case.failure) for case in cases] == [(name, "") for name in names]
    files = [case.ct.name for case in cases]
    assert files == ["M_xfcller 1.nrrd", "M_xfcller 1 (2).nrrd", "_u738b.nrrd"]
    assert [loadCase(case).volumeNode for case in cases] == nodes


def test_the_list_is_read_as_a_spreadsheet_has_saved_it_and_each_study_once(logic, host, ct, tmp_path):
    from InfNetSegmentationLib.BatchResults import batchCases

    (tmp_path / "cts").mkdir()
    sitk.WriteImage(ct, tmp_path / "cts/anna.nrrd")
    (case,) = logic.processBatch(tmp_path / "cts", tmp_path / "out")
    path = tmp_path / "out/cases.csv"
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    (again,) = batchCases(tmp_path / "out")
    assert again == case and again.study is case.study
    result = tmp_path / "out/anna/result.json"
    result.write_text(
        result.read_text(encoding="utf-8").replace('"case": "anna"', '"case": "made anew"'), encoding="utf-8"
    )
    assert batchCases(tmp_path / "out")[0].study.case == "made anew"
    result.unlink()
    assert batchCases(tmp_path / "out")[0].study is None


def test_a_batch_goes_on_when_the_scene_is_closed(openPanel, host, ct, tmp_path):
    folder = tmp_path / "cts"
    folder.mkdir()
    sitk.WriteImage(ct, folder / "slow.nrrd")
    panel = openPanel()
    panel.ui.batchInputLine.currentPath = str(folder)
    panel.ui.batchOutputLine.currentPath = str(tmp_path / "out")
    panel.ui.batchButton.click()
    host.waitUntil(lambda: panel.ui.stageLabel.text == "Finding the infection")
    host.clearScene()
    assert panel.logic.running
    (folder / "go").touch()
    host.waitUntil(lambda: not panel.logic.running)
    assert shown(panel)[0][:2] == ("slow", True)
    assert panel.ui.batchOutputLine.currentPath == str(tmp_path / "out")


def test_the_shown_result_can_be_looked_at_during_a_batch(openPanel, host, ct, addCT, makeResult, labelsOf, tmp_path):
    """A batch takes hours; only what would be a second run has to wait."""
    folder = tmp_path / "cts"
    folder.mkdir()
    sitk.WriteImage(ct, folder / "slow.nrrd")
    result = makeResult(addCT())
    panel = openPanel()
    ui = panel.ui
    ui.batchInputLine.currentPath = str(folder)
    ui.batchButton.click()
    host.waitUntil(lambda: ui.stageLabel.text == "Finding the infection")
    assert ui.resultsSection.visible
    ui.nextLesionButton.click()
    assert ui.lesionLabel.text.startswith("1 of ")
    before = labelsOf(result.segmentationNode, result.volumeNode)
    ui.resultThresholdSlider.value = 0.7
    host.waitUntil(lambda: ui.undoButton.enabled)
    assert labelsOf(result.segmentationNode, result.volumeNode).sum() < before.sum()
    runs = (ui.saveHtmlButton, ui.savePdfButton)
    assert [button.enabled for button in runs] == [False] * 2 and panel.logic.running
    (folder / "go").touch()
    host.waitUntil(lambda: not panel.logic.running)
    assert [button.enabled for button in runs] == [True] * 2


def test_a_result_that_is_deleted_during_a_batch_is_shown_no_longer(openPanel, host, ct, addCT, makeResult, tmp_path):
    folder = tmp_path / "cts"
    folder.mkdir()
    sitk.WriteImage(ct, folder / "slow.nrrd")
    result = makeResult(addCT())
    panel = openPanel()
    panel.ui.batchInputLine.currentPath = str(folder)
    panel.ui.batchButton.click()
    assert panel.ui.resultsSection.visible
    slicer.mrmlScene.RemoveNode(result.segmentationNode)
    assert panel.logic.running and not panel.ui.resultsSection.visible
    panel.ui.batchButton.click()
    host.waitUntil(lambda: not panel.logic.running)


def test_what_ends_a_whole_batch_is_an_error(logic, host, ct, tmp_path):
    """As a model that is not there: no case was looked at, so none is told as failed."""
    from InfNetSegmentationLib.BackendProcess import BackendError
    from InfNetSegmentationLib.Parameters import Settings

    sitk.WriteImage(ct, tmp_path / "anna.nrrd")
    with pytest.raises(BackendError) as caught:
        logic.processBatch(tmp_path, tmp_path / "out", Settings(model="no-such-model"))
    assert caught.value.code == "unknown-model"


def test_a_folder_without_cts_leaves_no_folder_of_results(openPanel, host, tmp_path):
    (tmp_path / "cts").mkdir()
    panel = openPanel()
    panel.ui.batchInputLine.currentPath = str(tmp_path / "cts")
    panel.ui.batchButton.click()
    assert "no cases in it" in host.errors.pop()
    assert not panel.logic.running and panel.ui.batchButton.text == "Segment all"
    assert not list((tmp_path / "cts").iterdir())


def test_results_are_shown_before_anything_is_installed(tmp_path):
    """A scene that names a batch's folder is opened in a Slicer that lacks the packages; another list is none."""
    (tmp_path / "cases.csv").write_text("ct,case\nanna.nrrd,anna\n", encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/cases.csv").write_text("name;age\nAnna;7\n", encoding="utf-8")
    script = f"""
import sys
for name in ("skimage", "torch", "timm", "safetensors"):
    sys.modules[name] = None
import slicerhost
slicerhost.start()
from InfNetSegmentationLib.BatchResults import batchCases
print([[case.name for case in batchCases(folder)] for folder in ({str(tmp_path)!r}, {str(tmp_path / "other")!r})])
"""
    paths = os.pathsep.join(str(REPOSITORY / name) for name in ("Testing", "InfNetSegmentation"))
    finished = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, encoding="utf-8"
    )
    assert finished.stdout.splitlines()[-1:] == ["[['anna'], []]"], finished.stderr


@pytest.mark.parametrize("name", ["others", 300 * "x"])
def test_a_folder_that_cannot_be_looked_into_is_passed_while_a_path_is_typed(openPanel, tmp_path, monkeypatch, name):
    """As another user's, or a text that was pasted into the line."""
    stat = os.stat

    def refuse(path, *arguments, **more):
        if str(path).endswith("others"):
            raise PermissionError(13, "Permission denied")
        return stat(path, *arguments, **more)

    panel = openPanel()
    panel.ui.batchInputLine.currentPath = str(tmp_path)
    assert panel.ui.batchButton.enabled
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        panel.ui.batchInputLine.currentPath = str(tmp_path / name)
        assert not panel.ui.batchButton.enabled and "folder of the CTs" in panel.ui.batchButton.toolTip


def test_results_that_were_made_or_deleted_elsewhere_are_looked_at_when_the_panel_is_opened_again(
    openPanel, logic, host, ct, tmp_path
):
    (tmp_path / "cts").mkdir()
    sitk.WriteImage(ct, tmp_path / "cts/anna.nrrd")
    panel = openPanel()
    panel.ui.batchInputLine.currentPath = str(tmp_path / "cts")
    logic.processBatch(tmp_path / "cts", tmp_path / "cts/InfNet-results")
    panel.enter()
    assert [(name, numbers) for name, numbers, _remarks in shown(panel)] == [("anna", True)]
    shutil.rmtree(tmp_path / "cts/InfNet-results")
    panel.enter()
    assert shown(panel) == [] and not panel.ui.batchFolderButton.enabled
