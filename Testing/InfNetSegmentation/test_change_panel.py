"""Two studies of a patient, compared through the panel by the real backend. The chests are the backend's phantoms."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from generatorsteps import returned

REPOSITORY = Path(__file__).parents[2]
# Centres (LPS, mm): ground glass on the right that stays, consolidation on the left that goes, ground glass that comes.
STAYS, GOES, COMES = (-75.0, 10.0, 20.0), (92.0, 48.0, -10.0), (60.0, -30.0, 25.0)


@pytest.fixture
def addStudy(module, host, tmp_path, monkeypatch):
    """Adds a CT and its result to the scene, with lungs and findings as the phantom truly has them."""
    from infnet.quantification.measurements import measure
    from InfNetSegmentationLib.ResultImport import importResult

    monkeypatch.syspath_prepend(REPOSITORY / "Testing/infnet")
    monkeypatch.delitem(sys.modules, "phantoms", raising=False)
    import phantoms

    def add(name, later=False):
        grid = phantoms.empty_grid((60, 52, 30), (5.2, 5.2, 7.2))
        chest = phantoms.make_chest(grid, consolidation=not later)
        ct, findings = sitk.GetArrayFromImage(chest.ct), sitk.GetArrayFromImage(chest.findings)
        if later:
            z, y, x = np.indices(ct.shape)
            points = np.stack([x, y, z], -1) * grid.GetSpacing() + grid.GetOrigin()
            lesion = np.linalg.norm(points - COMES, axis=-1) < 18
            ct[lesion], findings[lesion] = phantoms.GGO_HU, 1
        folder = tmp_path / name
        (folder / "study").mkdir(parents=True)
        images = {"ct": ct, "findings": findings, "study/infection": (findings > 0).astype(np.float32)}
        images["study/candidates"] = findings
        for key, values in images.items():
            image = sitk.GetImageFromArray(values)
            image.CopyInformation(grid)
            sitk.WriteImage(image, folder / f"{key}.nrrd")
        sitk.WriteImage(chest.lungs, folder / "study/lungs.nrrd")
        measured = measure(*(sitk.ReadImage(folder / f"{key}.nrrd") for key in ("ct", "findings")), chest.lungs, None)
        payload = {"table": measured.rows, "severity": None, "warnings": [], "seconds": {}}
        payload["provenance"] = {"lobes": "none", "threshold": 0.5}
        volumeNode = slicer.util.loadVolume(str(folder / "ct.nrrd"), {})
        volumeNode.SetName(name)
        return importResult(payload, folder / "findings.nrrd", folder / "study", volumeNode)

    return add


@pytest.fixture
def openOn(host, module):
    """Opens the panel on a result."""
    opened = []

    def openPanel(result):
        panel = host.openModule(module)
        opened.append(panel)
        panel.parent.show()
        panel.ui.changeSection.collapsed = False
        panel.ui.inputVolumeSelector.setCurrentNode(result.volumeNode)
        panel.ui.outputSegmentationSelector.setCurrentNode(result.segmentationNode)
        return panel

    yield openPanel
    for panel in opened:
        host.closeModule(panel)


def setStudy(volumeNode, date, patient):
    """Where the DICOM module puts a CT: below its study, which is below its patient."""
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
    hierarchy.SetItemAttribute(subject, constants.GetDICOMPatientIDAttributeName(), patient)
    study = hierarchy.CreateStudyItem(subject, date)
    hierarchy.SetItemAttribute(study, constants.GetDICOMStudyDateAttributeName(), date)
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volumeNode), study)


def segmentsAt(segmentationNode, center):
    """IDs of the segments that hold a point (LPS)."""
    volumeNode = segmentationNode.GetNodeReference(
        slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    )
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    volumeNode.GetRASToIJKMatrix(matrix)
    i, j, k, _one = np.rint(slicer.util.arrayFromVTKMatrix(matrix) @ [-center[0], -center[1], center[2], 1]).astype(int)
    return [
        segmentID
        for segmentID in segmentationNode.GetSegmentation().GetSegmentIDs()
        if slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode)[k, j, i]
    ]


def test_two_studies_are_compared_and_the_scene_keeps_it(addStudy, openOn, host, tmp_path):
    import qt

    earlier, later = addStudy("March"), addStudy("May", later=True)
    for result, date in ((earlier, "20200301"), (later, "20200502")):
        setStudy(result.volumeNode, date, "P1")
    panel = openOn(later)
    ui = panel.ui
    assert not ui.compareButton.enabled and "earlier study first" in ui.compareButton.toolTip
    ui.earlierSelector.setCurrentNode(later.segmentationNode)
    assert not ui.compareButton.enabled and "another CT" in ui.compareButton.toolTip
    ui.earlierSelector.setCurrentNode(later.regionsNode)  # no result: it is not listed
    assert ui.earlierSelector.currentNode() is not later.regionsNode
    ui.earlierSelector.setCurrentNode(earlier.segmentationNode)
    assert ui.compareButton.enabled and not ui.changeTable.visible
    stages = []
    onProgress = panel._onProgress
    panel._onProgress = lambda *progress: (stages.append(progress[0]), onProgress(*progress))
    ui.compareButton.click()
    assert ui.applyButton.text == "Cancel" and not ui.compareButton.enabled
    host.waitUntil(lambda: not panel.logic.running, seconds=300)  # a registration, however busy the machine is
    assert "register" in stages and not ui.errorLabel.text, ui.logText.plainText
    assert "2020-03-01 → 2020-05-02" in ui.changeSummaryLabel.text and ui.changeTable.visible

    # The table: what the two results say, and the difference.
    regions = [ui.changeTable.verticalHeaderItem(row).text() for row in range(ui.changeTable.rowCount)]
    assert regions == ["Right lung", "Left lung", "Total"]
    then, now = earlier.table[-1], later.table[-1]
    assert ui.changeTable.item(0, 1).text() == "0.0→0.0\n+0.0 mL\n+0.0 pp"
    assert ui.changeTable.item(2, 1).text() == "{:.1f}→0.0\n-{:.1f} mL\n-{:.1f} pp".format(
        then["consolidation_ml"], then["consolidation_ml"], then["consolidation_percent"]
    )
    ui.copyChangeButton.click()
    lines = [line.split("\t") for line in qt.QApplication.clipboard().text().splitlines()]
    total = dict(zip(lines[0], lines[3], strict=True))
    assert float(total["GGO, 2020-05-02 (mL)"]) == pytest.approx(now["ggo_ml"], abs=1e-3)
    assert float(total["GGO, change (percentage points)"]) == pytest.approx(
        now["ggo_percent"] - then["ggo_percent"], abs=1e-3
    )

    # The map, on the earlier CT; and the chart.
    mapNode = slicer.util.getNode("May change map")
    assert [segmentsAt(mapNode, point) for point in (STAYS, COMES, GOES)] == [["Persistent"], ["New"], ["Resolved"]]
    assert not mapNode.GetDisplayNode().GetVisibility()
    ui.showChangeMapBox.click()
    assert mapNode.GetDisplayNode().GetVisibility() and not later.segmentationNode.GetDisplayNode().GetVisibility()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActiveVolumeID() == earlier.volumeNode.GetID() and not ui.showOpacityBox.checked
    ui.showChangeMapBox.click()
    assert selection.GetActiveVolumeID() == later.volumeNode.GetID() and ui.showOpacityBox.checked
    ui.showChangeMapBox.click()
    ui.outputSegmentationSelector.setCurrentNode(None)
    assert not mapNode.GetDisplayNode().GetVisibility(), "no map is left over a CT that it does not belong to"
    assert later.segmentationNode.GetDisplayNode().GetVisibility()
    assert selection.GetActiveVolumeID() == later.volumeNode.GetID()
    ui.outputSegmentationSelector.setCurrentNode(later.segmentationNode)
    assert not ui.showChangeMapBox.checked and ui.showChangeMapBox.enabled
    chartNode = slicer.util.getNode("May change chart")
    series = [chartNode.GetNthPlotSeriesNode(i) for i in range(chartNode.GetNumberOfPlotSeriesNodes())]
    assert [node.GetName() for node in series] == ["Right lung", "Left lung", "Total"]
    table = series[-1].GetTableNode().GetTable()
    values, labels = table.GetColumnByName("Total"), table.GetColumnByName(series[-1].GetLabelColumnName())
    assert [labels.GetValue(i) for i in range(2)] == ["2020-03-01", "2020-05-02"]
    assert [values.GetValue(i) for i in range(2)] == [then["infection_percent"], now["infection_percent"]]

    # Saved and loaded it is all there again.
    texts = [ui.changeTable.item(row, column).text() for row in range(3) for column in range(3)]
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"), {})
    host.clearScene()
    assert not ui.changeSection.visible
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {})
    assert ui.earlierSelector.currentNode().GetName() == "March infection"
    assert [ui.changeTable.item(row, column).text() for row in range(3) for column in range(3)] == texts
    assert not ui.changeWarningsLabel.visible, ui.changeWarningsLabel.text

    # Another threshold is another result: the comparison is told to be of the one before.
    ui.resultThresholdSlider.value = 0.95
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.zeros((30, 52, 60), np.uint8), ui.outputSegmentationSelector.currentNode(), "GroundGlassOpacity",
        ui.inputVolumeSelector.currentNode(),
    )  # fmt: skip
    ui.measureButton.click()
    assert "press “Compare” again" in ui.changeWarningsLabel.text
    ui.showChangeMapBox.click()
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("March"))
    panel.enter()
    assert not ui.showChangeMapBox.enabled, "the CT that the map lies on is gone"


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Compares two results.

    Nothing has moved between the scans, so the registration, which takes its time, is left out.
    """
    from infnet import cli
    from infnet.quantification import change
    from infnet.quantification.registration import LungRegistration

    stays = LungRegistration(sitk.Transform(3, sitk.sitkIdentity), 1.0, 1.0, 0.0, sitk.Transform(3, sitk.sitkIdentity))
    monkeypatch.setattr(change, "register_lungs", lambda *arguments: stays)
    folders = (tmp_path / f"comparison {number}" for number in range(9))

    def compareResults(earlier, later):
        from InfNetSegmentationLib.Comparison import Comparison

        comparison, folder = Comparison(earlier, later), next(folders)
        folder.mkdir()
        assert cli.main([str(word) for word in returned(comparison.prepare(folder))]) == 0
        return comparison.finish(json.loads((folder / "change/change.json").read_text(encoding="utf-8")))

    return compareResults


def test_the_older_study_comes_first_and_a_second_comparison_replaces_the_first(addStudy, compare):
    """The CTs have one name, dates tell which is older, and the result that is shown is the older one."""
    from InfNetSegmentationLib.StudyChange import storedChange

    older, newer = addStudy("A"), addStudy("B", later=True)
    newer.volumeNode.SetName("A")
    for result, date in ((older, "20200301"), (newer, "20200502")):
        setStudy(result.volumeNode, date, "P1")
    counts = []
    for _time in range(2):
        change = compare(newer, older)
        counts.append(slicer.mrmlScene.GetNumberOfNodes())
    assert counts[0] == counts[1]
    assert change.titles == ["2020-03-01", "2020-05-02"]
    assert change.tables == [older.table, newer.table]
    assert storedChange(older.segmentationNode) == change and storedChange(newer.segmentationNode) is None
    mapNode = older.segmentationNode.GetNodeReference("InfNet.ChangeMap")
    assert [segmentsAt(mapNode, point) for point in (STAYS, COMES, GOES)] == [["Persistent"], ["New"], ["Resolved"]]
    voxelMl = np.prod(older.volumeNode.GetSpacing()) / 1000
    for segmentID in ("New", "Resolved", "Persistent"):
        segment = slicer.util.arrayFromSegmentBinaryLabelmap(mapNode, segmentID, older.volumeNode)
        assert change.mapMl[segmentID.lower()] == pytest.approx(segment.sum() * voxelMl)


def test_what_was_corrected_is_compared_as_it_is(addStudy, compare, openOn):
    """Measured or not: numbers and map are of the same segments, and a later correction makes both old."""
    earlier, later = addStudy("March"), addStudy("May", later=True)
    earlier.segmentationNode.GetSegmentation().RemoveSegment("Consolidation")
    change = compare(earlier, later)
    assert earlier.table[-1]["consolidation_ml"] > 0
    assert change.tables[0][-1]["consolidation_ml"] == 0
    assert change.mapMl["resolved"] == pytest.approx(0, abs=1e-6)
    panel = openOn(later)
    assert "has changed since they were compared" not in panel.ui.changeWarningsLabel.text
    earlier.segmentationNode.GetSegmentation().RemoveSegment("GroundGlassOpacity")
    panel.enter()
    assert "has changed since they were compared" in panel.ui.changeWarningsLabel.text


def test_studies_of_two_patients_are_not_compared(addStudy, openOn):
    earlier, later = addStudy("March"), addStudy("May", later=True)
    panel = openOn(later)
    panel.ui.earlierSelector.setCurrentNode(earlier.segmentationNode)
    assert panel.ui.compareButton.enabled
    for result, patient in ((earlier, "P1"), (later, "P2")):
        setStudy(result.volumeNode, "20200301", patient)
    panel.enter()
    assert not panel.ui.compareButton.enabled
    assert "of the same patient: these are of P1 and P2" in panel.ui.compareButton.toolTip
    with pytest.raises(ValueError, match="same patient"):
        panel.logic.compare(earlier, later)


def test_long_names_of_studies_do_not_widen_the_panel(addStudy, openOn):
    from InfNetSegmentationLib.StudyChange import StudyChange, storeChange
    from slicerhost.labels import ScrolledPanel

    result = addStudy("May")
    titles = [60 * "long" + " & old", 60 * "<long>"]
    ml = {"new": 1.0, "resolved": 2.0, "persistent": 3.0}
    storeChange(result.segmentationNode, StudyChange(titles, [result.table] * 2, ml, [f"{titles[0]}: no date."]))
    panel = openOn(result)
    assert panel.ui.changeTable.visible
    assert ScrolledPanel(panel).unreadableLabels(430) == []
    assert "&amp; old" in panel.ui.changeSummaryLabel.text


def test_names_of_studies_may_be_longer_than_those_of_files(addStudy):
    from InfNetSegmentationLib.Comparison import Comparison

    earlier, later = addStudy("March"), addStudy("May")
    for result in (earlier, later):
        result.volumeNode.SetName(60 * "Лёгкие")
    names = list(Comparison(earlier, later)._results)
    assert len(set(names)) == 2
    assert len(f"change-{'-'.join(names)}.nrrd".encode()) < 256
    assert "".join(names).isascii(), "on Windows ITK writes no file whose name has other letters"


def test_a_comparison_that_fails_tells_cause_and_remedy_and_leaves_the_scene(addStudy, openOn, host):
    earlier, later = addStudy("March"), addStudy("May", later=True)
    for segmentID in ("RightLung", "LeftLung"):
        earlier.regionsNode.GetSegmentation().RemoveSegment(segmentID)
    panel = openOn(later)
    panel.ui.earlierSelector.setCurrentNode(earlier.segmentationNode)
    numberOfNodes = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.compareButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    cause, remedy = panel.ui.errorLabel.text.split("\n\n")
    assert "there is nothing to register" in cause and "segmentation of the lungs" in remedy
    assert panel.ui.compareButton.enabled and panel.ui.applyButton.text == "Apply"
    assert slicer.mrmlScene.GetNumberOfNodes() == numberOfNodes


def test_a_comparison_can_be_cancelled_and_ends_when_a_study_is_deleted(addStudy, openOn, host):
    earlier, later = addStudy("March"), addStudy("May", later=True)
    panel = openOn(later)
    panel.ui.earlierSelector.setCurrentNode(earlier.segmentationNode)
    for end, told in (
        (panel.ui.applyButton.click, "Cancelled."),
        (lambda: slicer.mrmlScene.RemoveNode(earlier.volumeNode), "“March” was removed from the scene."),
    ):
        panel.ui.compareButton.click()
        host.waitUntil(lambda: panel.ui.progressBar.maximum > 0)
        end()
        host.waitUntil(lambda: not panel.logic.running)
        assert told in panel.ui.logText.plainText
        assert not panel.ui.errorLabel.text and not panel.ui.changeTable.visible
    assert not panel.ui.compareButton.enabled, "the earlier result has lost its CT"
