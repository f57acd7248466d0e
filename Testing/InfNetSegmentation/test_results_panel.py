"""The panel's parts for results and for models. `makeResult` stands for a run, so that no process is started."""

import csv
import hashlib
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from infnet.inference.slices import LOWEST_THRESHOLD


@pytest.fixture
def showResult(host, module, fakeBackend, makeResult, addCT, monkeypatch):
    """Opens the panel on a scene that holds a CT and its result."""
    opened = []

    def show(volumeNode=None):
        logicClass = partial(module.InfNetSegmentationLogic, fakeBackend("success"))
        monkeypatch.setattr(module.InfNetSegmentationWidget, "logicClass", logicClass)
        volumeNode = volumeNode or addCT()
        result = makeResult(volumeNode)
        panel = host.openModule(module)
        opened.append(panel)
        panel.parent.show()
        panel.ui.inputVolumeSelector.setCurrentNode(volumeNode)
        panel.ui.outputSegmentationSelector.setCurrentNode(result.segmentationNode)
        return panel, result

    yield show
    for panel in opened:
        host.closeModule(panel)


@pytest.fixture
def answerDialog(host, monkeypatch):
    """Answers the next file dialogs with a path."""
    import qt

    def answer(path):
        for name in ("getSaveFileName", "getOpenFileName", "getExistingDirectory"):
            monkeypatch.setattr(qt.QFileDialog, name, staticmethod(lambda *arguments: str(path)))

    return answer


def test_a_result_of_the_scene_is_shown_without_a_run(showResult):
    panel, _result = showResult()
    assert panel.ui.resultsSection.visible
    assert panel.ui.resultTable.rowCount == 9
    assert panel.ui.warningsLabel.text == "thick slices"
    assert "15.0 % of the lungs poorly aerated, 10.0 % not aerated" in panel.ui.summaryLabel.text
    for index, box in enumerate((panel.ui.showOpacityBox, panel.ui.showConsolidationBox)):
        color = _result.segmentationNode.GetSegmentation().GetNthSegment(index).GetColor()
        legend = box.icon.pixmap(12, 12).toImage().pixelColor(5, 5)
        assert (legend.redF(), legend.greenF(), legend.blueF()) == pytest.approx(color, abs=0.01)
    panel.ui.outputSegmentationSelector.setCurrentNode(None)
    assert not panel.ui.resultsSection.visible


def test_another_ct_shows_its_own_result_and_overwrites_no_other(showResult, addCT, host):
    panel, first = showResult()
    ui = panel.ui
    labels = slicer.util.arrayFromSegmentBinaryLabelmap(first.segmentationNode, "Consolidation", first.volumeNode)
    other = addCT(name="other")
    ui.inputVolumeSelector.setCurrentNode(other)
    assert ui.outputSegmentationSelector.currentNode() is None and not ui.resultsSection.visible
    ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    second = ui.outputSegmentationSelector.currentNode()
    assert second is not first.segmentationNode and ui.resultsSection.text == "Results of other"
    ui.inputVolumeSelector.setCurrentNode(first.volumeNode)
    assert ui.outputSegmentationSelector.currentNode() is first.segmentationNode
    assert ui.resultsSection.text == "Results of CT"
    np.testing.assert_array_equal(
        slicer.util.arrayFromSegmentBinaryLabelmap(first.segmentationNode, "Consolidation", first.volumeNode), labels
    )
    ui.outputSegmentationSelector.setCurrentNode(None)  # "Create new segmentation" stays, as somebody wants it
    panel.enter()
    assert ui.outputSegmentationSelector.currentNode() is None


def test_a_saved_scene_shows_its_result_again(showResult, host, tmp_path):
    panel, _result = showResult()
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path), {})
    host.clearScene()
    assert not panel.ui.resultsSection.visible
    slicer.util.loadScene(str(path), {})
    assert panel.ui.resultsSection.visible and panel.ui.resultsSection.text == "Results of CT"
    assert panel.ui.resultTable.item(0, 1).text() == "150.0\n7.5 %"
    assert "CT severity score 10 of 25" in panel.ui.summaryLabel.text


def test_what_a_run_makes_is_not_offered_as_a_ct(showResult, host, addCT, tmp_path):
    """The probability, which is a volume as well; also in a loaded scene, whose nodes may have got other IDs."""
    panel, _result = showResult()
    selector = panel.ui.inputVolumeSelector

    def offered():
        return [selector.nodeFromIndex(index).GetName() for index in range(selector.nodeCount())]

    assert offered() == ["CT"]
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert offered() == ["CT"]
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path), {})
    host.clearScene()
    names = ["one", "two", "three", "four"]
    for name in names:  # one has the ID that the probability had
        addCT(name=name)
    assert offered() == names
    slicer.util.loadScene(str(path), {"clear": False})
    assert offered() == [*names, "CT"]


def test_show_and_hide(showResult):
    panel, result = showResult()
    ui, display = panel.ui, result.segmentationNode.GetDisplayNode()
    boxes = (ui.showOpacityBox, ui.showConsolidationBox, ui.showLobesBox, ui.show3DBox)
    assert [box.checked for box in boxes] == [True, True, False, False]
    ui.showOpacityBox.click()
    assert not display.GetSegmentVisibility("GroundGlassOpacity") and display.GetSegmentVisibility("Consolidation")
    ui.showLobesBox.click()
    assert result.regionsNode.GetDisplayNode().GetVisibility()
    assert not result.regionsNode.GetDisplayNode().GetVisibility3D()
    ui.show3DBox.click()
    assert result.segmentationNode.GetSegmentation().ContainsRepresentation("Closed surface")
    assert display.GetVisibility3D() and result.regionsNode.GetDisplayNode().GetVisibility3D()
    assert result.regionsNode.GetSegmentation().ContainsRepresentation("Closed surface")
    ui.opacitySlider.value = 0.2
    assert (display.GetOpacity2DFill(), display.GetOpacity3D()) == (pytest.approx(0.2), pytest.approx(0.2))
    ui.outputSegmentationSelector.setCurrentNode(None)
    ui.outputSegmentationSelector.setCurrentNode(result.segmentationNode)
    assert [box.checked for box in boxes] == [False, True, True, True], "the display nodes keep what is shown"


def test_3d_follows_what_changes(showResult, host):
    """The surfaces are those of the segments as they are, whatever has changed these."""
    panel, result = showResult()
    ui, findings = panel.ui, result.segmentationNode
    ui.showLobesBox.click()
    ui.show3DBox.click()
    assert not ui.editedLabel.visible

    def surfaces():
        """The number of points of each finding's surface."""
        segments = (findings.GetSegmentation().GetSegment(name) for name in ("GroundGlassOpacity", "Consolidation"))
        return [segment.GetRepresentation("Closed surface").GetNumberOfPoints() for segment in segments]

    before = surfaces()
    ui.resultThresholdSlider.value = 0.55
    host.waitUntil(lambda: ui.undoButton.enabled)
    assert ui.show3DBox.checked and 0 < surfaces()[0] != before[0]
    ui.undoButton.click()
    assert ui.show3DBox.checked and surfaces() == before
    for button in (ui.applyButton, ui.undoButton):
        button.click()
        host.waitUntil(lambda: not panel.logic.running)
        assert ui.show3DBox.checked and surfaces() == before
        assert result.regionsNode.GetSegmentation().ContainsRepresentation("Closed surface")
    ui.show3DBox.click()
    ui.resultThresholdSlider.value = 0.55
    host.waitUntil(lambda: ui.undoButton.enabled)
    assert not ui.show3DBox.checked


def test_surfaces_of_lobes_are_made_when_they_are_seen(showResult):
    """They take most of the time, and are hidden at first."""
    panel, result = showResult()
    regions = result.regionsNode.GetSegmentation()
    panel.ui.show3DBox.click()
    assert not regions.ContainsRepresentation("Closed surface")
    panel.ui.showLobesBox.click()
    assert regions.ContainsRepresentation("Closed surface")


def test_3d_views_stay_where_the_user_has_turned_them(showResult, host, monkeypatch):
    """The host has no main window: one that counts how often its 3D views are reset stands for it."""
    resets = []
    views = SimpleNamespace(resetThreeDViews=lambda: resets.append(1))
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: views)
    panel, _result = showResult()
    for _time in range(2):
        panel.ui.show3DBox.click()
    panel.ui.resultThresholdSlider.value = 0.55
    host.waitUntil(lambda: panel.ui.undoButton.enabled)
    panel.ui.show3DBox.click()
    assert panel.ui.show3DBox.checked and len(resets) == 1


def test_what_was_hidden_as_a_whole_is_shown_one_by_one(showResult):
    """As by the eye in the module Data, which hides both findings at once."""
    panel, result = showResult()
    ui, display = panel.ui, result.segmentationNode.GetDisplayNode()
    display.SetVisibility(False)
    panel.enter()
    assert not ui.showOpacityBox.checked and not ui.showConsolidationBox.checked
    ui.showOpacityBox.click()
    assert display.GetVisibility() and display.GetSegmentVisibility("GroundGlassOpacity")
    assert not display.GetSegmentVisibility("Consolidation") and not ui.showConsolidationBox.checked
    ui.showConsolidationBox.click()
    assert display.GetSegmentVisibility("GroundGlassOpacity") and display.GetSegmentVisibility("Consolidation")


def test_entering_the_panel_again_and_again_leaves_nothing_behind(showResult):
    from InfNetSegmentationLib import Edits

    panel, _result = showResult()

    def state():
        observers = [panel.Observations, panel._resultsPanel._corrections.Observations, Edits._watched.Observations]
        return [*map(len, observers), slicer.mrmlScene.GetNumberOfNodes()]

    before = state()
    for _time in range(20):
        panel.enter()
    assert state() == before


def test_a_closed_scene_leaves_nothing_to_undo(showResult):
    panel, result = showResult()
    panel.logic.relabel(result, 0.3)
    assert panel.logic.canUndo(result.segmentationNode)
    slicer.mrmlScene.Clear(False)
    assert not panel.logic.canUndo(result.segmentationNode)


def test_threshold_of_the_result_labels_anew_and_undo_takes_it_back(showResult, host, labelsOf):
    panel, result = showResult()
    values = slicer.util.arrayFromVolume(result.volumeNode)
    before = labelsOf(result.segmentationNode, result.volumeNode)
    assert panel.ui.resultThresholdSlider.value == 0.5 and not panel.ui.undoButton.enabled
    assert panel.ui.resultThresholdSlider.minimum >= LOWEST_THRESHOLD, "findings are known from there on"
    for value in (0.6, 0.7, 0.75):  # as a slider that is dragged
        panel.ui.resultThresholdSlider.value = value
    host.waitUntil(lambda: panel.ui.undoButton.enabled)
    labels = labelsOf(result.segmentationNode, result.volumeNode)
    np.testing.assert_array_equal(labels > 0, values >= 200)
    assert panel.ui.resultTable.item(8, 1).text().startswith("0.0\n")
    panel.ui.undoButton.click()
    np.testing.assert_array_equal(labelsOf(result.segmentationNode, result.volumeNode), before)
    assert panel.ui.resultTable.item(8, 1).text() == "150.0\n7.5 %"
    assert panel.ui.resultThresholdSlider.value == 0.5 and not panel.ui.undoButton.enabled


def test_undo_takes_back_what_the_slider_has_just_been_moved_to_and_no_more(showResult, host):
    """Nothing is labelled yet, so the change before stays, with what was corrected since then."""
    panel, result = showResult()
    ui = panel.ui
    ui.resultThresholdSlider.value = 0.6
    host.waitUntil(lambda: ui.undoButton.enabled)
    result.segmentationNode.GetSegmentation().RemoveSegment("Consolidation")
    ui.resultThresholdSlider.value = 0.7
    ui.undoButton.click()
    assert ui.resultThresholdSlider.value == 0.6 and ui.undoButton.enabled
    assert result.segmentationNode.GetSegmentation().GetSegment("Consolidation") is None
    ui.undoButton.click()
    assert ui.resultThresholdSlider.value == 0.5 and not ui.undoButton.enabled
    assert result.segmentationNode.GetSegmentation().GetSegment("Consolidation")


def test_go_to_disease(showResult, addCT):
    volumeNode = addCT(np.eye(3))
    values = slicer.util.arrayFromVolume(volumeNode)
    values[:] = -800
    values[2, 2:4, 1:7] = 150
    values[5, 6, 8:10] = 250
    panel, _result = showResult(volumeNode)
    sliceNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    sliceNode.SetOrientation("Axial")

    def offsetOfSlice(k):
        return 7.0 + 2.5 * k

    panel.ui.mostDiseaseButton.click()
    assert sliceNode.GetSliceOffset() == pytest.approx(offsetOfSlice(2))
    seen = []
    for button in (panel.ui.nextLesionButton,) * 3 + (panel.ui.previousLesionButton,):
        button.click()
        seen.append((panel.ui.lesionLabel.text.split(":")[0], sliceNode.GetSliceOffset()))
    large, small = ("1 of 2", pytest.approx(offsetOfSlice(2))), ("2 of 2", pytest.approx(offsetOfSlice(5)))
    assert seen == [large, small, large, small]
    panel.ui.mostDiseaseButton.click()
    assert panel.ui.lesionLabel.text == "", "the views show that lesion no longer"


def test_where_there_is_no_disease_it_is_said(showResult, addCT):
    volumeNode = addCT()
    slicer.util.arrayFromVolume(volumeNode)[:] = -800
    panel, _result = showResult(volumeNode)
    for button in (panel.ui.nextLesionButton, panel.ui.mostDiseaseButton):
        panel.ui.lesionLabel.text = ""
        button.click()
        assert panel.ui.lesionLabel.text == "no infection"


def test_copy_and_csv_hold_all_columns(showResult, answerDialog, tmp_path):
    import qt

    panel, result = showResult()
    panel.ui.copyTableButton.click()
    lines = [line.split("\t") for line in qt.QApplication.clipboard().text().splitlines()]
    assert len(lines) == 10 and {len(line) for line in lines} == {22}
    copied = dict(zip(lines[0], lines[1], strict=True))
    assert (copied["Case"], copied["Region"], copied["Well aerated (%)"]) == ("CT", "right upper lobe", "70")
    answerDialog(tmp_path / "table")  # no ending typed
    panel.ui.saveTableButton.click()
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["Region"] for row in rows] == [row["region"] for row in result.table]
    assert float(rows[0]["Ground-glass opacity mean (HU)"]) == -400
    panel.ui.copyLogButton.click()
    assert qt.QApplication.clipboard().text() == panel.ui.logText.plainText


def test_what_is_given_away_has_the_cts_present_name(showResult, answerDialog, tmp_path, monkeypatch):
    """Renamed so that the patient is not named; else table and chart would tell it still."""
    import InfNetSegmentationLib.ResultsPanel as resultsPanel

    shown = []
    monkeypatch.setattr(resultsPanel, "showChart", shown.append)
    panel, result = showResult()
    result.volumeNode.SetName("case 1")
    answerDialog(tmp_path / "table.csv")
    panel.ui.saveTableButton.click()
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        assert {row["Case"] for row in csv.DictReader(file)} == {"case 1"}
    panel.ui.showChartButton.click()
    assert shown[0].GetTitle() == "Infection of case 1"


def test_a_deleted_table_or_chart_does_not_take_the_result_along(showResult, answerDialog, tmp_path, monkeypatch):
    import InfNetSegmentationLib.ResultsPanel as resultsPanel

    shown = []
    monkeypatch.setattr(resultsPanel, "showChart", shown.append)
    panel, result = showResult()
    for node in (result.tableNode, result.chartNode):
        slicer.mrmlScene.RemoveNode(node)
    panel.enter()
    assert panel.ui.resultsSection.visible
    answerDialog(tmp_path / "table.csv")
    panel.ui.saveTableButton.click()
    assert len((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()) == 10
    panel.ui.showChartButton.click()
    assert shown[0].GetNumberOfPlotSeriesNodes() == 2
    assert panel.logic.result(result.segmentationNode).chartNode is shown[0]


def test_a_copy_has_the_threshold_that_the_slider_shows(showResult):
    """Also when it is made before the slider has come to rest."""
    import qt

    panel, result = showResult()
    panel.ui.resultThresholdSlider.value = 0.75
    panel.ui.copyTableButton.click()
    lines = [line.split("\t") for line in qt.QApplication.clipboard().text().splitlines()]
    total = dict(zip(lines[0], lines[-1], strict=True))
    values = slicer.util.arrayFromVolume(result.volumeNode)
    ml = np.count_nonzero(values >= 200) * abs(np.prod(result.volumeNode.GetSpacing())) / 1000
    assert float(total["Infection (mL)"]) == pytest.approx(ml, abs=1e-3)
    assert panel.ui.undoButton.enabled and panel.ui.resultThresholdSlider.value == 0.75


def test_nothing_is_labelled_while_a_run_reads_the_result(showResult, host, answerDialog, tmp_path, labelsOf):
    panel, result = showResult()
    before = labelsOf(result.segmentationNode, result.volumeNode)
    answerDialog(tmp_path / "report.html")
    panel.ui.resultThresholdSlider.value = 0.75
    panel.ui.saveHtmlButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    np.testing.assert_array_equal(labelsOf(result.segmentationNode, result.volumeNode), before)
    assert panel.ui.resultThresholdSlider.value == 0.5 and not panel.ui.undoButton.enabled


def test_a_long_name_does_not_widen_the_panel(showResult, addCT):
    """The header of a section is as wide as its text in Slicer."""
    panel, _result = showResult(addCT(name="Thorax " + 20 * "long" + " end"))
    header = panel.ui.resultsSection.text
    assert header.startswith("Results of Thorax long") and header.endswith(" end") and len(header) < 55


def test_report_is_a_run_with_progress_that_leaves_the_result(showResult, answerDialog, host, tmp_path, monkeypatch):
    import InfNetSegmentationLib.Widget as widgetModule

    asked = []
    monkeypatch.setattr(widgetModule, "ensurePackages", lambda path, requester: asked.append(path))
    panel, result = showResult()
    answerDialog(tmp_path / "report")  # no ending typed
    panel.ui.savePdfButton.click()
    assert panel.ui.applyButton.text == "Cancel" and not panel.ui.toolsWidget.enabled
    host.waitUntil(lambda: not panel.logic.running)
    assert json.loads((tmp_path / "report.pdf").read_text(encoding="utf-8"))["table"] == result.table
    assert str(tmp_path / "report.pdf") in panel.ui.logText.plainText
    assert panel.ui.applyButton.text == "Apply" and panel.ui.toolsWidget.enabled and panel.ui.resultsSection.visible
    assert panel.ui.compareButton.toolTip == "Choose the result of an earlier study first"
    assert [path.rpartition("/")[2] for path in asked] == ["InfNetReportRequirements.txt"]
    panel.ui.saveHtmlButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert (tmp_path / "report.html").exists()


def test_dicom_export_of_another_ct_is_explained(showResult):
    """Before a folder is asked for."""
    panel, result = showResult()
    button = panel.ui.exportDicomButton
    assert not button.enabled and "was not loaded from DICOM" in button.toolTip
    assert panel.ui.savePdfButton.enabled
    result.volumeNode.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    panel.enter()
    assert button.enabled and "DICOM" in button.toolTip and "was not" not in button.toolTip


def test_edit_opens_the_segments_in_segment_editor_with_the_ct(showResult, monkeypatch):
    """Up to Segment Editor's own node, by which it knows what to edit; the module itself is not in the host."""
    opened = []
    monkeypatch.setattr(slicer.util, "selectModule", opened.append)
    panel, result = showResult()
    for _time in range(2):
        panel.ui.editSegmentsButton.click()
    assert opened == ["SegmentEditor"] * 2
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentEditorNode") == 1
    editor = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    assert editor.GetSegmentationNode() is result.segmentationNode
    assert editor.GetSourceVolumeNode() is result.volumeNode


def test_use_for_training_adds_a_labelled_case(showResult, host, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delattr(slicer.modules, "infnettraining", raising=False)  # of tests before
    panel, _result = showResult()
    assert not panel.ui.useForTrainingButton.enabled, "the module is not there"
    training = host.loadModule(Path(__file__).parents[2] / "InfNetTraining/InfNetTraining.py")
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: opened.append(host.openModule(training)))
    try:
        panel.enter()
        opened = []
        panel.ui.useForTrainingButton.click()
        (trainingPanel,) = opened
        cases = trainingPanel.ui.caseList
        uses = "Ground-glass opacity as infection or ground glass (label 1); Consolidation as consolidation (label 2)"
        assert cases.count == 1 and cases.item(0).text() == f"CT: CT infection ({uses})"
        assert trainingPanel.ui.makeLabelledButton.enabled
        host.closeModule(trainingPanel)
    finally:
        del slicer.modules.infnettraining  # as other tests expect it


def test_a_result_whose_segments_were_edited_says_that_its_numbers_are_old(showResult, addCT, host):
    panel, result = showResult()
    ui = panel.ui
    assert not ui.editedLabel.visible
    ui.showOpacityBox.click()
    ui.resultThresholdSlider.value = 0.7
    host.waitUntil(lambda: ui.undoButton.enabled)
    assert not ui.editedLabel.visible, "what the panel changes it measures"
    segmentation = result.segmentationNode.GetSegmentation()
    labels = slicer.util.arrayFromSegmentBinaryLabelmap(
        result.segmentationNode, "Consolidation", result.volumeNode
    ).copy()
    labels[3] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        labels, result.segmentationNode, "Consolidation", result.volumeNode
    )
    assert ui.editedLabel.visible
    panel.enter()
    assert ui.editedLabel.visible
    ui.inputVolumeSelector.setCurrentNode(addCT(name="other"))
    ui.inputVolumeSelector.setCurrentNode(result.volumeNode)
    assert ui.editedLabel.visible, "also after a look at another CT"
    ui.measureButton.click()
    assert not ui.editedLabel.visible
    segmentation.RemoveSegment("GroundGlassOpacity")
    assert ui.editedLabel.visible


def test_what_is_given_away_has_the_numbers_of_the_segments_as_they_are(showResult, answerDialog, host, tmp_path):
    """Corrected, and “Update numbers” forgotten: table, report and views would contradict each other."""
    import qt

    panel, result = showResult()
    ui = panel.ui
    volumeMl = abs(np.prod(result.volumeNode.GetSpacing())) / 1000

    def correct(count):
        """All but so many voxels of consolidation are erased."""
        labels = np.zeros(slicer.util.arrayFromVolume(result.volumeNode).shape, np.uint8)
        labels.flat[:count] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            labels, result.segmentationNode, "Consolidation", result.volumeNode
        )
        assert ui.editedLabel.visible

    def shownMl():
        assert not ui.editedLabel.visible
        return panel.logic.result(result.segmentationNode).table[-1]["consolidation_ml"]

    correct(11)
    ui.copyTableButton.click()
    copied = qt.QApplication.clipboard().text().splitlines()
    total = dict(zip(copied[0].split("\t"), copied[-1].split("\t"), strict=True))
    assert float(total["Consolidation (mL)"]) == pytest.approx(11 * volumeMl, abs=1e-3) and shownMl() > 0
    correct(22)
    answerDialog(tmp_path / "table.csv")
    ui.saveTableButton.click()
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        assert float([*csv.DictReader(file)][-1]["Consolidation (mL)"]) == pytest.approx(22 * volumeMl, abs=1e-3)
    correct(33)
    answerDialog(tmp_path / "report.html")
    ui.saveHtmlButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    told = json.loads((tmp_path / "report.html").read_text(encoding="utf-8"))["table"][-1]["consolidation_ml"]
    assert told == shownMl() == pytest.approx(33 * volumeMl)


def test_without_the_lungs_nothing_can_be_measured(showResult):
    panel, result = showResult()
    assert panel.ui.measureButton.enabled
    slicer.mrmlScene.RemoveNode(result.regionsNode)
    ui = panel.ui
    controls = (ui.measureButton, ui.resultThresholdSlider, ui.saveHtmlButton, ui.savePdfButton, ui.exportDicomButton)
    for control in controls:
        assert not control.enabled and "press Apply" in control.toolTip
    for box in (ui.showLobesBox, ui.show3DBox):
        box.click()  # without an error


def test_a_ct_whose_file_was_not_found_is_told(showResult, host):
    """As in a scene whose CT was moved: its node comes without voxels."""
    panel, result = showResult()
    result.volumeNode.SetAndObserveImageData(None)
    panel.enter()
    ui = panel.ui
    for control in (ui.measureButton, ui.saveHtmlButton, ui.savePdfButton):
        assert not control.enabled and "its file was not found" in control.toolTip
    ui.mostDiseaseButton.click()
    assert "ValueError: “CT” has no voxels" in host.errors.pop()


def test_numbers_follow_corrections(showResult):
    panel, result = showResult()
    for segmentID in ("GroundGlassOpacity", "Consolidation"):
        empty = np.zeros(slicer.util.arrayFromVolume(result.volumeNode).shape, np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(empty, result.segmentationNode, segmentID, result.volumeNode)
    panel.ui.measureButton.click()
    assert panel.ui.resultTable.item(8, 3).text() == "0.0\n0.0 %"
    assert "CT severity score 0 of 25" in panel.ui.summaryLabel.text


class TestModels:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path, monkeypatch):
        from pathlib import Path

        monkeypatch.setattr(Path, "home", classmethod(lambda _class: tmp_path))
        return tmp_path

    def writeModel(self, folder, name="mine", task="infection", sha256=None, threshold=0.37):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.safetensors").write_bytes(b"weights")
        card = {"name": name, "task": task, "summary": "Finds what I found.", "network": {}, "input_size": 352}
        card |= {"licence": "mine", "threshold": threshold}
        card["sha256"] = sha256 or hashlib.sha256(b"weights").hexdigest()
        (folder / f"{name}.json").write_text(json.dumps(card), encoding="utf-8")
        return folder / f"{name}.json"

    def test_shipped_models_tell_what_they_find_how_well_and_their_licence(self, module):
        from infnet.weights.cards import shipped_models
        from InfNetSegmentationLib.Models import modelChoices

        choices = [choice for task in ("infection", "findings") for choice in modelChoices(task)]
        assert len(choices) == len(shipped_models())
        assert [choice.value for choice in choices].count("") == 1
        for choice in choices:
            assert len(choice.description.splitlines()) == 3
            assert "Dice on held-out slices: " in choice.description

    def test_an_imported_model_is_listed_chosen_and_brings_its_threshold(
        self, showResult, answerDialog, tmp_path, host
    ):
        panel, _result = showResult()
        answerDialog(self.writeModel(tmp_path / "download"))
        panel.ui.importWeightsButton.click()
        assert panel.ui.modelSelector.currentText == "mine"
        assert "Finds what I found." in panel.ui.modelDescriptionLabel.text
        parameters = panel.logic.getParameterNode()
        assert parameters.infectionModel == str(tmp_path / ".infnet/models/mine.json")
        assert panel.ui.thresholdSlider.value == pytest.approx(0.37)
        assert not host.errors

    def test_another_model_of_the_name_is_replaced_if_one_says_so(
        self, showResult, answerDialog, tmp_path, monkeypatch
    ):
        panel, _result = showResult()
        installed = tmp_path / ".infnet/models/mine.json"
        answers, questions = [False, True], []
        monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: questions.append(text) or answers.pop(0))
        for folder, threshold, expected in (("one", 0.37, 0.37), ("two", 0.5, 0.37), ("two", 0.5, 0.5)):
            answerDialog(self.writeModel(tmp_path / folder, threshold=threshold))
            panel.ui.importWeightsButton.click()
            assert json.loads(installed.read_text(encoding="utf-8"))["threshold"] == expected
        assert len(questions) == 2 and "another model called mine" in questions[0]

    def test_findings_are_told_by_the_infections_model_or_by_one_that_is_chosen(self, showResult):
        from infnet.weights.cards import DEFAULT_MODELS

        panel, _result = showResult()
        box, parameters = panel.ui.findingsModelSelector, panel.logic.getParameterNode()
        assert box.currentText.startswith("Automatic") and "--labels-model" not in parameters.settings().arguments()
        box.currentIndex = 1
        assert parameters.settings().findingsModel == DEFAULT_MODELS["findings"]

    def test_a_damaged_model_is_refused_and_leaves_nothing(self, showResult, answerDialog, tmp_path, host):
        panel, _result = showResult()
        answerDialog(self.writeModel(tmp_path / "download", sha256="0" * 64))
        panel.ui.importWeightsButton.click()
        assert "SHA-256" in host.errors.pop()
        assert not (tmp_path / ".infnet").exists()

    def test_a_checkpoint_goes_through_the_backend(self, showResult, answerDialog, tmp_path, host):
        panel, _result = showResult()
        answerDialog(tmp_path / "Semi-Inf-Net-100.pth")
        panel.ui.importWeightsButton.click()
        host.waitUntil(lambda: not panel.logic.running)
        assert panel.ui.modelSelector.currentText == "Semi-Inf-Net-100"
        assert panel.ui.thresholdSlider.value == pytest.approx(0.35)

    def test_graphics_cards_are_looked_for_when_the_section_is_opened(self, showResult, host, tmp_path, monkeypatch):
        """By a program that may take its time: nothing waits for it."""
        program = tmp_path / "nvidia-smi"
        script = (
            "#!/bin/sh\nwhile ! [ -e {0}/go ]; do /bin/sleep 0.02; done\necho 'Card A, 81000'\necho 'Card B, 1024'\n"
        )
        program.write_text(script.format(tmp_path), encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        panel, _result = showResult()
        devices = panel.ui.deviceSelector

        def listed():
            return [devices.itemText(i) for i in range(devices.count)]

        panel.ui.advancedSection.collapsed = False
        assert listed() == ["Automatic", "Processor (CPU)"]
        devices.currentIndex = 1
        (tmp_path / "go").touch()
        host.waitUntil(lambda: devices.count == 4)
        assert listed() == ["Automatic", "Card A, 79 GB free", "Card B, 1 GB free", "Processor (CPU)"]
        assert devices.currentText == "Processor (CPU)" and panel.logic.getParameterNode().device == "cpu"
        program.write_text("#!/bin/sh\necho 'Card A, 81000'\nexit 9\n", encoding="utf-8")  # cards that are gone
        panel.ui.advancedSection.collapsed = True
        panel.ui.advancedSection.collapsed = False
        host.waitUntil(lambda: devices.count == 2)


def test_remaining_time_is_guessed_from_the_stage(module):
    from InfNetSegmentationLib.Progress import RemainingTime

    now = [100.0]
    remaining = RemainingTime(lambda: now[0])
    assert remaining.text("infection", 0, 60) == "Finding the infection"
    now[0] = 101.0
    assert remaining.text("infection", 10, 60) == "Finding the infection", "too early"
    now[0] = 120.0
    assert remaining.text("infection", 10, 60) == "Finding the infection, 1:40 left"
    assert remaining.text("infection", 60, 60) == "Finding the infection"
    assert remaining.text("lobes", 1, 2) == "Finding the lobes", "a stage of its own"
    assert remaining.text("somethingnew", 1, 2) == "Somethingnew"
