"""The training panel, on the fake backend."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def openPanel(host, module, fakeTraining, tmp_path, monkeypatch):
    """Opens the panel; ``openPanel.opened`` lists those that have to be closed."""
    opened = []

    def openWith(scenario):
        monkeypatch.setattr(
            module.InfNetTrainingWidget,
            "logicClass",
            staticmethod(lambda: module.InfNetTrainingLogic(fakeTraining(scenario))),
        )
        widget = host.openModule(module)
        opened.append(widget)
        return widget

    openWith.opened = opened
    yield openWith
    for widget in opened:
        widget.logic.stop(tmp_path / "run", byForce=True)
        host.closeModule(widget)


@pytest.fixture
def openReadyPanel(openPanel, makeSlices, tmp_path):
    makeSlices(tmp_path / "data/labelled", count=5)
    makeSlices(tmp_path / "data/unlabelled", count=4, seed=3)

    def openWith(scenario):
        panel = openPanel(scenario)
        panel.ui.labelledFolderLine.currentPath = str(tmp_path / "data/labelled")
        panel.ui.outputFolderLine.currentPath = str(tmp_path / "run")
        return panel

    return openWith


def choose(comboBox, text):
    """As the user does with the mouse."""
    index = comboBox.findText(text)
    assert index >= 0, text
    comboBox.currentIndex = index
    comboBox.activated.emit(index)


def shownError(host):
    """What slicer.util.tryWithErrorDisplay has shown; it raises it again."""
    (error,) = host.errors
    host.errors.clear()
    return error


def run(panel, host, until="finished"):
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel._run.status.state == until)


def test_start_waits_for_labelled_slices(openPanel, makeSlices, tmp_path):
    panel = openPanel("success")
    panel.ui.labelledFolderLine.currentPath = str(tmp_path / "nothing")
    assert not panel.ui.applyButton.enabled
    assert "labelled slices" in panel.ui.applyButton.toolTip
    assert not panel.ui.estimateButton.enabled and "labelled slices" in panel.ui.estimateButton.toolTip
    panel.ui.labelledFolderLine.currentPath = str(makeSlices(tmp_path / "labelled"))
    assert panel.ui.applyButton.enabled


def test_the_data_sets_own_folder_stands_for_its_parts(openReadyPanel, tmp_path):
    panel = openReadyPanel("success")
    panel.ui.labelledFolderLine.currentPath = str(tmp_path / "data")
    assert panel.ui.labelledFolderLine.currentPath == str(tmp_path / "data/labelled")
    assert panel.ui.unlabelledFolderLine.currentPath == str(tmp_path / "data/unlabelled")


def test_a_preset_sets_the_values_below_it(openReadyPanel):
    panel = openReadyPanel("success")
    choose(panel.ui.presetSelector, "Paper")
    assert (panel.ui.epochsBox.value, panel.ui.batchSizeBox.value) == (100, 24)
    assert panel.ui.learningRateBox.value == pytest.approx(1e-4)
    assert panel.ui.encoderSelector.currentText == "res2net50"
    panel.ui.epochsBox.value = 3
    assert panel._parameterNode.config().epochs == 3
    assert not panel.ui.kBox.enabled
    choose(panel.ui.kindSelector, "Semi-supervised (Algorithm 1)")
    assert panel.ui.kBox.enabled and not panel.ui.applyButton.enabled


def test_that_a_model_loses_its_findings_is_told_before_it_does(openReadyPanel):
    """The shipped model tells ground glass from consolidation; a network that is trained on from it will not."""
    from infnet.weights.cards import find_card, read_card
    from InfNetSegmentationLib.Models import modelChoices

    panel = openReadyPanel("success")
    panel.parent.show()
    ui = panel.ui
    assert not ui.initialNoteLabel.visible
    (title,) = (model.title for model in modelChoices("infection") if model.value == "")
    choose(ui.initialSelector, title)
    assert "--network-option" in (arguments := panel.logic.getParameterNode().config().trainingArguments())
    assert not any("consolidation_head" in word for word in arguments)
    assert read_card(find_card(panel.logic.getParameterNode().initial)).tells_findings
    assert ui.initialNoteLabel.visible
    assert "finds infection of either kind" in ui.initialNoteLabel.text and title in ui.initialNoteLabel.text
    choose(ui.kindSelector, "Findings: ground glass or consolidation")
    assert not ui.initialNoteLabel.visible, "this one starts from nothing"
    choose(ui.kindSelector, "Supervised")
    choose(ui.initialSelector, "Nothing (random weights)")
    assert not ui.initialNoteLabel.visible
    assert "infection of either kind" in ui.keepCorrectionButton.toolTip


def test_long_texts_are_seen_whole_in_a_narrow_panel(openReadyPanel, host):
    """A run's error that names a long path, and what was found on the slices, changed while the panel is shown."""
    from InfNetSegmentationLib.Remedies import wrappable
    from slicerhost.labels import ScrolledPanel

    panel = openReadyPanel("success")
    choose(panel.ui.initialSelector, panel.ui.initialSelector.itemText(2))
    scrolled = ScrolledPanel(panel)
    for width in (440, 600):
        assert scrolled.unreadableLabels(width) == []
        for words in (30, 60, 5, 40):
            for label in (panel.ui.stageLabel, panel.ui.checkLabel, panel.ui.estimateLabel):
                label.visible = True
                label.text = words * "Stopped. " + wrappable("C:" + words * "\\StudiesOfThisYear" + words * "long")
                assert scrolled.unreadableLabels(width) == []


def test_the_check_shows_the_problems_and_bad_data_are_not_trained_on(openReadyPanel, host, tmp_path, caplog):
    (tmp_path / "data/labelled/GT/3.png").write_bytes(b"no picture")
    panel = openReadyPanel("success")
    with caplog.at_level(logging.ERROR):
        panel.ui.applyButton.click()
        host.waitUntil(lambda: panel.ui.problemTable.rowCount > 0)
    assert "3.png" in caplog.text and "not a readable image" in caplog.text
    assert panel.ui.problemTable.item(0, 0).text() == "3.png"
    assert "1 errors" in panel.ui.checkLabel.text
    assert panel.ui.applyButton.enabled and panel.ui.applyButton.text == "Start"
    assert not (tmp_path / "run").exists()


def test_the_check_shows_some_slices_with_their_masks(openReadyPanel, host):
    panel = openReadyPanel("success")
    panel.ui.checkButton.click()
    host.waitUntil(lambda: "0 errors" in panel.ui.checkLabel.text)
    image = panel.ui.sampleLabel.pixmap.toImage()
    assert (image.width(), image.height()) == (360, 240), "five slices"
    colors = {image.pixelColor(x, y).getRgb()[:3] for x in range(0, 120, 2) for y in range(120)}
    assert {(255, 60, 60), (255, 220, 0)} <= colors


def test_a_run_from_start_to_installed_model(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("success")
    panel.ui.epochsBox.value = 5
    panel.ui.holdOutBox.checked = True
    assert not panel.ui.outcomeSection.visible
    run(panel, host)
    assert (tmp_path / "run/calls.txt").read_text(encoding="utf-8").split() == ["train"]
    told = json.loads((tmp_path / "run/training.json").read_text(encoding="utf-8"))["steps"]
    assert told[1][-2:] == ["--metrics", str(tmp_path / "run/held-out/fold-0/metrics.json")], "for the model's card"
    assert panel.ui.stageLabel.text == "Finished."
    assert "a word of the backend" in panel.ui.logText.plainText
    assert "1.000" in panel.ui.outcomeLabel.text and "2 slices" in panel.ui.outcomeLabel.text
    table = panel.ui.outcomeTable
    assert [[table.item(row, column).text() for column in (0, 1)] for row in (0, 1)] == [["0", "1.000"], ["1", "1.000"]]
    assert not panel.ui.applyButton.enabled and not panel.ui.inputsSection.enabled
    panel.ui.installButton.click()
    assert (Path.home() / ".infnet/models/run.safetensors").is_file()
    assert "Installed as “run”" in panel.ui.outcomeLabel.text
    panel.ui.newRunButton.click()
    assert panel.ui.outputFolderLine.currentPath == str(tmp_path / "run-2")
    assert panel.ui.applyButton.enabled and panel.ui.inputsSection.enabled
    assert panel.ui.epochsBox.value == 5


def test_stop_and_resume(openReadyPanel, host):
    panel = openReadyPanel("stop")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.progressBar.maximum == 100 and panel.ui.progressBar.value > 0)
    assert panel.ui.applyButton.text == "Stop"
    assert "up to 3.4 GB of GPU memory" in panel.ui.stageLabel.text
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.applyButton.text == "Resume")
    assert "Resume goes on" in panel.ui.stageLabel.text
    run(panel, host)


def test_a_run_that_does_not_stop_can_be_ended(openReadyPanel, host):
    panel = openReadyPanel("ignore-stop")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.progressBar.value > 0)
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "End now"
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.applyButton.text == "Resume")
    assert "by force" in panel.ui.stageLabel.text


def test_a_closed_panel_leaves_the_training_and_a_new_one_finds_it(openReadyPanel, openPanel, host, tmp_path):
    panel = openReadyPanel("stop")
    panel.ui.epochsBox.value = 7
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.progressBar.value > 0)
    openPanel.opened.remove(panel)
    host.closeModule(panel)
    host.clearScene()
    assert panel.logic.status(tmp_path / "run").state == "running"
    panel = openPanel("stop")
    assert panel.ui.applyButton.text == "Start"
    panel.ui.outputFolderLine.currentPath = str(tmp_path / "run")
    assert panel.ui.applyButton.text == "Stop"
    assert panel.ui.epochsBox.value == 7
    assert panel.ui.labelledFolderLine.currentPath == str(tmp_path / "data/labelled")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.applyButton.text == "Resume")


def test_a_closed_scene_leaves_the_panel_on_its_feet(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("stop")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.progressBar.value > 0)
    host.clearScene()
    assert panel.logic.status(tmp_path / "run").state == "running"
    panel.ui.outputFolderLine.currentPath = str(tmp_path / "run")
    assert panel.ui.applyButton.text == "Stop"
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.applyButton.text == "Resume")


def test_a_scene_closed_during_the_check_does_not_lock_the_panel(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("success")
    panel.ui.applyButton.click()
    host.clearScene()
    panel.ui.labelledFolderLine.currentPath = str(tmp_path / "data/labelled")
    panel.ui.outputFolderLine.currentPath = str(tmp_path / "run")
    run(panel, host)


def test_a_failed_run_tells_its_true_cause(openReadyPanel, host):
    panel = openReadyPanel("error")
    run(panel, host, until="failed")
    assert panel.ui.stageLabel.text == "Failed: Slice 7 is damaged."
    assert "Slice 7 is damaged." in panel.ui.logText.plainText
    assert panel.ui.applyButton.text == "Resume"


def chooseSemiSupervised(panel, tmp_path):
    panel.ui.unlabelledFolderLine.currentPath = str(tmp_path / "data/unlabelled")
    choose(panel.ui.kindSelector, "Semi-supervised (Algorithm 1)")


def column(panel, number):
    table = panel.ui.reviewTable
    return [table.item(row, number).text() for row in range(table.rowCount)]


def test_a_run_pauses_for_a_look_at_each_round(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("success")
    chooseSemiSupervised(panel, tmp_path)
    panel.ui.pauseBox.checked = True
    assert not panel.ui.reviewSection.visible
    for rounds in range(1, 4):
        panel.ui.applyButton.click()
        host.waitUntil(
            lambda rounds=rounds: panel.ui.roundSelector.count == rounds and panel._run.status.state == "stopped"
        )
        assert "look at the new pseudo-labels" in panel.ui.stageLabel.text
        assert panel.ui.roundSelector.currentText == f"round-{rounds:03}"
        assert panel.ui.applyButton.text == "Resume"
    run(panel, host)


def test_pseudo_labels_are_shown_rejected_and_corrected(openReadyPanel, host, tmp_path, monkeypatch):
    import slicer
    from InfNetTrainingLib import ReviewPanel

    panel = openReadyPanel("success")
    chooseSemiSupervised(panel, tmp_path)
    run(panel, host)
    assert [panel.ui.roundSelector.itemText(i) for i in range(3)] == ["round-001", "round-002", "round-003"]
    assert column(panel, 0) == ["0", "1", "2", "3"] and set(column(panel, 1)) == {"50.0 %"}
    assert not panel.ui.rejectButton.enabled
    panel.ui.reviewTable.selectRow(1)
    volumeNode = slicer.util.getNode("1 (slice)")
    panel.enter()
    assert panel.ui.caseVolumeSelector.nodeCount() == 0, "it is no CT"
    (segmentationNode,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    image = np.asarray(Image.open(tmp_path / "data/unlabelled/Imgs/1.png"))
    assert np.array_equal(slicer.util.arrayFromVolume(volumeNode)[0], image)
    segment = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, "Infection", volumeNode)
    assert segment[0, :, :30].all() and not segment[0, :, 30:].any()

    panel.ui.rejectButton.click()
    assert (tmp_path / "run/rejected.txt").read_text() == "1\n"
    assert column(panel, 3)[1] == "rejected" and panel.ui.rejectButton.text == "Take in again"

    edited = []
    # Segment Editor is not in slicer-core: what would be opened is noted, and the edit made as it would make it.
    monkeypatch.setattr(ReviewPanel, "editSegments", edited.append)
    panel.ui.editButton.click()
    assert edited[0].segmentationNode is segmentationNode and edited[0].volumeNode is volumeNode
    segment[0, :20] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(segment, segmentationNode, "Infection", volumeNode)
    panel.ui.keepCorrectionButton.click()
    kept = np.asarray(Image.open(tmp_path / "run/corrections/1.png"))
    assert np.array_equal(kept > 0, segment[0] > 0)
    assert column(panel, 3)[1] == "corrected" and (tmp_path / "run/rejected.txt").read_text() == ""

    panel.ui.reviewTable.selectRow(2)
    assert not panel.ui.withdrawButton.enabled
    panel.ui.reviewTable.selectRow(1)
    segment = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, "Infection", volumeNode)
    assert not segment[0, :20].any(), "a correction is shown as such"
    panel.ui.withdrawButton.click()
    assert column(panel, 3)[1] == "as it is" and not (tmp_path / "run/corrections/1.png").exists()

    # What was edited and not kept is asked for, once, before another slice takes its place.
    questions, answers = [], [False, True]
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: questions.append(text) or answers.pop(0))
    for use, other in (("as it is", 2), ("corrected", 3)):
        panel.ui.reviewTable.selectRow(1)
        segment = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, "Infection", volumeNode)
        segment[0, 5] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(segment, segmentationNode, "Infection", volumeNode)
        panel.ui.reviewTable.selectRow(other)
        assert column(panel, 3)[1] == use
    assert len(questions) == 2 and "“1” was edited" in questions[0]
    kept = np.asarray(Image.open(tmp_path / "run/corrections/1.png"))
    assert np.array_equal(kept > 0, segment[0] > 0)

    # Another round's pseudo-label of the slice is shown when that round is chosen.
    panel.ui.reviewTable.selectRow(0)
    Image.fromarray(np.zeros_like(image)).save(tmp_path / "run/round-001/Soft/0.png")
    assert slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, "Infection", volumeNode).any()
    panel.ui.roundSelector.currentIndex = 0
    panel.ui.roundSelector.activated.emit(0)
    assert not slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, "Infection", volumeNode).any()
    host.clearScene()


def test_time_and_disk_are_estimated_before_the_start(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("success")
    assert not panel.ui.estimateLabel.visible
    panel.ui.estimateButton.click()
    assert not panel.ui.applyButton.enabled and panel.ui.estimateButton.text == "Cancel the estimate"
    host.waitUntil(lambda: not panel.logic.preparing)
    text = panel.ui.estimateLabel.text
    assert "about 1 h 0 min" in text and "4 training steps" in text and "Too little room" in text and "3.0 GB" in text
    assert panel.ui.applyButton.enabled and not (tmp_path / "run").exists()
    panel.ui.holdOutBox.checked = True
    assert not panel.ui.estimateLabel.visible, "it was of another training"
    panel.ui.estimateButton.click()
    host.waitUntil(lambda: not panel.logic.preparing)
    assert "about 1 h 48 min" in panel.ui.estimateLabel.text  # four of five slices are trained on once more


def test_an_estimate_can_be_cancelled(openReadyPanel, host):
    panel = openReadyPanel("stop")
    panel.ui.estimateButton.click()
    host.waitUntil(lambda: "Timing" in panel.ui.estimateLabel.text or "of at most" in panel.ui.estimateLabel.text)
    panel.ui.estimateButton.click()
    host.waitUntil(lambda: not panel.logic.preparing)
    assert not panel.ui.estimateLabel.visible and panel.ui.applyButton.enabled


def test_extra_folders_and_findings_reach_the_backend(openReadyPanel, host, tmp_path, monkeypatch):
    import qt

    panel = openReadyPanel("success")
    (tmp_path / "healthy/Imgs").mkdir(parents=True)
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "healthy"))
    panel.ui.addExtraButton.click()
    panel.ui.addExtraButton.click()
    assert panel._parameterNode.config().extraFolders == (str(tmp_path / "healthy"),)
    choose(panel.ui.kindSelector, "Findings: ground glass or consolidation")
    assert panel.ui.epochsBox.value == 30 and not panel.ui.encoderSelector.enabled
    arguments = panel._parameterNode.config().trainingArguments()
    assert arguments[arguments.index("--task") + 1] == "findings" and "--encoder" not in arguments
    assert arguments[arguments.index("--extra") + 1] == str(tmp_path / "healthy")
    panel.ui.extraList.setCurrentRow(0)
    panel.ui.removeExtraButton.click()
    assert panel._parameterNode.config().extraFolders == () and panel.ui.extraList.count == 0


def test_a_run_on_another_machine_is_written_out_and_waited_for(openReadyPanel, host, tmp_path):
    import qt

    panel = openReadyPanel("success")
    buttons = panel.ui.startSshButton, panel.ui.saveSshButton
    toolTips = []
    for text in ("", " ", "-oProxyCommand=x", "user@gpu"):
        panel.ui.hostLine.text = text
        assert [button.enabled for button in buttons] == [text == "user@gpu"] * 2
        toolTips.append({button.toolTip for button in buttons})
    assert toolTips[:3] == [{"Say which machine, as user@machine"}] * 3 and len(toolTips[3]) == 2
    panel.ui.saveSshButton.click()
    assert qt.QApplication.clipboard().text() == f"bash {tmp_path / 'run/remote.sh'}"
    assert "remote.sh" in panel.ui.stageLabel.text and not panel.ui.inputsSection.enabled
    assert panel.ui.applyButton.text == "Resume"
    for button in buttons:
        assert not button.enabled and "press “New run”" in button.toolTip


def test_a_run_is_started_on_another_machine(openReadyPanel, host, tmp_path, monkeypatch):
    """Where ssh fails; test_training_by_ssh.py has those where it does not."""
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    calls = tmp_path / "calls"
    ssh.write_text(f"#!/bin/sh\necho >> {calls}\necho 'ssh: connect to host: Connection refused' >&2; exit 255\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}{os.pathsep}{os.environ['PATH']}")
    panel = openReadyPanel("success")
    panel.ui.hostLine.text = "user@gpu"
    for number, button in enumerate((panel.ui.startSshButton, panel.ui.applyButton), start=1):
        button.click()
        host.waitUntil(
            lambda number=number: (
                calls.is_file() and calls.read_text() == number * "\n" and panel.ui.applyButton.text == "Resume"
            )
        )
        for words in ("Connection refused", "No SSH server answers on user@gpu: start it", "Resume goes on"):
            assert words in panel.ui.stageLabel.text


def test_the_curves_are_drawn(openReadyPanel, openPanel, host, tmp_path):
    import slicer

    def drawn(panel):
        panel.ui.curveButton.click()
        (chartNode,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
        series = [chartNode.GetNthPlotSeriesNode(i) for i in range(chartNode.GetNumberOfPlotSeriesNodes())]
        columns = [[s.GetXColumnName(), s.GetYColumnName()] for s in series]
        tables = [s.GetTableNode().GetTable() for s in series]
        return {
            s.GetName(): [[table.GetColumnByName(c).GetValue(i) for c in names] for i in range(table.GetNumberOfRows())]
            for s, names, table in zip(series, columns, tables, strict=True)
        }

    panel = openReadyPanel("success")
    assert not panel.ui.curveButton.enabled
    panel.ui.holdOutBox.checked = True
    run(panel, host)
    curves = drawn(panel)
    assert list(curves) == ["fold-0: Loss", "training: Loss", "fold-0: Dice"]
    assert curves["training: Loss"][0] == [1, pytest.approx((1 + 1 / 2) / 2)] and len(curves["training: Loss"]) == 5
    assert curves["fold-0: Dice"] == [[2, 0.5], [5, 1.0]]
    openPanel.opened.remove(panel)
    host.closeModule(panel)
    host.clearScene()
    panel = openPanel("success")
    panel.ui.outputFolderLine.currentPath = str(tmp_path / "run")
    assert drawn(panel) == curves, "Slicer opened again draws them from the folder"


def test_slices_are_made_of_cases_in_the_scene(openReadyPanel, host, tmp_path):
    import slicer

    panel = openReadyPanel("success")
    volumeNode = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.int16), name="CT")
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawn")
    panel.ui.caseVolumeSelector.setCurrentNode(volumeNode)
    panel.ui.caseSegmentationSelector.setCurrentNode(segmentationNode)
    panel.ui.addCaseButton.click()
    assert "No finding is recognised" in shownError(host)
    assert not panel.ui.makeLabelledButton.enabled
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentID = segmentationNode.GetSegmentation().AddEmptySegment("", "Infection")
    mask = np.ones((3, 4, 5), np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentationNode, segmentID, volumeNode)
    for _click in range(2):
        panel.ui.addCaseButton.click()
    assert panel.ui.caseList.count == 1
    panel.ui.makeLabelledButton.click()
    assert not panel.ui.inputsSection.enabled
    host.waitUntil(lambda: not panel.logic.preparing)
    assert panel.ui.labelledFolderLine.currentPath == str(tmp_path / "run-labelled")
    assert panel.ui.inputsSection.enabled and not panel.ui.stageLabel.text
    assert not panel.ui.makeUnlabelledCasesButton.enabled
    panel.ui.caseSegmentationSelector.setCurrentNode(None)
    panel.ui.addCaseButton.click()
    assert panel.ui.caseList.item(1).text() == "CT: without labels"
    panel.ui.makeUnlabelledCasesButton.click()
    host.waitUntil(lambda: not panel.logic.preparing)
    assert panel.ui.unlabelledFolderLine.currentPath == str(tmp_path / "run-unlabelled")
    assert (tmp_path / "run-unlabelled/labels.txt").read_text() == "None"
    assert (tmp_path / "run-labelled/labels.txt").read_text() != "None"
    slicer.mrmlScene.RemoveNode(volumeNode)
    panel.ui.epochsBox.value = 9
    assert panel.ui.caseList.count == 0


def test_slices_are_made_of_a_folder_of_cts(openReadyPanel, host, tmp_path, caplog):
    panel = openReadyPanel("success")
    for path in (str(Path.home()), ""):
        panel.ui.ctFolderLine.currentPath = path
        assert not panel.ui.makeUnlabelledButton.enabled
        assert panel.ui.makeUnlabelledButton.toolTip == "Choose the folder of the CTs first"
    panel.ui.ctFolderLine.currentPath = str(tmp_path / "bad CTs")
    with caplog.at_level(logging.WARNING):
        panel.ui.makeUnlabelledButton.click()
        host.waitUntil(lambda: not panel.logic.preparing)
    assert "bad: damaged" in caplog.text
    assert panel.ui.unlabelledFolderLine.currentPath == str(tmp_path / "run-unlabelled")


def test_the_making_of_slices_can_be_stopped(openReadyPanel, host, tmp_path, caplog):
    """Of a folder that holds all CTs of a hospital, it takes hours."""
    panel = openReadyPanel("stop")
    panel.ui.hostLine.text = "user@machine"
    assert panel.ui.applyButton.text == "Start" and panel.ui.startSshButton.enabled
    panel.ui.ctFolderLine.currentPath = str(tmp_path / "CTs")
    panel.ui.makeUnlabelledButton.click()
    assert panel.ui.applyButton.text == "Stop" and panel.ui.applyButton.enabled
    assert not panel.ui.estimateButton.enabled and not panel.ui.startSshButton.enabled
    host.waitUntil(lambda: panel.ui.stageLabel.text.startswith("Making slices"))
    with caplog.at_level(logging.WARNING):
        panel.ui.applyButton.click()
        host.waitUntil(lambda: not panel.logic.preparing)
    assert not caplog.text, "to stop is no error"
    assert panel.ui.applyButton.text == "Start" and panel.ui.applyButton.enabled
    assert panel.ui.inputsSection.enabled and not panel.ui.stageLabel.text
    assert not panel.ui.unlabelledFolderLine.currentPath.endswith("run-unlabelled")


def test_closing_the_panel_ends_the_making_of_slices_without_a_dialog(openReadyPanel, tmp_path, monkeypatch):
    import slicer

    told = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda *text, **more: told.append(text))
    panel = openReadyPanel("success")
    panel.ui.ctFolderLine.currentPath = str(tmp_path / "bad CTs")
    panel.ui.makeUnlabelledButton.click()
    assert panel.logic.preparing
    panel.cleanup()
    assert not panel.logic.preparing and not told


def test_command_and_script_are_given_out(openReadyPanel, host, tmp_path, monkeypatch):
    import qt

    panel = openReadyPanel("success")
    panel.ui.batchSizeBox.value = 8
    panel.ui.gpusBox.value = 2
    panel.ui.copyCommandButton.click()
    assert qt.QApplication.clipboard().text().startswith("torchrun --nproc-per-node 2 -m infnet train ")
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: str(tmp_path / "job.sbatch"))
    panel.ui.saveSlurmButton.click()
    assert "#SBATCH --nodes=1 " in (tmp_path / "job.sbatch").read_text(encoding="utf-8")
    panel.ui.batchSizeBox.value = 7
    panel.ui.copyCommandButton.click()
    assert "A batch of 7" in shownError(host)


def test_a_model_is_exported(openReadyPanel, host, tmp_path, monkeypatch):
    import qt
    from InfNetSegmentationLib.ModelFile import installModel

    panel = openReadyPanel("success")
    run(panel, host)
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: str(tmp_path / "out.zip"))
    panel.ui.exportButton.click()
    assert installModel(tmp_path / "out.zip").name == "run.json"


def test_a_folder_of_a_newer_version_is_told(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("success")
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer/training.json").write_text(json.dumps({"format": 99}), encoding="utf-8")
    panel.ui.outputFolderLine.currentPath = str(tmp_path / "newer")
    assert not panel.ui.applyButton.enabled
    assert "newer version" in panel.ui.stageLabel.text


def test_the_first_output_folder_is_one_that_does_not_exist(openPanel, host, tmp_path):
    folders = [tmp_path / "home" / f"InfNet-training{number}" for number in ("", "-2", "-3", "-4")]
    folders[0].mkdir()
    folders[1].mkdir()
    panel = openPanel("success")
    host.clearScene()
    assert panel.ui.outputFolderLine.currentPath == str(folders[2])
    folders[2].mkdir()
    assert panel.logic.getParameterNode().outputFolder == folders[2], "the choice stays"
    host.clearScene()
    assert panel.ui.outputFolderLine.currentPath == str(folders[3])


def test_nothing_is_trained_into_a_folder_that_is_not_shown(openReadyPanel, tmp_path):
    panel = openReadyPanel("success")
    assert panel.ui.applyButton.enabled
    panel.ui.outputFolderLine.currentPath = ""
    assert not panel.ui.applyButton.enabled and "empty" in panel.ui.applyButton.toolTip
    panel.ui.outputFolderLine.currentPath = str(tmp_path / "run")
    assert panel.ui.applyButton.enabled
    panel.ui.unlabelledFolderLine.currentPath = ""
    assert panel.ui.applyButton.enabled, "a supervised training has none"


def test_self_tests_pass(module):
    module.InfNetTrainingTest().runTest()
