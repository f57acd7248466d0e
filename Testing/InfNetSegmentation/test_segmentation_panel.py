"""The panel, driven as a person would, on the scripted fake backend."""

import logging
import subprocess
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def openPanel(host, module, fakeBackend, monkeypatch):
    """Opens the module's panel; runs follow a scenario of the fake backend."""
    opened = []

    def openWith(scenario):
        logicClass = partial(module.InfNetSegmentationLogic, fakeBackend(scenario))
        monkeypatch.setattr(module.InfNetSegmentationWidget, "logicClass", logicClass)
        widget = host.openModule(module)
        opened.append(widget)
        return widget

    yield openWith
    for widget in opened:
        host.closeModule(widget)


def segmentations():
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def test_every_control_has_a_tooltip(openPanel):
    import qt

    panel = openPanel("success")
    controls = [
        widget
        for widget in vars(panel.ui).values()
        if not isinstance(widget, qt.QLayout) and not widget.name.startswith("qt_")
    ]
    assert len(controls) > 10
    assert [widget.name for widget in controls if not widget.toolTip and "Layout" not in widget.name] == [
        "InfNetSegmentation"
    ]


def test_long_texts_are_seen_whole_in_a_narrow_panel(openPanel):
    """Be they changed while the panel is shown, and have they words that are longer than a line."""
    from InfNetSegmentationLib.Models import ModelChoice
    from slicerhost.labels import ScrolledPanel

    panel = openPanel("success")
    scrolled = ScrolledPanel(panel)
    path = "C:\\" + 12 * "StudiesOfThisYear\\" + 40 * "long" + ".nrrd"
    texts = [count * "Trained here. " for count in (20, 60, 10, 40)] + [f"/home/{path}/{path}", path, ""]
    panel._modelPanel._choices += [ModelChoice(text, text, text, 0.5) for text in texts]
    for width in (430, 600):
        assert scrolled.unreadableLabels(width) == []
        for text in texts:
            panel._parameterNode.infectionModel = text
            assert panel.ui.modelDescriptionLabel.text.replace("\u200b", "") == text or text == ""
            panel._showError(text)
            assert scrolled.unreadableLabels(width) == [], text


def test_apply_waits_for_a_ct(openPanel, addCT):
    panel = openPanel("success")
    assert not panel.ui.applyButton.enabled
    volumeNode = addCT()
    panel.ui.inputVolumeSelector.setCurrentNode(volumeNode)
    assert panel.ui.applyButton.enabled
    slicer.mrmlScene.RemoveNode(volumeNode)
    assert not panel.ui.applyButton.enabled


def test_the_ct_that_is_loaded_is_selected(openPanel, addCT):
    for other in ("vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode"):
        slicer.mrmlScene.AddNewNodeByClass(other)
    volumeNode = addCT()
    panel = openPanel("success")
    assert panel.ui.inputVolumeSelector.currentNode() is volumeNode


def test_a_ct_that_is_loaded_later_is_selected_when_the_panel_is_entered(openPanel, addCT):
    panel = openPanel("success")
    volumeNode = addCT()
    assert panel.ui.inputVolumeSelector.currentNode() is None
    panel.enter()
    assert panel.ui.inputVolumeSelector.currentNode() is volumeNode
    addCT(name="another")
    panel.enter()
    assert panel.ui.inputVolumeSelector.currentNode() is volumeNode


def test_apply_leads_to_segments_table_and_log(openPanel, addCT, host, labelsOf, fakeLabels):
    volumeNode = addCT()
    panel = openPanel("success")
    panel.parent.show()
    assert panel.ui.applyButton.text == "Apply"
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Cancel"
    assert panel.ui.progressBar.visible and not panel.ui.inputsSection.enabled
    host.waitUntil(lambda: not panel.logic.running)
    assert panel.ui.applyButton.text == "Apply" and panel.ui.applyButton.enabled
    assert not panel.ui.progressBar.visible and panel.ui.inputsSection.enabled
    segmentationNode = slicer.util.getNode("CT infection")
    assert panel.ui.outputSegmentationSelector.currentNode() is segmentationNode
    np.testing.assert_array_equal(labelsOf(segmentationNode, volumeNode), fakeLabels(volumeNode))
    assert panel.ui.resultsSection.visible
    assert panel.ui.resultsSection.text == "Results of CT"
    assert panel.ui.warningsLabel.visible and panel.ui.warningsLabel.text == "thick slices"
    table = panel.ui.resultTable
    assert (table.rowCount, table.columnCount) == (9, 5)
    assert [table.verticalHeaderItem(row).text() for row in (0, 8)] == ["Right upper lobe", "Total"]
    assert [table.item(0, column).text() for column in range(5)] == [
        "2000",
        "150.0\n7.5 %",
        "50.0\n2.5 %",
        "200.0\n10.0 %",
        "2",
    ]
    assert table.item(8, 4).text() == ""
    summary = panel.ui.summaryLabel.text
    assert "CT severity score 10 of 25" in summary and "Lobes: atlas" in summary and "approximate" in summary
    assert panel.ui.logText.plainText.splitlines() == ["Warning: thick slices", "a line that is not JSON"]


def test_the_views_show_the_ct_in_a_lung_window_unless_one_was_chosen(openPanel, addCT, host):
    volumeNode, other = addCT(), addCT(name="another")
    other.GetDisplayNode().SetAutoWindowLevel(False)
    other.GetDisplayNode().SetWindowLevel(350, 50)
    panel = openPanel("success")
    for node, window in ((volumeNode, (1500, -600)), (other, (350, 50))):
        panel.ui.inputVolumeSelector.setCurrentNode(node)
        panel.ui.outputSegmentationSelector.setCurrentNode(None)
        panel.ui.applyButton.click()
        host.waitUntil(lambda: not panel.logic.running)
        assert slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID() == node.GetID()
        assert (node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) == window


def test_results_of_another_ct_are_not_shown(openPanel, addCT, host):
    addCT()
    panel = openPanel("success")
    panel.parent.show()
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert panel.ui.resultsSection.visible
    panel.ui.inputVolumeSelector.setCurrentNode(addCT(name="another"))
    assert not panel.ui.resultsSection.visible


def test_a_result_that_cannot_be_imported_leaves_the_panel_usable(openPanel, addCT, host, monkeypatch):
    import InfNetSegmentationLib.SegmentationResult as segmentationResult

    addCT()
    panel = openPanel("success")
    monkeypatch.setattr(segmentationResult, "fillTableNode", lambda *arguments: 1 / 0)
    numberOfNodes = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert "could not be imported: ZeroDivisionError" in panel.ui.logText.plainText
    assert panel.ui.applyButton.text == "Apply" and panel.ui.applyButton.enabled and panel.ui.inputsSection.enabled
    assert slicer.mrmlScene.GetNumberOfNodes() == numberOfNodes
    assert "could not be imported: ZeroDivisionError" in panel.ui.errorLabel.text and panel.ui.errorLabel.text


def test_the_panel_tells_what_the_first_run_will_install(openPanel, monkeypatch):
    import InfNetSegmentationLib.Dependencies as dependencies

    panel = openPanel("success")
    panel.parent.show()
    assert not panel.ui.firstUseLabel.visible
    installed = dependencies._installedVersion
    monkeypatch.setattr(
        dependencies, "_installedVersion", lambda package: None if package in ("torch", "timm") else installed(package)
    )
    panel.enter()
    label = panel.ui.firstUseLabel
    assert label.visible and "lacks: torch, timm." in label.text and "5 GB" in label.text


def test_openvino_is_offered_where_it_is_missing_and_installed_on_a_click_alone(openPanel, host, monkeypatch):
    import InfNetSegmentationLib.Dependencies as dependencies
    import InfNetSegmentationLib.Widget as widgetModule

    installed, missing, asked = dependencies._installedVersion, {"openvino"}, []
    monkeypatch.setattr(dependencies, "_installedVersion", lambda name: None if name in missing else installed(name))
    panel = openPanel("success")
    panel.parent.show()
    panel.ui.advancedSection.collapsed = False
    button = panel.ui.fasterButton
    assert button.visible and not panel.ui.firstUseLabel.visible

    def decline(path, requester):
        asked.append(Path(path).name)
        raise RuntimeError("declined")

    monkeypatch.setattr(widgetModule, "ensurePackages", decline)
    button.click()
    assert asked == ["InfNetOpenVINORequirements.txt"] and button.visible
    (error,) = host.errors
    host.errors.clear()
    assert "declined" in error
    monkeypatch.setattr(widgetModule, "ensurePackages", lambda path, requester: missing.clear())
    button.click()
    assert not button.visible
    missing.add("torch")  # first things first
    missing.add("openvino")
    panel.enter()
    assert not button.visible and panel.ui.firstUseLabel.visible


def test_settings_reach_the_backend_and_the_scene(openPanel, addCT, host):
    from infnet.inference.case import Settings as BackendSettings
    from InfNetSegmentationLib.Scene import provenance

    addCT()
    panel = openPanel("success")
    panel.ui.thresholdSlider.value = 0.35
    panel.ui.minimumLesionSlider.value = 0.01
    assert panel.ui.smoothingBox.value == BackendSettings().smoothing_mm
    panel.ui.smoothingBox.value = 2.5
    panel.ui.deviceSelector.currentIndex = panel.ui.deviceSelector.count - 1
    panel.ui.lobeSourceSelector.currentIndex = 4
    panel.ui.precisionSelector.currentIndex = 2
    assert panel.ui.precisionSelector.currentText == "bfloat16"
    assert panel.ui.mirrorImagesSelector.currentText == str(BackendSettings().mirror_images)
    panel.ui.mirrorImagesSelector.currentIndex = 1
    assert panel.logic.getParameterNode().lobeSource == "zones"
    assert panel.logic.getParameterNode().threshold == pytest.approx(0.35)
    assert panel.logic.getParameterNode().device == "cpu"
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    told = provenance(slicer.util.getNode("CT infection"))
    assert (told["threshold"], told["lobes"]) == (pytest.approx(0.35), "zones")
    assert (told["precision"], told["mirror_images"]) == ("bf16", 2)
    assert told["minimum_lesion_ml"] == pytest.approx(0.01)
    assert told["smoothing_mm"] == pytest.approx(2.5)
    # The result tells its own settings, whatever the panel is set to for the next run.
    panel.ui.smoothingBox.value = 0
    told = "Averaged across slices: 2.5 mm · mirror images: 2 · lesions from 0.01 mL"
    assert panel.ui.summaryLabel.text.endswith(told)
    panel.ui.minimumLesionSlider.value = 0
    panel.ui.mirrorImagesSelector.currentIndex = 0
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert provenance(slicer.util.getNode("CT infection"))["smoothing_mm"] == 0
    assert panel.ui.summaryLabel.text.endswith("Each slice by itself")
    panel.ui.undoButton.click()
    assert panel.ui.summaryLabel.text.endswith(told)


def test_settings_come_back_with_the_scene(openPanel, addCT, host, tmp_path):
    addCT()
    panel = openPanel("success")
    default = panel.ui.thresholdSlider.value
    panel.ui.thresholdSlider.value = 0.65
    panel.ui.smoothingBox.value = 0
    panel.logic.getParameterNode().device = "cuda:7"  # a card of another computer
    panel.ui.lobeSourceSelector.currentIndex = 5
    panel.ui.precisionSelector.currentIndex = 1
    panel.ui.mirrorImagesSelector.currentIndex = 2
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "chest")
    panel.ui.regionOfInterestSelector.setCurrentNode(region)
    assert panel.ui.deviceSelector.currentText == "cuda:7"
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path), {})
    host.clearScene()
    assert (panel.ui.thresholdSlider.value, panel.ui.deviceSelector.currentText) == (default, "Automatic")
    assert panel.ui.lobeSourceSelector.currentIndex == panel.ui.precisionSelector.currentIndex == 0
    assert panel.ui.smoothingBox.value == 4
    assert panel.ui.regionOfInterestSelector.currentNode() is None
    assert panel.ui.inputVolumeSelector.currentNode() is None
    slicer.util.loadScene(str(path), {})
    assert panel.ui.thresholdSlider.value == pytest.approx(0.65)
    assert panel.ui.smoothingBox.value == 0
    assert panel.ui.deviceSelector.currentText == panel.logic.getParameterNode().device == "cuda:7"
    assert panel.ui.lobeSourceSelector.currentIndex == 5
    assert panel.ui.precisionSelector.currentText == "Automatic"
    assert panel.logic.getParameterNode().mirrorImages == 1 and panel.ui.mirrorImagesSelector.currentText[0] == "1"
    assert panel.ui.regionOfInterestSelector.currentNode().GetName() == "chest"
    assert panel.ui.inputVolumeSelector.currentNode().GetName() == "CT"


@pytest.mark.parametrize(
    ("scenario", "cause"),
    [("error", "No lung was found in ct.nrrd."), ("crash", "something broke deep inside")],
)
def test_a_failed_run_tells_its_true_cause(openPanel, addCT, host, caplog, scenario, cause):
    addCT()
    panel = openPanel(scenario)
    with caplog.at_level(logging.ERROR):
        panel.ui.applyButton.click()
        host.waitUntil(lambda: not panel.logic.running)
    assert cause in caplog.text  # slicer.util.errorDisplay
    assert cause in panel.ui.logText.plainText
    assert not panel.ui.logSection.collapsed
    assert cause in panel.ui.errorLabel.text
    assert len(panel.ui.errorLabel.text.split("\n\n")) == 2, "the cause, and the remedy"
    assert panel.ui.applyButton.text == "Apply" and panel.ui.applyButton.enabled
    assert not segmentations()


def test_an_error_is_copied_as_it_was_told(openPanel):
    """Without the marks where the label may break its long words, which nobody sees and no search finds."""
    import qt

    panel = openPanel("success")
    text = "C:\\Studies\\" + 40 * "long" + ".nrrd: cannot be read.\n\nCopy it again."
    panel._showError(text)
    label = panel.ui.errorLabel
    assert label.text != text
    assert label.contextMenuPolicy == qt.Qt.ActionsContextMenu
    (action,) = label.actions()
    assert action.text == "Copy"
    action.trigger()
    assert qt.QApplication.clipboard().text() == text
    assert not label.textInteractionFlags & qt.Qt.TextSelectableByMouse, "a selection is copied with the marks"


def test_a_new_region_of_interest_is_the_whole_ct_and_what_is_left_of_it_is_read(openPanel, addCT, host):
    volumeNode = addCT()
    panel = openPanel("success")
    region = panel.ui.regionOfInterestSelector.addNode()
    bounds, expected = np.zeros(6), np.zeros(6)
    region.GetRASBounds(bounds)
    volumeNode.GetRASBounds(expected)
    np.testing.assert_allclose(bounds, expected)
    region.SetSizeWorld(region.GetSize()[0], region.GetSize()[1], 7.6)  # three slices of 2.5 mm
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert "was read (11 × 9 × 3 of 11 × 9 × 7 voxels)" in panel.ui.warningsLabel.text  # noqa: RUF001


@pytest.mark.parametrize("name", ["zz.dcm", "009.dcm"], ids=["missing", "last"])
def test_dicom_slices_that_slicer_has_chosen_by_their_names_are_looked_at(openPanel, host, tmp_path, monkeypatch, name):
    """As a folder that is dropped on Slicer's window may be loaded: first a good one, then its first slice renamed."""
    monkeypatch.syspath_prepend(REPOSITORY / "Testing/infnet")
    import phantoms

    image = sitk.GetImageFromArray(np.random.default_rng(1).integers(-1000, 300, (7, 9, 11)).astype(np.int16))
    phantoms.write_dicom_series(image, tmp_path / "series")
    files = sorted((tmp_path / "series").iterdir())
    panel = openPanel("success")
    panel.parent.show()
    for number in (0, 1):
        panel.ui.inputVolumeSelector.setCurrentNode(slicer.util.loadVolume(str(files[0]), {"name": f"CT {number}"}))
        panel.ui.applyButton.click()
        host.waitUntil(lambda: not panel.logic.running)
        assert panel.ui.resultsSection.visible == (number == 0)
        files[0].rename(files[0].with_name(name))
        files = sorted((tmp_path / "series").iterdir())
    error = panel.ui.errorLabel.text
    assert "The slices of “CT 1” are not all there, or not in their order" in error and "DICOM module" in error


def test_a_region_of_interest_beside_the_ct_is_told(openPanel, addCT, host):
    addCT()
    panel = openPanel("success")
    panel.ui.regionOfInterestSelector.addNode().SetCenterWorld(1000, 0, 0)
    panel.ui.applyButton.click()
    assert not panel.logic.running and panel.ui.applyButton.text == "Apply"
    (error,) = host.errors
    assert "holds no voxel of “CT”. Move the region" in error
    host.errors.clear()


def test_the_tabulator_key_goes_from_the_top_to_the_bottom(openPanel, addCT, makeResult):
    """Through all that can be chosen, as it is seen."""
    import qt

    result = makeResult(addCT())
    panel = openPanel("success")
    panel.ui.outputSegmentationSelector.setCurrentNode(result.segmentationNode)
    for section in ("advancedSection", "changeSection", "logSection"):
        getattr(panel.ui, section).collapsed = False
    panel.parent.resize(420, 3000)
    panel.parent.show()
    first = panel.ui.inputVolumeSelector
    places, widget = [], first.nextInFocusChain()
    while widget is not first:
        if widget.isVisible() and widget.focusPolicy & qt.Qt.TabFocus and panel.parent.isAncestorOf(widget):
            places.append((widget.mapTo(panel.parent, qt.QPoint(0, 0)), widget))
        widget = widget.nextInFocusChain()
    assert len(places) > 25
    for (place, widget), (nextPlace, nextWidget) in pairwise(places):
        inOneRow = nextPlace.y() < place.y() + widget.height and place.y() < nextPlace.y() + nextWidget.height
        assert nextPlace.x() > place.x() if inOneRow else nextPlace.y() > place.y(), (widget.name, nextWidget.name)


def test_cancel_ends_the_run_and_leaves_the_scene_alone(openPanel, addCT, host, caplog):
    addCT()
    panel = openPanel("stop")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.progressBar.maximum == 100)
    assert panel.ui.progressBar.value == 1
    assert panel.ui.stageLabel.text == "Finding the infection"
    panel.ui.applyButton.click()
    assert not panel.ui.applyButton.enabled, "a second click must not start another run"
    host.waitUntil(lambda: not panel.logic.running)
    assert panel.ui.applyButton.text == "Apply" and panel.ui.applyButton.enabled
    assert "Cancelled." in panel.ui.logText.plainText
    assert not segmentations()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_cancel_at_once_while_the_ct_is_written(openPanel, addCT, host):
    """Before there is a process that could be stopped; and then the button starts a run again."""
    addCT()
    panel = openPanel("success")
    panel.ui.applyButton.click()
    panel.ui.applyButton.click()
    assert not panel.logic.running
    assert panel.ui.applyButton.enabled and panel.ui.applyButton.text == "Apply"
    assert panel.ui.inputsSection.enabled and not panel.ui.stageLabel.visible
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert len(segmentations()) == 2, "the findings and the lobes"


def test_the_ct_is_deleted_during_the_run(openPanel, addCT, host):
    volumeNode = addCT()
    panel = openPanel("stop")
    panel.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(volumeNode)
    host.waitUntil(lambda: not panel.logic.running)
    assert "“CT” was removed from the scene" in panel.ui.logText.plainText
    assert not segmentations()
    assert not panel.ui.applyButton.enabled


def test_the_output_is_deleted_during_the_run(openPanel, addCT, host, labelsOf, fakeLabels):
    volumeNode = addCT()
    panel = openPanel("success")
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    panel.ui.outputSegmentationSelector.setCurrentNode(segmentationNode)
    panel.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(segmentationNode)
    host.waitUntil(lambda: not panel.logic.running)
    newSegmentationNode = slicer.util.getNode("CT infection")
    np.testing.assert_array_equal(labelsOf(newSegmentationNode, volumeNode), fakeLabels(volumeNode))


def test_the_scene_is_closed_during_the_run(openPanel, addCT, host):
    addCT()
    panel = openPanel("stop")
    panel.ui.applyButton.click()
    host.clearScene()
    host.waitUntil(lambda: not panel.logic.running)
    assert "the scene was closed" in panel.ui.logText.plainText
    assert not segmentations()
    addCT()
    panel.ui.inputVolumeSelector.setCurrentNode(slicer.util.getNode("CT"))
    assert panel.ui.applyButton.enabled and panel.ui.applyButton.text == "Apply"


def test_closing_the_panel_ends_the_run(host, module, fakeBackend, addCT, monkeypatch):
    addCT()
    logicClass = partial(module.InfNetSegmentationLogic, fakeBackend("ignore-stop"))
    monkeypatch.setattr(module.InfNetSegmentationWidget, "logicClass", logicClass)
    panel = host.openModule(module)
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.logText.plainText)
    logic = panel.logic
    host.closeModule(panel)
    assert not logic.running


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        (None, "Install the extension “PyTorch”"),
        ("2.3.1+cpu", "2.3.1+cpu is installed, but Inf-Net needs version >=2.7"),
    ],
)
def test_missing_packages_are_told_before_anything_runs(openPanel, addCT, host, monkeypatch, version, remedy):
    """Without torch and without the PyTorch extension; with a torch that is too old."""
    import InfNetSegmentationLib.Dependencies as dependencies

    addCT()
    panel = openPanel("success")
    installed = dependencies._installedVersion
    monkeypatch.setattr(
        dependencies, "_installedVersion", lambda package: version if package == "torch" else installed(package)
    )
    monkeypatch.setattr(subprocess, "Popen", None)
    panel.ui.applyButton.click()
    assert not panel.logic.running
    (error,) = host.errors  # slicer.util.tryWithErrorDisplay shows it and raises it again
    assert remedy in error
    host.errors.clear()


def test_nothing_takes_the_place_of_a_deleted_node(openPanel, addCT):
    """Slicer's selectors go on to the next node of their list: another patient's lobes would be used unseen."""
    cts = [addCT(name="CT"), addCT(name="other CT")]
    lobes = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{node.GetName()} lobes") for node in cts]
    panel = openPanel("success")
    panel.ui.regionsSelector.setCurrentNode(lobes[0])
    slicer.mrmlScene.RemoveNode(lobes[0])
    assert panel.ui.regionsSelector.currentNode() is None
    slicer.mrmlScene.RemoveNode(cts[0])
    assert panel.ui.inputVolumeSelector.currentNode() is None
    assert not panel.ui.applyButton.enabled


def test_what_was_chosen_is_still_chosen_after_a_scene_was_added(openPanel, addCT, host, tmp_path):
    """Slicer's selectors list the nodes anew at that, and choose "None" meanwhile."""
    addCT(name="added CT")
    parameterNode = slicer.mrmlScene.GetSingletonNode("InfNetSegmentation", "vtkMRMLScriptedModuleNode")
    if parameterNode:  # of another test: the scene shall be one that was made without the module
        slicer.mrmlScene.RemoveNode(parameterNode)
    path = tmp_path / "added.mrb"
    assert slicer.util.saveScene(str(path), {})
    host.clearScene()
    addCT()
    chosen = addCT(name="chosen CT")
    lobes = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lobes")
    panel = openPanel("success")
    panel.ui.inputVolumeSelector.setCurrentNode(chosen)
    panel.ui.regionsSelector.setCurrentNode(lobes)
    slicer.util.loadScene(str(path), {"clear": False})
    assert slicer.util.getNode("added CT")
    assert panel.ui.inputVolumeSelector.currentNode() is chosen
    assert panel.ui.regionsSelector.currentNode() is lobes


def test_a_panel_can_be_made_by_itself(host, module):
    """As Slicer's base class allows: without a parent it calls `setup` from its own constructor."""
    panel = module.InfNetSegmentationWidget()
    assert not panel.ui.applyButton.enabled
    host.closeModule(panel)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "The device 'cuda:7' is not available here; use --device auto or cpu.",
            "The device 'cuda:7' is not available here.",
        ),
        (
            "ct.nrrd: Values from 0 to 9. Export it with its rescale slope; if it is right as it is, insist with "
            "--trust-hu (infnet segment, quantify).",
            "ct.nrrd: Values from 0 to 9. Export it with its rescale slope.",
        ),
        (
            "lungmask is not installed: pip install lungmask, or use the lobe atlas (--source atlas).",
            "lungmask is not installed: pip install lungmask, or use the lobe atlas.",
        ),
        ("There is not enough memory for one slice; close other programs.",) * 2,
        ("a.nrrd; b--c.nrrd: cannot be read. Copy it again.",) * 2,
    ],
)
def test_the_panel_does_not_tell_the_options_of_the_command_line(module, message, told):
    from InfNetSegmentationLib.Remedies import withoutOptions

    assert withoutOptions(message) == told
