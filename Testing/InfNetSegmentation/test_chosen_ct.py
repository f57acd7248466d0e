"""Two CTs in the scene: with the chosen one go its result, its lungs and what the views show."""

from functools import partial

import pytest
import slicer


@pytest.fixture
def openPanel(host, module, fakeBackend, monkeypatch):
    """Opens the panel on what the scene holds."""
    opened = []

    def openWith(scenario="success"):
        logicClass = partial(module.InfNetSegmentationLogic, fakeBackend(scenario))
        monkeypatch.setattr(module.InfNetSegmentationWidget, "logicClass", logicClass)
        opened.append(host.openModule(module))
        return opened[-1]

    yield openWith
    for panel in opened:
        host.closeModule(panel)


@pytest.fixture
def twoCTs(addCT):
    return addCT(name="A"), addCT(name="B")


def shownVolume():
    return slicer.mrmlScene.GetNodeByID(slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID())


def isShown(segmentationNode):
    return bool(segmentationNode.GetDisplayNode().GetVisibility())


def test_findings_of_another_ct_do_not_lie_over_the_one_that_is_shown(openPanel, twoCTs, makeResult, host):
    """Slicer shows every segmentation in every view: another patient's disease would be taken for this one's."""
    first, second = twoCTs
    result = makeResult(first)
    panel = openPanel()
    panel.ui.showLobesBox.click()
    assert isShown(result.segmentationNode) and isShown(result.regionsNode)
    panel.ui.inputVolumeSelector.setCurrentNode(second)
    assert shownVolume() is second
    assert not isShown(result.segmentationNode) and not isShown(result.regionsNode)
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    other = panel.ui.outputSegmentationSelector.currentNode()
    assert isShown(other) and not isShown(result.segmentationNode)
    panel.ui.inputVolumeSelector.setCurrentNode(first)
    assert shownVolume() is first
    assert isShown(result.segmentationNode) and not isShown(other)
    assert panel.ui.showOpacityBox.checked and panel.ui.resultsSection.text == "Results of A"


def test_one_result_of_a_ct_is_shown_at_a_time(openPanel, addCT, host):
    """As after a run with another model into a new segmentation: both would be seen as one."""
    addCT()
    panel = openPanel()
    ui, results = panel.ui, []
    for _time in range(2):
        ui.outputSegmentationSelector.setCurrentNode(None)
        ui.applyButton.click()
        host.waitUntil(lambda: not panel.logic.running)
        results.append(panel.logic.result(ui.outputSegmentationSelector.currentNode()))
        ui.showLobesBox.click()
    first, second = results

    def shown():
        return [isShown(node) for result in results for node in (result.segmentationNode, result.regionsNode)]

    assert shown() == [False, False, True, True]
    ui.outputSegmentationSelector.setCurrentNode(first.segmentationNode)
    assert shown() == [True, False, False, False]
    assert ui.showOpacityBox.checked and not ui.showLobesBox.checked
    ui.outputSegmentationSelector.setCurrentNode(None)  # for a third
    assert shown() == [True, False, False, False]
    ui.outputSegmentationSelector.setCurrentNode(second.segmentationNode)
    assert shown() == [False, False, True, False]


def test_a_correction_is_noticed_while_another_ct_is_chosen(openPanel, twoCTs, makeResult):
    results = [makeResult(node) for node in twoCTs]
    panel = openPanel()
    panel.parent.show()
    panel.ui.inputVolumeSelector.setCurrentNode(twoCTs[1])
    results[0].segmentationNode.GetSegmentation().RemoveSegment("Consolidation")
    assert not panel.ui.editedLabel.visible
    panel.ui.inputVolumeSelector.setCurrentNode(twoCTs[0])
    assert panel.ui.editedLabel.visible
    panel.ui.measureButton.click()
    assert not panel.ui.editedLabel.visible and not results[1].isEdited


def test_findings_of_a_ct_that_is_gone_do_not_lie_over_the_next_one(openPanel, twoCTs, makeResult, host):
    first, second = twoCTs
    left = makeResult(first).segmentationNode
    panel = openPanel()
    slicer.mrmlScene.RemoveNode(first)
    panel.ui.inputVolumeSelector.setCurrentNode(second)
    assert shownVolume() is second and not isShown(left)
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert panel.ui.outputSegmentationSelector.currentNode() is not left and not isShown(left)


def test_a_copy_of_a_result_is_not_overwritten_by_that_of_another_ct(openPanel, twoCTs, makeResult):
    """Slicer's “Clone” copies the segments, but not which CT they are of."""
    first, second = twoCTs
    result = makeResult(first)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = slicer.vtkSlicerSubjectHierarchyModuleLogic.CloneSubjectHierarchyItem(
        hierarchy, hierarchy.GetItemByDataNode(result.segmentationNode), None
    )
    panel = openPanel()
    ui = panel.ui
    ui.outputSegmentationSelector.setCurrentNode(hierarchy.GetItemDataNode(item))
    ui.inputVolumeSelector.setCurrentNode(second)
    assert ui.outputSegmentationSelector.currentNode() is None
    ui.inputVolumeSelector.setCurrentNode(first)
    assert ui.outputSegmentationSelector.currentNode() is result.segmentationNode


def test_lungs_of_another_ct_are_not_taken(openPanel, twoCTs, addCT, makeResult):
    panel = openPanel()
    ui = panel.ui
    lobes = [makeResult(node).regionsNode for node in twoCTs]
    unknown = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "of a file")
    ui.inputVolumeSelector.setCurrentNode(twoCTs[0])
    for node, kept in ((lobes[0], False), (unknown, False), (lobes[1], True)):
        ui.inputVolumeSelector.setCurrentNode(twoCTs[0])
        ui.regionsSelector.setCurrentNode(node)
        ui.inputVolumeSelector.setCurrentNode(twoCTs[1])
        assert ui.regionsSelector.currentNode() is (node if kept else None)
    ui.regionsSelector.setCurrentNode(unknown)
    slicer.mrmlScene.RemoveNode(twoCTs[1])
    assert ui.regionsSelector.currentNode() is None


def test_lungs_may_be_chosen_before_the_first_ct(openPanel, addCT):
    panel = openPanel()
    unknown = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "of a file")
    panel.ui.regionsSelector.setCurrentNode(unknown)
    panel.ui.inputVolumeSelector.setCurrentNode(addCT())
    assert panel.ui.regionsSelector.currentNode() is unknown


def test_the_ct_that_the_views_show_is_chosen_first(openPanel, twoCTs):
    from InfNetSegmentationLib.Views import showVolume

    showVolume(twoCTs[1])
    assert openPanel().ui.inputVolumeSelector.currentNode() is twoCTs[1]


def test_an_error_goes_with_its_scene(openPanel, addCT, host):
    addCT()
    panel = openPanel("error")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert panel.ui.errorLabel.text
    host.clearScene()
    assert not panel.ui.errorLabel.text and not panel.ui.errorLabel.visible


def test_a_region_of_interest_stays_with_its_ct(openPanel, twoCTs, host):
    """What was drawn on one patient would cut another's lungs anywhere, or hold none of them."""
    first, second = twoCTs
    panel = openPanel()
    selector, ct = panel.ui.regionOfInterestSelector, panel.ui.inputVolumeSelector
    region = selector.addNode()
    region.SetSizeWorld(region.GetSize()[0], region.GetSize()[1], 7.6)  # three slices of 2.5 mm
    ct.setCurrentNode(second)
    assert selector.currentNode() is None and not region.GetDisplayVisibility()
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert panel.ui.warningsLabel.text == "thick slices", "the whole CT was read"
    ct.setCurrentNode(first)
    assert selector.currentNode() is region and region.GetDisplayVisibility(), "chosen again with its CT"
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert "9 × 3 of 11 × 9 × 7 voxels" in panel.ui.warningsLabel.text  # noqa: RUF001
    selector.setCurrentNode(None)
    ct.setCurrentNode(second)
    ct.setCurrentNode(first)
    assert selector.currentNode() is None, "what was given up does not come back"
    selector.setCurrentNode(region)
    ct.setCurrentNode(None)
    ct.setCurrentNode(first)
    assert selector.currentNode() is region
    ct.setCurrentNode(second)
    slicer.mrmlScene.RemoveNode(region)
    ct.setCurrentNode(first)
    assert selector.currentNode() is None


def test_the_region_of_a_ct_that_is_gone_is_not_taken_for_the_next_one(openPanel, twoCTs):
    first, second = twoCTs
    panel = openPanel()
    panel.ui.regionOfInterestSelector.addNode()
    slicer.mrmlScene.RemoveNode(first)
    panel.ui.inputVolumeSelector.setCurrentNode(second)
    assert panel.ui.regionOfInterestSelector.currentNode() is None


def test_a_region_that_comes_with_a_scene_stays(openPanel, addCT, host, tmp_path):
    """The scene's parameters take the place of those that are there, be it closed before or added to."""
    addCT(name="A")
    panel = openPanel()
    region = panel.ui.regionOfInterestSelector.addNode()
    region.SetName("saved")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"), {})
    for clear in (True, False):
        slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": clear})
        assert panel.ui.inputVolumeSelector.currentNode().GetName().startswith("A")
        assert panel.ui.regionOfInterestSelector.currentNode().GetName().startswith("saved")
