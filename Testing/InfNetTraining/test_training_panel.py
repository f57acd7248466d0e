"""The training panel, on the fake backend."""

import json
import logging
import os
import shutil
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


def test_a_check_that_goes_wrong_is_told_and_starts_nothing(openReadyPanel, host, tmp_path, monkeypatch, caplog):
    from infnet.data import labelled_slices

    def read(path):
        raise MemoryError

    panel = openReadyPanel("success")
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(labelled_slices, "read_grey", read)
        panel.ui.applyButton.click()
        host.waitUntil(lambda: not panel._data.isAwaited)
    assert "could not be looked at" in caplog.text and "MemoryError" in caplog.text
    assert not (tmp_path / "run").exists() and panel.ui.applyButton.enabled and panel.ui.inputsSection.enabled
    run(panel, host)


def test_other_slices_chosen_by_a_script_during_the_check_do_not_lock_the_panel(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("success")
    panel.ui.applyButton.click()
    assert not panel.ui.applyButton.enabled and not panel.ui.newRunButton.enabled
    panel.logic.getParameterNode().labelledFolder = tmp_path / "data/unlabelled"
    assert panel.ui.applyButton.enabled and panel.ui.inputsSection.enabled
    run(panel, host)
    assert panel._run.status.config.labelledFolder == str(tmp_path / "data/unlabelled")


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
    assert panel.ui.stageLabel.text == "Finished; “New run” starts another training."
    assert "a word of the backend" in panel.ui.logText.plainText
    assert "1.000" in panel.ui.outcomeLabel.text and "2 slices" in panel.ui.outcomeLabel.text
    table = panel.ui.outcomeTable
    assert [[table.item(row, column).text() for column in (0, 1)] for row in (0, 1)] == [["0", "1.000"], ["1", "1.000"]]
    assert not panel.ui.applyButton.enabled and not panel.ui.inputsSection.enabled
    panel.ui.installButton.click()
    assert (Path.home() / ".infnet/models/run.safetensors").is_file()
    panel.ui.installButton.click()
    assert panel.ui.outcomeLabel.text.count("Installed as “run”: choose it as model in Inf-Net Segmentation") == 1
    panel.ui.newRunButton.click()
    assert panel.ui.initialSelector.findText("run") >= 0, "another training may start from it"
    assert panel.ui.outputFolderLine.currentPath == str(tmp_path / "run-2")
    assert panel.ui.applyButton.enabled and panel.ui.inputsSection.enabled
    assert panel.ui.epochsBox.value == 5


def test_stop_and_resume(openReadyPanel, host):
    panel = openReadyPanel("stop")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.progressBar.maximum == 100 and panel.ui.progressBar.value > 0)
    assert panel.ui.applyButton.text == "Stop"
    assert "up to 3.4 GB of GPU memory" in panel.ui.stageLabel.text
    assert "writing a checkpoint" in panel.ui.applyButton.toolTip
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.applyButton.text == "Resume")
    assert "Resume goes on" in panel.ui.stageLabel.text
    assert panel.ui.applyButton.toolTip.startswith("Go on from the last checkpoint")
    run(panel, host)


def test_a_stop_that_fails_is_told(openReadyPanel, host, monkeypatch):
    import slicer

    panel = openReadyPanel("stop")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.progressBar.value > 0)
    told = []
    with monkeypatch.context() as patch:
        patch.setattr(slicer.app, "testingEnabled", lambda: False, raising=False)
        patch.setattr(slicer.util, "errorDisplay", lambda text, **more: told.append(text))
        patch.setattr(panel.logic, "stop", lambda *_, **__: Path("/no such folder/stop").touch())
        panel.ui.applyButton.click()
    assert "could not be stopped" in told[0] and "no such folder" in told[0]
    shownError(host)


def test_a_run_that_does_not_stop_can_be_ended(openReadyPanel, host):
    panel = openReadyPanel("ignore-stop")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.progressBar.value > 0)
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "End now"
    assert "up to five minutes of training are lost" in panel.ui.applyButton.toolTip
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
    assert panel.ui.outputFolderLine.currentPath == str(tmp_path / "run"), "it is not looked for in vain"
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


def test_a_run_folder_that_was_deleted_or_filled_meanwhile_is_looked_at_anew(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("success")
    run(panel, host)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    panel.enter()
    assert panel.ui.applyButton.text == "Start" and panel.ui.applyButton.enabled and not panel.ui.stageLabel.text
    assert not panel.ui.outcomeSection.visible
    (tmp_path / "elsewhere").rename(tmp_path / "run")
    panel.enter()
    assert panel._run.status.state == "finished" and not panel.ui.applyButton.enabled


def test_what_was_chosen_is_not_replaced_by_the_last_run(openReadyPanel, openPanel, host, tmp_path):
    panel = openReadyPanel("success")
    run(panel, host)
    panel.ui.newRunButton.click()
    openPanel.opened.remove(panel)
    host.closeModule(panel)
    panel = openPanel("success")
    assert panel.ui.outputFolderLine.currentPath == str(tmp_path / "run-2"), "the scene's parameters are there still"
    panel.ui.outputFolderLine.currentPath = str(tmp_path / "run")
    import slicer

    volumeNode = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.int16), name="CT")
    panel.addCase(volumeNode, None)
    assert panel.ui.caseList.count == 1 and panel.ui.inputsSection.enabled, "of a training to come"
    assert panel.ui.outputFolderLine.currentPath == str(tmp_path / "run-2")


def test_a_run_that_is_passed_while_a_path_is_typed_leaves_what_was_chosen(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("success")
    panel.ui.epochsBox.value = 5
    run(panel, host)
    panel.ui.newRunButton.click()
    panel.ui.epochsBox.value = 9
    panel.ui.labelledFolderLine.currentPath = str(tmp_path / "data/unlabelled")
    for name in ("run-", "run", "run-b", "run-best"):  # from run-2
        panel.ui.outputFolderLine.currentPath = str(tmp_path / name)
        if name == "run":
            assert panel.ui.epochsBox.value == 5 and not panel.ui.inputsSection.enabled
    config = panel.logic.getParameterNode().config()
    assert (config.epochs, config.labelledFolder) == (9, str(tmp_path / "data/unlabelled"))
    assert config.outputFolder == panel.ui.outputFolderLine.currentPath == str(tmp_path / "run-best")
    assert panel.ui.applyButton.enabled and panel.ui.inputsSection.enabled


def test_a_folder_that_may_not_be_looked_into_is_passed_too(openReadyPanel, host, tmp_path, monkeypatch):
    """As another user's, while a path is typed."""
    panel = openReadyPanel("success")
    stat = os.stat

    def refuse(path, *arguments, **more):
        if Path(path).parent == tmp_path / "others":
            raise PermissionError(13, "Permission denied")
        return stat(path, *arguments, **more)

    (tmp_path / "others").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        patch.setattr(Path, "read_text", lambda path, **_: refuse(path))
        for line in (panel.ui.labelledFolderLine, panel.ui.outputFolderLine):
            line.currentPath = str(tmp_path / "others")
    assert not panel.ui.applyButton.enabled and "labelled slices" in panel.ui.applyButton.toolTip
    panel.ui.labelledFolderLine.currentPath = str(tmp_path / "data/labelled")
    assert panel.ui.applyButton.enabled


def test_a_run_that_is_begun_in_a_terminal_is_followed(openReadyPanel, host, tmp_path):
    """The script says itself, in process.json, that it follows a training."""
    panel = openReadyPanel("success")
    panel.ui.hostLine.text = "user@gpu"
    panel.ui.saveSshButton.click()
    assert panel.ui.applyButton.text == "Resume"
    progress = '{"event": "started"}\n{"event": "progress", "time": 1, "stage": "training", "done": 3, "total": 9}\n'
    (tmp_path / "run/progress.jsonl").write_text(progress, encoding="utf-8")
    (tmp_path / "run/process.json").write_text('{"pid": 0, "started": "", "host": "ssh user@gpu"}', encoding="utf-8")
    host.waitUntil(lambda: panel.ui.applyButton.text == "Stop")
    assert panel.ui.progressBar.value == 3
    (tmp_path / "run/process.json").unlink()  # as when the script ends
    host.waitUntil(lambda: panel.ui.applyButton.text == "Resume")


def test_a_failed_run_tells_its_true_cause(openReadyPanel, host):
    panel = openReadyPanel("error")
    run(panel, host, until="failed")
    assert panel.ui.stageLabel.text == "Failed: Slice 7 is damaged (“Extra slices”)."
    assert "Slice 7 is damaged (--extra)." in panel.ui.logText.plainText
    assert panel.ui.applyButton.text == "Resume"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "The device 'cuda:7' is not available here; use --device auto or cpu.",
            "The device 'cuda:7' is not available here; use “Automatic” or “Processor (CPU)” as device.",
        ),
        (
            "The training has diverged. Begin again with less than a learning rate of 1, or --precision 32.",
            "The training has diverged. Begin again with less than a learning rate of 1, or “float32” as precision.",
        ),
        ("It needs two or more (--k, --rounds).", "It needs two or more (“K”, “Rounds”)."),
        ("training needs two or more (--healthy-share?).", "training needs two or more."),
        (
            "Export it with its rescale slope; if it is right as it is, insist with --trust-hu (infnet segment).",
            "Export it with its rescale slope.",
        ),
        ("/data/a--k/1.png: (60, 72), but its slice is (72, 60).",) * 2,
    ],
)
def test_errors_of_the_backend_name_the_controls_of_the_panel(module, message, told):
    from InfNetTrainingLib.PanelWords import inPanelWords

    assert inPanelWords(message) == told


def chooseSemiSupervised(panel, tmp_path):
    panel.ui.unlabelledFolderLine.currentPath = str(tmp_path / "data/unlabelled")
    choose(panel.ui.kindSelector, "Semi-supervised (Algorithm 1)")


def column(panel, number):
    table = panel.ui.reviewTable
    return [table.item(row, number).text() for row in range(table.rowCount)]


def test_a_run_pauses_for_a_look_at_each_round(openReadyPanel, host, tmp_path, monkeypatch):
    import slicer

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
    # No training begins without what was edited and not kept, unseen.
    panel.ui.reviewTable.selectRow(1)
    volumeNode = slicer.util.getNode("1 (slice)")
    (segmentationNode,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    segment = np.zeros_like(slicer.util.arrayFromVolume(volumeNode), np.uint8)
    segment[0, 6] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(segment, segmentationNode, "Infection", volumeNode)
    questions = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: questions.append(text) or True)
    run(panel, host)
    assert len(questions) == 1 and "“1” was edited" in questions[0]
    kept = np.asarray(Image.open(tmp_path / "run/corrections/1.png"))
    assert np.array_equal(kept > 0, segment[0] > 0)


def test_pseudo_labels_are_shown_rejected_and_corrected(openReadyPanel, host, tmp_path, monkeypatch):
    import slicer
    from InfNetTrainingLib import ReviewPanel

    panel = openReadyPanel("success")
    chooseSemiSupervised(panel, tmp_path)
    panel.ui.pauseBox.checked = True
    for rounds in range(1, 4):
        panel.ui.applyButton.click()
        host.waitUntil(
            lambda rounds=rounds: panel.ui.roundSelector.count == rounds and panel._run.status.state == "stopped"
        )
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

    # A round that is looked at stays when there is a newer one.
    panel.ui.roundSelector.currentIndex = 1
    for name in ("Imgs", "Soft"):
        shutil.copytree(tmp_path / "run/round-003" / name, tmp_path / "run/round-004" / name)
    panel._review.show(tmp_path / "run", panel._run.status)
    assert panel.ui.roundSelector.count == 4 and panel.ui.roundSelector.currentText == "round-002"

    # Another round's pseudo-label of the slice is shown when that round is chosen.
    panel.ui.reviewTable.selectRow(0)
    Image.fromarray(np.zeros_like(image)).save(tmp_path / "run/round-001/Soft/0.png")
    assert slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, "Infection", volumeNode).any()
    panel.ui.roundSelector.currentIndex = 0
    panel.ui.roundSelector.activated.emit(0)
    assert not slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, "Infection", volumeNode).any()

    # When nothing more is trained, no click pretends to change what is trained on.
    run(panel, host)
    panel.ui.reviewTable.selectRow(1)
    for name in ("reject", "edit", "keepCorrection", "withdraw"):
        button = getattr(panel.ui, f"{name}Button")
        assert not button.enabled and "would change nothing" in button.toolTip
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


def test_the_line_above_the_bar_says_which_dice_it_is(module):
    """A network for the findings has none of infection as a whole."""
    from InfNetTrainingLib.RunPanel import _sentence
    from InfNetTrainingLib.RunState import RUNNING, TrainingStatus

    status = TrainingStatus(RUNNING, "fold 1")
    for column, title in (("dice", "Dice"), ("consolidation_dice", "Dice of consolidation")):
        told = _sentence(status, {"fold-0": {column: [(1, 0.25), (3, 0.5)]}})
        assert told == f"Training without the held-out slices, held-out {title} 0.50 after epoch 3"


def test_curves_that_are_asked_for_too_early_come_when_there_are_losses(openReadyPanel, host):
    import slicer

    panel = openReadyPanel("stop")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.progressBar.value > 0)
    panel.ui.curveButton.click()
    value = panel.ui.progressBar.value
    host.waitUntil(lambda: panel.ui.progressBar.value > value)  # it is not wiped away at the next look
    assert "no curves yet" in panel.ui.stageLabel.text
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.applyButton.text == "Resume")
    assert not slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    run(panel, host)
    assert slicer.util.getNodesByClass("vtkMRMLPlotChartNode") and "curves" not in panel.ui.stageLabel.text


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
    assert panel.ui.caseList.item(0).text() == "CT: Drawn (Infection as infection or ground glass (label 1))"
    panel.ui.makeLabelledButton.click()
    assert not panel.ui.inputsSection.enabled and not panel.ui.outputFolderLine.enabled
    host.waitUntil(lambda: not panel.logic.preparing)
    assert panel.ui.labelledFolderLine.currentPath == str(tmp_path / "run-labelled")
    assert panel.ui.inputsSection.enabled and panel.ui.stageLabel.text.startswith("1 labelled slices were made")
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
    buttons = panel.ui.copyCommandButton, panel.ui.saveSlurmButton
    labelled = panel.ui.labelledFolderLine.currentPath
    panel.ui.labelledFolderLine.currentPath = str(tmp_path / "nothing")
    assert not any(button.enabled for button in buttons), "no command for nothing"
    assert "labelled slices" in panel.ui.copyCommandButton.toolTip
    panel.ui.labelledFolderLine.currentPath = labelled
    assert all(button.enabled for button in buttons) and "Import weights" in panel.ui.copyCommandButton.toolTip
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
    from InfNetSegmentationLib.Remedies import unwrapped

    panel = openReadyPanel("success")
    run(panel, host)
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: str(tmp_path / "out.zip"))
    panel.ui.exportButton.click()
    assert f"Exported to {tmp_path / 'out.zip'}" in unwrapped(panel.ui.outcomeLabel.text)
    assert installModel(tmp_path / "out.zip").name == "run.json"


def test_a_folder_of_a_newer_version_is_told(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("success")
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer/training.json").write_text(json.dumps({"format": 99}), encoding="utf-8")
    panel.ui.outputFolderLine.currentPath = str(tmp_path / "newer")
    assert not panel.ui.applyButton.enabled
    assert "newer version" in panel.ui.stageLabel.text


def test_a_folder_of_something_else_is_told_before_the_slices_are_looked_at(openReadyPanel, tmp_path):
    panel = openReadyPanel("success")
    assert not panel.ui.newRunButton.enabled
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/text.txt").write_text("mine", encoding="utf-8")
    panel.ui.outputFolderLine.currentPath = str(tmp_path / "thesis")
    assert not panel.ui.applyButton.enabled and "something else" in panel.ui.applyButton.toolTip
    panel.ui.newRunButton.click()
    assert panel.ui.outputFolderLine.currentPath == str(tmp_path / "thesis-2") and panel.ui.applyButton.enabled


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


def test_a_case_that_was_deleted_is_none(openReadyPanel):
    """Be it chosen in the selectors or not."""
    import slicer

    panel = openReadyPanel("success")
    for name in ("first", "second"):
        volumeNode = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.int16), name=name)
        panel.ui.caseVolumeSelector.setCurrentNode(volumeNode)
        panel.ui.addCaseButton.click()
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("first"))
    assert panel.ui.caseList.count == 1 and panel.ui.caseList.item(0).text() == "second: without labels"
    panel.ui.caseVolumeSelector.setCurrentNode(None)
    slicer.mrmlScene.RemoveNode(volumeNode)
    assert panel.ui.caseList.count == 0 and not panel.ui.makeUnlabelledCasesButton.enabled


def test_a_run_in_a_drive_itself_gets_a_folder_in_it(openReadyPanel, tmp_path):
    """Which has no name that a number could be added to."""
    from InfNetTrainingLib.TrainingParameters import unusedFolder

    panel = openReadyPanel("success")
    panel.ui.outputFolderLine.currentPath = "/"
    assert panel.ui.newRunButton.enabled and "“New run”" in panel.ui.applyButton.toolTip
    panel.ui.newRunButton.click()
    assert panel.ui.outputFolderLine.currentPath == "/InfNet-training"
    assert unusedFolder(Path("/"), "-labelled") == Path("/InfNet-training-labelled")
    assert unusedFolder(tmp_path / "data", "-2") == tmp_path / "data-2"


def test_a_path_that_is_no_paths_is_passed(openReadyPanel, tmp_path):
    """As a text that was pasted into the line."""
    panel = openReadyPanel("success")
    panel.ui.labelledFolderLine.currentPath = str(tmp_path / (300 * "x"))
    assert not panel.ui.applyButton.enabled and "labelled slices" in panel.ui.applyButton.toolTip


def pausedRun(panel, host, tmp_path):
    chooseSemiSupervised(panel, tmp_path)
    panel.ui.pauseBox.checked = True
    run(panel, host, until="stopped")


def test_a_deleted_segment_does_not_say_that_the_slice_is_healthy(openReadyPanel, host, tmp_path):
    """Whoever draws anew, into another segment with a name, is understood."""
    import slicer

    panel = openReadyPanel("success")
    pausedRun(panel, host, tmp_path)
    panel.ui.reviewTable.selectRow(1)
    volumeNode = slicer.util.getNode("1 (slice)")
    (segmentationNode,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    segmentation = segmentationNode.GetSegmentation()
    segmentation.RemoveSegment("Infection")
    panel.ui.keepCorrectionButton.click()
    assert "was deleted" in shownError(host) and not (tmp_path / "run/corrections").exists()
    segmentID = segmentation.AddEmptySegment("", "infected")
    drawn = np.zeros_like(slicer.util.arrayFromVolume(volumeNode), np.uint8)
    drawn[0, 4:7] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, segmentationNode, segmentID, volumeNode)
    panel.ui.keepCorrectionButton.click()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "run/corrections/1.png")) > 0, drawn[0] > 0)


def test_another_run_is_shown_where_a_correction_of_the_last_one_cannot_be_kept(
    openReadyPanel, host, tmp_path, monkeypatch
):
    import slicer

    panel = openReadyPanel("success")
    pausedRun(panel, host, tmp_path)
    panel.ui.reviewTable.selectRow(1)
    (segmentationNode,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    segmentationNode.GetSegmentation().RemoveSegment("Infection")
    shutil.rmtree(tmp_path / "run")
    told = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: True)
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **more: told.append(text))
    with monkeypatch.context() as patch:
        patch.setattr(slicer.app, "testingEnabled", lambda: False, raising=False)
        panel.ui.outputFolderLine.currentPath = str(tmp_path / "other")
    assert len(told) == 1 and "could not be kept" in told[0]
    assert panel.ui.applyButton.text == "Start" and not panel.ui.reviewSection.visible


def test_a_run_whose_folder_was_moved_is_not_said_to_have_ended(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("stop")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.progressBar.value > 0)
    (tmp_path / "run").rename(tmp_path / "moved")
    host.waitUntil(lambda: panel._run.status.state == "interrupted")
    assert "is not there any more" in panel.ui.stageLabel.text and "memory" not in panel.ui.stageLabel.text
    panel.logic.stop(tmp_path / "moved", byForce=True)


@pytest.mark.parametrize("button", ["apply", "newRun"])
def test_a_run_that_was_deleted_is_noticed_when_it_shall_go_on(openReadyPanel, host, tmp_path, button):
    """And its folder can be had for another one."""
    panel = openReadyPanel("error")
    run(panel, host, until="failed")
    shutil.rmtree(tmp_path / "run")
    getattr(panel.ui, f"{button}Button").click()
    if button == "apply":
        assert "holds no training" in shownError(host)
    assert panel.ui.applyButton.text == "Start" and panel.ui.applyButton.enabled and panel.ui.inputsSection.enabled
    assert panel.ui.outputFolderLine.currentPath == str(tmp_path / "run") and not panel.ui.stageLabel.text
