"""What a run leaves in the scene beside the findings, and what can be done with it: `makeResult` stands for a run."""

import gc
import json
import weakref

import numpy as np
import pytest
import slicer
import vtk
from generatorsteps import returned

OBLIQUE = np.linalg.qr(np.array([[-1.0, 0.2, 0.1], [0.15, -1.0, 0.3], [0.1, 0.25, 1.0]]))[0]
LOBE_IDS = ["RightUpperLobe", "RightMiddleLobe", "RightLowerLobe", "LeftUpperLobe", "LeftLowerLobe"]


@pytest.fixture
def logic(module):
    return module.InfNetSegmentationLogic(["/no/such/program"])


def putUnderTransform(*nodes):
    matrix = np.array([[0.8, -0.6, 0.0, 20], [0.6, 0.8, 0.0, -5], [0.0, 0.0, 1.5, 3], [0, 0, 0, 1]])
    transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    slicer.util.updateTransformMatrixFromArray(transformNode, matrix)
    for node in nodes:
        node.SetAndObserveTransformNodeID(transformNode.GetID())
    return transformNode


def putUnderSpline(node):
    """A transform that is not linear."""
    spline = vtk.vtkThinPlateSplineTransform()
    random = np.random.default_rng(0)
    for landmarks, spread in ((spline.SetSourceLandmarks, 0), (spline.SetTargetLandmarks, 2)):
        points = vtk.vtkPoints()
        for point in np.random.default_rng(1).uniform(-20, 20, (6, 3)):
            points.InsertNextPoint(point + spread * random.normal(size=3))
        landmarks(points)
    spline.SetBasisToR()
    transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    transformNode.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transformNode.GetID())


def segmentArray(node, segmentID, volumeNode):
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentID, volumeNode)


def ballsCT(addCT, direction=OBLIQUE):
    """A CT with lungs of -800 HU, a lesion of 12 voxels at 150 HU and one of 2 voxels at 250 HU."""
    volumeNode = addCT(direction)
    values = slicer.util.arrayFromVolume(volumeNode)
    values[:] = -800
    values[2, 2:4, 1:7] = 150
    values[5, 6, 8:10] = 250
    slicer.util.arrayFromVolumeModified(volumeNode)
    return volumeNode


def setLabels(result, labels):
    """Corrects the two segments, as Segment Editor does."""
    for label, segmentID in enumerate(("GroundGlassOpacity", "Consolidation"), start=1):
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            (labels == label).astype(np.uint8), result.segmentationNode, segmentID, result.volumeNode
        )


@pytest.mark.parametrize("underTransform", [False, True])
def test_lobes_and_lungs_are_voxel_for_voxel_those_of_the_backend(addCT, makeResult, underTransform):
    volumeNode = addCT(OBLIQUE)
    if underTransform:
        putUnderTransform(volumeNode)
    regionsNode = makeResult(volumeNode).regionsNode
    shape = slicer.util.arrayFromVolume(volumeNode).shape
    _z, y, x = np.indices(shape)
    expected = np.where(y < shape[1] // 2, 1 + 3 * x // shape[2], 4 + 2 * x // shape[2])
    for label, segmentID in enumerate(LOBE_IDS, start=1):
        np.testing.assert_array_equal(segmentArray(regionsNode, segmentID, volumeNode), expected == label)
    np.testing.assert_array_equal(segmentArray(regionsNode, "RightLung", volumeNode), y < shape[1] // 2)
    assert regionsNode.GetTransformNodeID() == volumeNode.GetTransformNodeID()


def test_segment_editor_paints_on_the_voxels_of_a_ct_under_a_transform(addCT, makeResult):
    """The grid that a segmentation keeps for it is in the segmentation's coordinates, as the transform goes on top."""
    volumeNode = addCT(OBLIQUE)
    putUnderTransform(volumeNode)
    result = makeResult(volumeNode)
    expected, matrix = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(expected)
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    for node in (result.segmentationNode, result.regionsNode):
        grid = slicer.vtkOrientedImageData()
        slicer.vtkSegmentationConverter.DeserializeImageGeometry(
            node.GetSegmentation().GetConversionParameter(name), grid, False
        )
        grid.GetImageToWorldMatrix(matrix)
        np.testing.assert_allclose(*map(slicer.util.arrayFromVTKMatrix, (matrix, expected)), atol=1e-6)
        assert grid.GetDimensions() == volumeNode.GetImageData().GetDimensions()


def test_lobes_carry_name_colour_and_snomed_codes_and_are_hidden_at_first(addCT, makeResult):
    from infnet.anatomy.recognition import recognise
    from infnet.anatomy.regions import LOBES, LUNGS

    regionsNode = makeResult(addCT()).regionsNode
    segmentation = regionsNode.GetSegmentation()
    segments = [segmentation.GetNthSegment(i) for i in range(segmentation.GetNumberOfSegments())]
    assert len(segments) == 7
    for region, segment in zip((*LOBES, *LUNGS), segments, strict=True):
        text = vtk.reference("")
        assert segment.GetTag(segment.GetTerminologyEntryTagName(), text)
        assert recognise("a name that says nothing", str(text)) == region
        assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(
            str(text), slicer.vtkSlicerTerminologyEntry()
        )
        np.testing.assert_allclose(segment.GetColor(), np.array(region.colour) / 255)
    assert segments[0].GetName() == "Right upper lobe"
    assert len({segment.GetColor() for segment in segments}) == 7
    assert not regionsNode.GetDisplayNode().GetVisibility3D()


@pytest.mark.parametrize(("source", "count"), [("zones", 6), ("none", 0), ("atlas", 5)])
def test_each_source_of_lobes_has_its_segments(addCT, makeResult, source, count):
    result = makeResult(addCT(), None, "--lobe-source", source)
    assert result.regionsNode.GetSegmentation().GetNumberOfSegments() == count + 2
    assert result.lobeSource == source


def test_running_again_replaces_lobes_probability_table_and_chart(addCT, makeResult):
    volumeNode = addCT()
    first = makeResult(volumeNode)
    numberOfNodes = slicer.mrmlScene.GetNumberOfNodes()
    slicer.util.arrayFromVolume(volumeNode)[:] -= 60
    second = makeResult(volumeNode, first.segmentationNode, "--lobe-source", "zones")
    assert slicer.mrmlScene.GetNumberOfNodes() == numberOfNodes
    for name in ("segmentationNode", "regionsNode", "probabilityNode", "tableNode", "chartNode"):
        assert getattr(second, name) is getattr(first, name)
    assert second.regionsNode.GetSegmentation().GetNumberOfSegments() == 8
    probability = slicer.util.arrayFromVolume(second.probabilityNode)
    expected = np.clip(0.5 + (slicer.util.arrayFromVolume(volumeNode) - 100) / 400, 0, 1)
    np.testing.assert_allclose(probability, expected, atol=1e-6)


def test_lungs_do_not_lie_over_their_lobes_after_another_run_either(addCT, makeResult, logic):
    """Slicer shows the segments of the second run all; and without lobes there is nothing but the lungs to see."""
    volumeNode = addCT()
    result = makeResult(volumeNode)
    display = result.regionsNode.GetDisplayNode()

    def shown():
        segmentIDs = result.regionsNode.GetSegmentation().GetSegmentIDs()
        return [segmentID for segmentID in segmentIDs if display.GetSegmentVisibility(segmentID)]

    for source, expected in (("atlas", LOBE_IDS), ("none", ["RightLung", "LeftLung"]), ("atlas", LOBE_IDS)):
        makeResult(volumeNode, result.segmentationNode, "--lobe-source", source)
        assert shown() == expected
    logic._history.keep(result, beforeRun=True)
    makeResult(volumeNode, result.segmentationNode, "--lobe-source", "none")
    logic.undo(result)
    assert shown() == LOBE_IDS


def test_segments_that_somebody_has_added_to_the_lobes_stay(addCT, makeResult):
    volumeNode = addCT()
    result = makeResult(volumeNode)
    vessels = np.zeros(slicer.util.arrayFromVolume(volumeNode).shape, np.uint8)
    vessels[2:4] = 1
    result.regionsNode.GetSegmentation().AddEmptySegment("Vessels", "Vessels")
    slicer.util.updateSegmentBinaryLabelmapFromArray(vessels, result.regionsNode, "Vessels", volumeNode)
    makeResult(volumeNode, result.segmentationNode, "--lobe-source", "zones")
    assert len(result.regionsNode.GetSegmentation().GetSegmentIDs()) == 1 + 6 + 2
    np.testing.assert_array_equal(segmentArray(result.regionsNode, "Vessels", volumeNode), vessels)


def test_a_chart_whose_values_were_deleted_is_drawn_again(addCT, makeResult):
    volumeNode = addCT()
    result = makeResult(volumeNode)
    slicer.mrmlScene.RemoveNode(result.chartNode.GetNthPlotSeriesNode(0).GetTableNode())
    chartNode = makeResult(volumeNode, result.segmentationNode).chartNode
    for number in (0, 1):
        assert chartNode.GetNthPlotSeriesNode(number).GetTableNode().GetNumberOfRows() == 5


def test_the_chart_shows_the_share_of_each_lobe(addCT, makeResult):
    chartNode = makeResult(addCT()).chartNode
    series = [chartNode.GetNthPlotSeriesNode(i) for i in range(chartNode.GetNumberOfPlotSeriesNodes())]
    assert [node.GetName() for node in series] == ["Ground-glass opacity", "Consolidation"]
    for node, value in zip(series, (7.5, 2.5), strict=True):
        table = node.GetTableNode().GetTable()
        labels = table.GetColumnByName(node.GetLabelColumnName())
        assert [labels.GetValue(i) for i in range(labels.GetNumberOfValues())] == [
            "Right upper lobe",
            "Right middle lobe",
            "Right lower lobe",
            "Left upper lobe",
            "Left lower lobe",
        ]
        values = table.GetColumnByName(node.GetYColumnName())
        assert [values.GetValue(i) for i in range(5)] == [value] * 5
        assert node.GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeBar


def test_a_saved_scene_brings_the_whole_result_back(addCT, makeResult, logic, host, tmp_path):
    result = makeResult(addCT(OBLIQUE, name="Müller “2” | 3"))
    expected = result.table, result.severity, result.provenance, result.warnings
    probability = slicer.util.arrayFromVolume(result.probabilityNode).copy()
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path), {})
    host.clearScene()
    slicer.util.loadScene(str(path), {})
    (segmentationNode,) = (
        node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if logic.result(node) is not None
    )
    loaded = logic.result(segmentationNode)
    assert (loaded.table, loaded.severity, loaded.provenance, loaded.warnings) == expected
    assert loaded.volumeNode.GetName() == "Müller “2” | 3"
    assert loaded.regionsNode.GetSegmentation().GetNumberOfSegments() == 7
    assert loaded.chartNode.GetNumberOfPlotSeriesNodes() == 2
    np.testing.assert_allclose(slicer.util.arrayFromVolume(loaded.probabilityNode), probability, atol=1e-6)
    # And it can be worked on: a threshold that nothing reaches.
    assert logic.relabel(loaded, 0.95).table[-1]["infection_ml"] < 1e-9 + loaded.table[-1]["infection_ml"]


def test_corrections_are_noticed_in_a_loaded_scene_before_the_panel_is_opened(addCT, makeResult, logic, host, tmp_path):
    """Of findings, lungs and lobes, in a scene that took the place of another or was added to it; not how they look."""
    makeResult(addCT())
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"), {})
    for clear in (True, False):
        slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": clear})
        results = map(logic.result, slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))
        (result,) = (result for result in results if result and not result.isEdited)
        result.segmentationNode.GetDisplayNode().SetSegmentVisibility("Consolidation", False)
        result.segmentationNode.GetSegmentation().GetSegment("Consolidation").SetColor(0, 0, 1)
        result.regionsNode.CreateClosedSurfaceRepresentation()
        assert not result.isEdited
        result.segmentationNode.GetSegmentation().RemoveSegment("Consolidation")
        assert result.isEdited
        assert not logic.measure(result).isEdited
        segment = segmentArray(result.regionsNode, "LeftLowerLobe", result.volumeNode).copy()
        segment[3] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            segment, result.regionsNode, "LeftLowerLobe", result.volumeNode
        )
        assert result.isEdited


def test_a_closed_scene_leaves_no_image_in_memory(addCT, module, fakeBackend, host):
    """Neither by what watches the results nor by a run, be it that the scene was closed during it."""
    panel = host.openModule(module)
    for scenario in ("success", "stop"):
        panel.logic._command = fakeBackend(scenario)
        panel.ui.inputVolumeSelector.setCurrentNode(addCT())
        panel.ui.applyButton.click()
        host.waitUntil(lambda: panel.ui.logText.plainText or panel.ui.progressBar.maximum)
        if scenario == "success":
            host.waitUntil(lambda: not panel.logic.running)
            panel.logic.relabel(panel.logic.result(panel.ui.outputSegmentationSelector.currentNode()), 0.6)
        nodes = [
            node for name in ("Volume", "Segmentation") for node in slicer.util.getNodesByClass(f"vtkMRML{name}Node")
        ]
        assert len(nodes) == (5 if scenario == "success" else 1)
        references = [weakref.ref(node) for node in nodes]
        del nodes
        host.clearScene()
        host.waitUntil(lambda: not panel.logic.running)
        gc.collect()
        assert [reference().GetName() for reference in references if reference() is not None] == []
    host.closeModule(panel)


def test_a_result_that_lost_its_ct_is_none(addCT, makeResult, logic):
    volumeNode = addCT()
    segmentationNode = makeResult(volumeNode).segmentationNode
    slicer.mrmlScene.RemoveNode(volumeNode)
    assert logic.result(segmentationNode) is None
    assert logic.result(None) is None
    assert logic.result(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")) is None


class TestRelabelling:
    @pytest.mark.parametrize("underTransform", [False, True])
    def test_segments_follow_the_threshold_and_numbers_follow_the_segments(
        self, addCT, makeResult, logic, labelsOf, underTransform
    ):
        volumeNode = addCT(OBLIQUE)
        if underTransform:
            putUnderTransform(volumeNode)
        result = makeResult(volumeNode)
        values = slicer.util.arrayFromVolume(volumeNode)
        ml = 0.7 * 0.8 * 2.5 / 1000
        result = logic.relabel(result, 0.65)
        labels = labelsOf(result.segmentationNode, volumeNode)
        np.testing.assert_array_equal(labels, np.where(values >= 160, np.where(values >= 200, 2, 1), 0))
        total = result.table[-1]
        assert total["ggo_ml"] == pytest.approx(np.count_nonzero(labels == 1) * ml, rel=1e-5)
        assert total["consolidation_ml"] == pytest.approx(np.count_nonzero(labels == 2) * ml, rel=1e-5)
        assert sum(row["infection_ml"] for row in result.table[:6]) == pytest.approx(total["infection_ml"])
        assert result.provenance["threshold"] == 0.65
        # Lower again: each voxel, new ones too, is the finding that the backend calls it.
        result = logic.relabel(result, 0.3)
        labels = labelsOf(result.segmentationNode, volumeNode)
        np.testing.assert_array_equal(labels, np.where(values < 20, 0, np.where((values >= 200) | (values < 40), 2, 1)))

    def test_small_lesions_are_dropped(self, addCT, makeResult, logic, labelsOf):
        volumeNode = ballsCT(addCT)
        voxel = 0.7 * 0.8 * 2.5 / 1000
        result = logic.relabel(makeResult(volumeNode), 0.5, minimumLesionMl=2 * voxel)
        assert np.bincount(labelsOf(result.segmentationNode, volumeNode).ravel())[1:].tolist() == [12, 2]
        result = logic.relabel(result, 0.5, minimumLesionMl=3 * voxel)
        assert np.bincount(labelsOf(result.segmentationNode, volumeNode).ravel())[1:].tolist() == [12]
        assert result.table[-1]["consolidation_ml"] == 0
        assert result.minimumLesionMl == 3 * voxel

    def test_undo_restores_voxels_and_numbers(self, addCT, makeResult, logic, labelsOf):
        volumeNode = addCT()
        result = makeResult(volumeNode)
        states = [(labelsOf(result.segmentationNode, volumeNode), result.table, result.provenance)]
        assert not logic.canUndo(result.segmentationNode)
        for threshold in (0.8, 0.2):
            result = logic.relabel(result, threshold)
            states.append((labelsOf(result.segmentationNode, volumeNode), result.table, result.provenance))
        assert states[0][1] != states[1][1] != states[2][1]
        for labels, table, provenance in states[1::-1]:
            result = logic.undo(result)
            np.testing.assert_array_equal(labelsOf(result.segmentationNode, volumeNode), labels)
            assert (result.table, result.provenance) == (table, provenance)
        assert not logic.canUndo(result.segmentationNode)

    def test_undo_does_not_pass_old_numbers_off_as_those_of_a_correction(self, addCT, makeResult, logic):
        """Corrected, not measured, labelled anew, undone: the numbers are those from before the correction."""
        volumeNode = addCT()
        result = makeResult(volumeNode)
        empty = np.zeros(slicer.util.arrayFromVolume(volumeNode).shape, np.uint8)
        setLabels(result, empty)
        result = logic.undo(logic.relabel(result, 0.6))
        assert result.table[-1]["infection_ml"] > 0 and result.isEdited
        result = logic.measure(result)
        assert result.table[-1]["infection_ml"] == 0 and not result.isEdited
        assert not logic.undo(logic.relabel(result, 0.6)).isEdited

    @pytest.mark.parametrize("linear", [True, False])
    def test_numbers_stay_when_the_ct_alone_is_put_under_a_transform(self, addCT, makeResult, logic, linear):
        """As for a registration: what was found on a CT stays where it is on that CT."""
        volumeNode = addCT(OBLIQUE)
        result = logic.measure(makeResult(volumeNode))
        if linear:
            putUnderTransform(volumeNode)
        else:
            putUnderSpline(volumeNode)
        assert logic.measure(result).table == result.table
        labelled = logic.relabel(result, 0.5)
        assert labelled.table == result.table
        assert labelled.segmentationNode.GetTransformNodeID() == volumeNode.GetTransformNodeID(), "and follows it"

    @pytest.mark.parametrize("hardened", [["volumeNode"], ["segmentationNode"], ["volumeNode", "segmentationNode"]])
    def test_numbers_stay_when_a_transform_is_hardened(self, addCT, makeResult, logic, hardened):
        """As after a registration: who hardens it in the CT does not think of the lobes, which still lie on it."""
        volumeNode = addCT(OBLIQUE)
        putUnderTransform(volumeNode)
        result = logic.measure(makeResult(volumeNode))
        shares = [row["infection_percent"] for row in result.table]  # the transform scales all volumes alike
        for name in hardened:
            getattr(result, name).HardenTransform()
        assert [row["infection_percent"] for row in logic.measure(result).table] == shares
        assert 4 not in slicer.util.arrayFromVolume(logic.relabel(result, 0.5).candidatesNode), "nothing was corrected"

    def test_infection_beside_the_lung_belongs_to_the_nearest_lobe(self, addCT, makeResult, logic):
        volumeNode = ballsCT(addCT)
        result = makeResult(volumeNode)
        for segmentID in ("RightLung", "RightUpperLobe"):  # the first lesion lies in columns 1 to 6 of rows 2 and 3
            segment = segmentArray(result.regionsNode, segmentID, volumeNode).copy()
            segment[2, 2:4, 1:4] = 0
            slicer.util.updateSegmentBinaryLabelmapFromArray(segment, result.regionsNode, segmentID, volumeNode)
        rows = {row["region"]: row for row in logic.measure(result).table}
        assert rows["total"]["ggo_ml"] == pytest.approx(12 * 0.7 * 0.8 * 2.5 / 1000, rel=1e-5)
        assert rows["outside every lobe"]["volume_ml"] == 0

    @pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (2.0, 1.0, 1.0)])
    def test_the_nearest_label_is_that_of_the_whole_ct(self, module, host, spacing):
        """Also where two are as near, and where the nearest is far from what is found."""
        from InfNetSegmentationLib.Measurement import _NEAR_MM, filledFromNearest
        from scipy import ndimage

        random = np.random.default_rng(2)
        for share, extent in ((0.3, 9), (0.01, 21), (0.0005, 48)):
            labels = random.integers(1, 6, (extent, 40, 25)).astype(np.uint8)
            labels *= random.random(labels.shape) < share
            where = ndimage.binary_dilation(random.random(labels.shape) < 0.004, iterations=2)
            volumeNode = slicer.util.addVolumeFromArray(labels, np.diag([*spacing, 1.0]))
            distances, nearest = ndimage.distance_transform_edt(labels == 0, spacing[::-1], return_indices=True)
            expected = np.where(where, labels[tuple(nearest)], labels)
            np.testing.assert_array_equal(filledFromNearest(labels, where, volumeNode), expected)
        assert distances[where].max() > _NEAR_MM, "beyond what is searched at first"

    def test_corrections_by_hand_are_measured_and_not_lost(self, addCT, makeResult, logic, labelsOf):
        volumeNode = ballsCT(addCT)
        result = makeResult(volumeNode)
        segment = segmentArray(result.segmentationNode, "GroundGlassOpacity", volumeNode).copy()
        segment[2] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            segment, result.segmentationNode, "GroundGlassOpacity", volumeNode
        )
        result = logic.measure(result)
        assert result.table[-1]["ggo_ml"] == 0
        result = logic.undo(logic.relabel(result, 0.1))
        np.testing.assert_array_equal(labelsOf(result.segmentationNode, volumeNode) == 1, segment)

    def test_corrections_by_hand_stay_at_any_threshold(self, addCT, makeResult, logic, labelsOf, host, tmp_path):
        """Also where a threshold between would have labelled the voxel so by itself, and after the scene was saved."""
        volumeNode = ballsCT(addCT)
        values = slicer.util.arrayFromVolume(volumeNode)
        values[0, 0, :4] = 60  # a probability of 0.4
        slicer.util.arrayFromVolumeModified(volumeNode)
        result = makeResult(volumeNode)
        corrected = labelsOf(result.segmentationNode, volumeNode)
        corrected[2, 2] = 0
        corrected[0, 0, :2] = 1  # as at 0.3
        corrected[6, 8, 10] = 2  # where there is no probability
        setLabels(result, corrected)
        for threshold in (0.3, 0.9, 0.5):
            result = logic.relabel(result, threshold)
            labels = labelsOf(result.segmentationNode, volumeNode)
            assert not labels[2, 2].any() and labels[6, 8, 10] == 2
            assert labels[0, 0, :4].tolist() == ([1, 1, 1, 1] if threshold == 0.3 else [1, 1, 0, 0])
            assert labels[2, 3, 1:7].any() == (threshold < 0.6) and labels[5, 6, 8:10].any() == (threshold < 0.8)
        np.testing.assert_array_equal(labels, corrected)
        path = tmp_path / "scene.mrb"
        assert slicer.util.saveScene(str(path), {})
        host.clearScene()
        slicer.util.loadScene(str(path), {})
        result = logic.result(slicer.util.getNode("CT infection"))
        result = logic.relabel(logic.relabel(result, 0.3), 0.5)
        np.testing.assert_array_equal(labelsOf(result.segmentationNode, result.volumeNode), corrected)

    def test_a_segment_that_was_deleted_is_no_infection_until_it_is_made_again(self, addCT, makeResult, logic):
        """Whoever deletes a segment in Segment Editor says that there is none of it."""
        result = logic.relabel(makeResult(addCT()), 0.6)
        segmentation = result.segmentationNode.GetSegmentation()
        before = segmentation.GetSegment("GroundGlassOpacity")
        color, terminology = before.GetColor(), vtk.reference("")
        segmentation.RemoveSegment("GroundGlassOpacity")
        result = logic.measure(result)
        total = result.table[-1]
        assert total["ggo_ml"] == 0 < total["consolidation_ml"] == total["infection_ml"]
        logic.undo(result)
        after = segmentation.GetSegment("GroundGlassOpacity")
        assert (after.GetName(), after.GetColor()) == ("Ground-glass opacity", color)
        assert after.GetTag(after.GetTerminologyEntryTagName(), terminology) and "112120" in str(terminology)

    def test_undo_takes_a_correction_back_with_its_mark(self, addCT, makeResult, logic, labelsOf):
        """Undone twice, what was corrected follows the threshold again, as if it had never been corrected."""
        volumeNode = addCT()
        result = makeResult(volumeNode)
        candidates = slicer.util.arrayFromVolume(result.candidatesNode).copy()
        result = logic.relabel(result, 0.6)
        before = labelsOf(result.segmentationNode, volumeNode)
        corrected = before.copy()
        corrected[2] = 2
        setLabels(result, corrected)
        result = logic.relabel(result, 0.3)
        assert (slicer.util.arrayFromVolume(result.candidatesNode) >= 4).any()
        result = logic.undo(result)
        np.testing.assert_array_equal(labelsOf(result.segmentationNode, volumeNode), corrected)
        result = logic.relabel(result, 0.95)
        labels = labelsOf(result.segmentationNode, volumeNode)
        assert (labels[corrected != before] == 2).all(), "it is corrected still"
        for _time in range(2):
            result = logic.undo(result)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(result.candidatesNode), candidates)
        labels = labelsOf(logic.relabel(result, 0.95).segmentationNode, volumeNode)
        np.testing.assert_array_equal(labels, np.where(slicer.util.arrayFromVolume(volumeNode) >= 280, 2, 0))

    def test_a_study_without_candidates_is_shown_but_not_labelled_anew(self, addCT, makeResult, logic, monkeypatch):
        from slicerhost import fakebackend

        first = makeResult(addCT())
        writeStudy = fakebackend.writeStudy

        def writeOld(ct, options, lobes):
            writeStudy(ct, options, lobes)
            (options.study / "candidates.nrrd").unlink()

        monkeypatch.setattr(fakebackend, "writeStudy", writeOld)
        result = makeResult(first.volumeNode, first.segmentationNode)
        assert result.probabilityNode is not None and result.candidatesNode is None
        with pytest.raises(ValueError, match="of this result were deleted, or never made"):
            logic.relabel(result, 0.4)

    @pytest.mark.parametrize("name", ["probabilityNode", "candidatesNode"])
    def test_without_an_image_that_was_not_saved_it_is_refused_in_words(
        self, addCT, makeResult, logic, host, tmp_path, name
    ):
        """As by who leaves the large one out in the dialog that saves the scene: its node comes back without voxels."""
        result = makeResult(addCT())
        getattr(result, name).SetAndObserveImageData(None)
        assert slicer.util.saveScene(str(tmp_path / "scene.mrb"), {})
        slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": True})
        (result,) = filter(None, map(logic.result, slicer.util.getNodesByClass("vtkMRMLSegmentationNode")))
        with pytest.raises(ValueError, match="of this result were deleted, or never made"):
            logic.relabel(result, 0.4)

    @pytest.mark.parametrize("name", ["probabilityNode", "candidatesNode", "regionsNode"])
    def test_without_what_it_needs_it_is_refused_in_words(self, addCT, makeResult, logic, name):
        result = makeResult(addCT())
        slicer.mrmlScene.RemoveNode(getattr(result, name))
        result = logic.result(result.segmentationNode)
        with pytest.raises(ValueError, match="of this result were deleted, or never made"):
            logic.relabel(result, 0.4)


@pytest.mark.parametrize(
    "extent", [(2, 6, 1, 8, 3, 5), (-3, 4, 5, 20, -1, 9), (20, 25, 0, 8, 0, 6), (-9, -2, 0, 8, 0, 6)]
)
def test_segments_of_one_layer_are_read_from_it(addCT, host, monkeypatch, extent):
    """As Slicer's own reading gives them, wherever the layer lies on the CT, but without its seconds on a large one."""
    from InfNetSegmentationLib import Images

    volumeNode = addCT(OBLIQUE)
    random = np.random.default_rng(3)
    layer, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    layer.SetImageToWorldMatrix(matrix)
    layer.SetExtent(*extent)
    layer.AllocateScalars(vtk.VTK_SHORT, 1)
    values = vtk.util.numpy_support.vtk_to_numpy(layer.GetPointData().GetScalars())
    values[:] = random.integers(0, 5, values.shape)
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for segmentID, value in (("a", 1), ("b", 2), ("c", 4)):  # the segment of the value 3 was deleted
        segment = slicer.vtkSegment()
        segment.SetLabelValue(value)
        segment.AddRepresentation("Binary labelmap", layer)
        segmentationNode.GetSegmentation().AddSegment(segment, segmentID)
    read, isRead = Images._labelsOfLayer, []
    monkeypatch.setattr(Images, "_labelsOfLayer", lambda *of: isRead.append(read(*of)) or isRead[-1])
    orders = (["a", "b", "c"], ["c", None, "a"], ["b"], ["a", "none"])
    fast = [Images.labelsOf(segmentationNode, ids, volumeNode) for ids in orders]
    assert len(isRead) == len(orders) and all(labels is not None for labels in isRead)
    monkeypatch.setattr(Images, "_labelsOfLayer", lambda *of: None)
    for labels, ids in zip(fast, orders, strict=True):
        slow = Images.labelsOf(segmentationNode, ids, volumeNode)
        assert labels.dtype == slow.dtype
        np.testing.assert_array_equal(labels, slow)
    assert fast[0].any() == (extent[0] in range(-3, 3))


@pytest.mark.parametrize("others", [(), ("drawn",)])
def test_a_segment_that_was_erased_on_another_grid_has_no_voxels(addCT, host, others):
    """As on the finer one that Segment Editor offers to paint on."""
    from InfNetSegmentationLib.Images import labelsOf

    volumeNode = addCT()
    drawn = np.random.default_rng(4).integers(0, 2, (7, 9, 11)).astype(np.uint8)
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    half = np.diag([0.5, 0.5, 0.5, 1])
    half[:3, 3] = -0.25
    finerNode = slicer.util.addVolumeFromArray(
        np.zeros((14, 18, 22), np.int16), slicer.util.arrayFromVTKMatrix(matrix) @ half
    )
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(finerNode)
    finer = np.kron(drawn, np.ones((2, 2, 2), np.uint8))
    for name, values in (("erased", np.zeros_like(finer)), ("drawn", finer)):
        segmentationNode.GetSegmentation().AddEmptySegment(name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(values, segmentationNode, name, finerNode)
    labels = labelsOf(segmentationNode, ["erased", *others], volumeNode)
    np.testing.assert_array_equal(labels, 2 * drawn if others else np.zeros_like(drawn))


def test_a_segment_that_was_never_drawn_does_not_hide_where_the_others_are(addCT, host):
    """When a transform above the CT was hardened in one of them; a layer without voxels has no place of its own."""
    from InfNetSegmentationLib.Images import labelsOf

    volumeNode = addCT()
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    for name in ("never", "drawn"):
        segmentationNode.GetSegmentation().AddEmptySegment(name)
    drawn = np.random.default_rng(4).integers(0, 2, (7, 9, 11)).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, segmentationNode, "drawn", volumeNode)
    segmentationNode.SetAndObserveTransformNodeID(putUnderTransform(volumeNode).GetID())
    segmentationNode.HardenTransform()
    np.testing.assert_array_equal(labelsOf(segmentationNode, ["never", "drawn"], volumeNode), 2 * drawn)


def test_contours_that_do_not_become_voxels_are_not_taken_for_none(addCT, host):
    """As those of radiotherapy, without the extension that converts them."""
    from InfNetSegmentationLib.Images import labelsOf

    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "contours")
    segmentationNode.GetSegmentation().SetSourceRepresentationName("Planar contour")
    segment = slicer.vtkSegment()
    segment.AddRepresentation("Planar contour", vtk.vtkPolyData())
    segmentationNode.GetSegmentation().AddSegment(segment, "drawn")
    with pytest.raises(RuntimeError, match="“contours” could not be read"):
        labelsOf(segmentationNode, ["drawn"], addCT())


@pytest.mark.parametrize("underTransform", [False, True])
def test_lesions_come_largest_first_where_they_are_in_the_patient(addCT, makeResult, underTransform):
    from InfNetSegmentationLib.Lesions import lesionsOf, mostDiseasedPoint

    volumeNode = ballsCT(addCT)
    world = np.eye(4)
    if underTransform:
        world = slicer.util.arrayFromTransformMatrix(putUnderTransform(volumeNode))
    ijkToRAS = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(ijkToRAS)
    world = world @ slicer.util.arrayFromVTKMatrix(ijkToRAS)
    result = makeResult(volumeNode)
    lesions = lesionsOf(result)
    voxel = 0.7 * 0.8 * 2.5 / 1000
    assert [lesion.ml for lesion in lesions] == pytest.approx([12 * voxel, 2 * voxel])
    np.testing.assert_allclose(lesions[0].center, (world @ [3.5, 2.5, 2, 1])[:3])
    np.testing.assert_allclose(lesions[1].center, (world @ [8.5, 6, 5, 1])[:3])
    np.testing.assert_allclose(mostDiseasedPoint(result), (world @ [3.5, 2.5, 2, 1])[:3])
    slicer.util.arrayFromVolume(volumeNode)[:] = -800
    result = makeResult(volumeNode, result.segmentationNode)
    assert lesionsOf(result) == [] and mostDiseasedPoint(result) is None


def test_a_study_on_disk_is_the_one_in_the_scene(addCT, makeResult, logic, labelsOf, tmp_path):
    import SimpleITK as sitk
    from infnet.quantification.study import read_study
    from InfNetSegmentationLib.StudyFolder import studySteps

    volumeNode = addCT(OBLIQUE)
    putUnderTransform(volumeNode)
    result = logic.relabel(makeResult(volumeNode), 0.3)
    folder = tmp_path / "out"
    folder.mkdir()
    studyFolder, ctPath = returned(studySteps(result, folder, withProbability=True))
    study = read_study(studyFolder)
    assert (study.case, study.table, study.severity) == ("CT", result.table, result.severity)
    assert study.sources == {"lungs": "threshold and morphology", "lobes": "atlas", "lobes_approximate": True}
    ct = sitk.ReadImage(ctPath)
    for image in (study.findings(), study.lungs(), study.lobes(), study.infection()):
        for get in ("GetSpacing", "GetOrigin", "GetDirection", "GetSize"):
            np.testing.assert_allclose(getattr(image, get)(), getattr(ct, get)(), atol=1e-6)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(study.findings()), labelsOf(result.segmentationNode, volumeNode)
    )
    assert set(np.unique(sitk.GetArrayFromImage(study.lobes()))) == {1, 2, 3, 4, 5}


class TestExistingRegions:
    def addRegions(self, volumeNode, names):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "TS lobes")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        shape = slicer.util.arrayFromVolume(volumeNode).shape
        for number, name in enumerate(names):
            node.GetSegmentation().AddEmptySegment(f"S{number}", name)
            values = np.zeros(shape, np.uint8)
            values[:, number] = 1
            slicer.util.updateSegmentBinaryLabelmapFromArray(values, node, f"S{number}", volumeNode)
        return node

    def test_they_are_recognised_by_name_and_written_on_the_grid(self, addCT, module, tmp_path):
        import SimpleITK as sitk
        from infnet.anatomy.existing_lobes import read_lobes
        from InfNetSegmentationLib.Regions import writeRegions

        volumeNode = addCT(OBLIQUE)
        names = ["aorta", "lung_lower_lobe_left", "left upper lobe", "RML", "right lung", "left lung"]
        node = self.addRegions(volumeNode, names)
        options = writeRegions(node, volumeNode, tmp_path)
        paths = dict(zip(options[::2], options[1::2], strict=True))
        assert list(paths) == ["--lungs", "--lobes"]
        lungs = sitk.ReadImage(paths["--lungs"])
        rows = sitk.GetArrayFromImage(lungs)[0, :, 0]
        assert rows[:6].tolist() == [0, 0, 0, 0, 1, 2]
        lobes = sitk.GetArrayFromImage(read_lobes(__import__("pathlib").Path(paths["--lobes"]), lungs))
        assert lobes[3, :6, 5].tolist() == [0, 5, 4, 2, 0, 0]

    def test_one_lung_alone_is_no_mask_of_the_lungs(self, addCT, module, tmp_path):
        from InfNetSegmentationLib.Regions import writeRegions

        volumeNode = addCT()
        node = self.addRegions(volumeNode, ["right lung", "left upper lobe"])
        assert writeRegions(node, volumeNode, tmp_path)[::2] == ["--lobes"]

    def test_what_cannot_be_used_is_refused_in_words(self, addCT, logic):
        volumeNode = addCT()
        node = self.addRegions(volumeNode, ["heart", "aorta"])
        with pytest.raises(
            ValueError, match=r"No lung and no lobe is recognised in “TS lobes” \(segments: heart, aorta"
        ):
            logic.process(volumeNode, regionsNode=node)
        node = self.addRegions(volumeNode, ["left upper lobe"])
        putUnderTransform(node)
        with pytest.raises(ValueError, match="not under the same transform"):
            logic.process(volumeNode, regionsNode=node)

    def test_they_reach_the_backend(self, addCT, module, fakeBackend):
        volumeNode = addCT()
        node = self.addRegions(volumeNode, ["right lung", "left lung", "left upper lobe"])
        result = module.InfNetSegmentationLogic(fakeBackend("success")).process(volumeNode, regionsNode=node)
        assert (result.lobeSource, result.provenance["lungs"]) == ("existing", "TS_lobes-lungs.nrrd")
        given = segmentArray(node, "S2", volumeNode)
        np.testing.assert_array_equal(segmentArray(result.regionsNode, "LeftUpperLobe", volumeNode), given)


def test_settings_reach_the_backend(addCT, module, fakeBackend, labelsOf):
    volumeNode = ballsCT(addCT)
    result = module.InfNetSegmentationLogic(fakeBackend("success")).process(
        volumeNode, lobeSource="zones", model="other", findingsModel="third", threshold=0.4, minimumLesionMl=0.005
    )
    assert (result.lobeSource, result.provenance["models"]) == ("zones", ["other", "third"])
    assert result.provenance["threshold"] == 0.4
    assert np.bincount(labelsOf(result.segmentationNode, volumeNode).ravel())[1:].tolist() == [12]
    assert result.severity is None


class TestFilesOfAResult:
    def test_report(self, addCT, makeResult, module, fakeBackend, tmp_path):
        result = makeResult(addCT())
        stages = []
        module.InfNetSegmentationLogic(fakeBackend("success")).saveReport(
            result, tmp_path / "r.html", progressCallback=lambda *event: stages.append(event)
        )
        told = json.loads((tmp_path / "r.html").read_text(encoding="utf-8"))
        assert (told["case"], told["table"], told["ct"]) == ("CT", result.table, True)
        assert told["files"] == ["lobes.nrrd", "lungs.nrrd", "result.json", "segmentation.seg.nrrd"]
        assert stages

    def test_dicom_of_a_ct_that_is_not_from_dicom(self, addCT, makeResult, logic, tmp_path):
        with pytest.raises(ValueError, match="was not loaded from DICOM"):
            logic.exportDicom(makeResult(addCT()), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_dicom_gets_the_slices_of_the_ct(self, addCT, makeResult, module, fakeBackend, tmp_path, monkeypatch):
        volumeNode = addCT()
        volumeNode.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
        for uid in ("1.2.3", "1.2.4"):
            (tmp_path / uid).write_text(uid, encoding="utf-8")

        class Database:
            def fileForInstance(self, uid):
                return str(tmp_path / uid)

        monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
        logic = module.InfNetSegmentationLogic(fakeBackend("success"))
        result = makeResult(volumeNode)
        logic.exportDicom(result, tmp_path / "out")
        assert (tmp_path / "out/findings.dcm").read_text(encoding="utf-8").split() == ["00000.dcm", "00001.dcm"]
        (tmp_path / "1.2.4").unlink()
        with pytest.raises(ValueError, match="no longer in Slicer's DICOM database"):
            logic.exportDicom(result, tmp_path / "out")


def test_the_example_of_the_documentation_runs(addCT, module, fakeBackend, monkeypatch, tmp_path, capsys):
    import textwrap

    import InfNetSegmentationLib.BackendProcess as backend

    slicer.util.saveNode(addCT(), str(tmp_path / "ct.nrrd"))
    monkeypatch.chdir(tmp_path)
    slicer.mrmlScene.SetRootDirectory(str(tmp_path))
    monkeypatch.setattr(backend, "backendCommand", lambda: fakeBackend("success"))
    _sentence, _colon, example = module.InfNetSegmentationLogic.__doc__.partition(":\n")
    exec(textwrap.dedent(example), {"slicer": slicer})
    assert "left lower lobe 150.0 50.0" in capsys.readouterr().out
    assert (tmp_path / "ct.seg.nrrd").exists() and (tmp_path / "ct.html").exists()


def test_the_chart_is_shown_in_a_plot_view(addCT, makeResult):
    from InfNetSegmentationLib.Chart import showChart

    viewNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    selectionNode = slicer.app.applicationLogic().GetSelectionNode()
    chartNode = makeResult(addCT()).chartNode
    showChart(chartNode)
    assert chartNode.GetID() in (viewNode.GetPlotChartNodeID(), selectionNode and selectionNode.GetActivePlotChartID())
