"""`InfNetSegmentationLogic.process`, as a script calls it: voxels, geometry, terminology, place in the scene."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

REPOSITORY = Path(__file__).parents[2]
# Directions of the image axes (columns) in RAS: as most CTs are stored, flipped, transposed, oblique.
OBLIQUE = np.linalg.qr(np.array([[-1.0, 0.2, 0.1], [0.15, -1.0, 0.3], [0.1, 0.25, 1.0]]))[0]
DIRECTIONS = {
    "axial": np.diag([-1.0, -1.0, 1.0]),
    "flipped": np.diag([1.0, -1.0, -1.0]),
    "sagittal": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "oblique": OBLIQUE,
}


@pytest.fixture
def process(module, fakeBackend):
    """Runs the logic with the fake backend."""
    return module.InfNetSegmentationLogic(fakeBackend("success")).process


def putUnderTransform(volumeNode):
    """A transform that turns, shifts and scales."""
    matrix = np.array([[0.8, -0.6, 0.0, 20], [0.6, 0.8, 0.0, -5], [0.0, 0.0, 1.5, 3], [0, 0, 0, 1]])
    transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    slicer.util.updateTransformMatrixFromArray(transformNode, matrix)
    volumeNode.SetAndObserveTransformNodeID(transformNode.GetID())
    return transformNode


@pytest.mark.parametrize("underTransform", [False, True])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_segments_are_voxel_for_voxel_those_of_the_backend(
    addCT, process, labelsOf, fakeLabels, direction, underTransform
):
    volumeNode = addCT(DIRECTIONS[direction])
    if underTransform:
        putUnderTransform(volumeNode)
    segmentationNode = process(volumeNode).segmentationNode
    expected = fakeLabels(volumeNode)
    assert 0 < np.count_nonzero(expected == 1) != np.count_nonzero(expected == 2) > 0
    np.testing.assert_array_equal(labelsOf(segmentationNode, volumeNode), expected)
    assert segmentationNode.GetTransformNodeID() == volumeNode.GetTransformNodeID()


def test_a_lesion_is_where_it_is_in_the_patient(addCT, process):
    """The centre of a segment, in world coordinates, on an oblique CT under a transform."""
    volumeNode = addCT(OBLIQUE)
    values = slicer.util.arrayFromVolume(volumeNode)
    values[:] = -800
    values[2, 3:6, 4:7] = 250
    slicer.util.arrayFromVolumeModified(volumeNode)
    ijkToRAS = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(ijkToRAS)
    transformNode = putUnderTransform(volumeNode)
    expected = slicer.util.arrayFromTransformMatrix(transformNode) @ (
        slicer.util.arrayFromVTKMatrix(ijkToRAS) @ [5.0, 4.0, 2.0, 1.0]
    )
    segmentationNode = process(volumeNode).segmentationNode
    center = segmentationNode.GetSegmentCenterRAS("Consolidation")
    np.testing.assert_allclose(center, expected[:3], atol=1e-3)


def test_it_is_said_where_a_transform_changes_the_size_of_the_ct(addCT, process):
    volumeNode = addCT()
    transformNode = putUnderTransform(volumeNode)
    assert "changes its size or shape" in process(volumeNode).warnings[0]
    turn = np.array([[0.8, -0.6, 0.0, 20], [0.6, 0.8, 0.0, -5], [0.0, 0.0, 1.0, 3], [0, 0, 0, 1]])
    slicer.util.updateTransformMatrixFromArray(transformNode, turn)
    assert process(volumeNode).warnings == ["thick slices"]


def test_segments_carry_name_colour_and_terminology(addCT, process):
    segmentation = process(addCT()).segmentationNode.GetSegmentation()
    logic = slicer.modules.terminologies.logic()
    expected = {
        "GroundGlassOpacity": ("Ground-glass opacity", "DCM", "112120", "Ground glass opacity"),
        "Consolidation": ("Consolidation", "SCT", "9656002", "Consolidation"),
    }
    assert [segmentation.GetNthSegmentID(i) for i in range(2)] == list(expected)
    colors = set()
    for segmentID, (name, scheme, code, meaning) in expected.items():
        segment = segmentation.GetSegment(segmentID)
        text = vtk.reference("")
        assert segment.GetTag(segment.GetTerminologyEntryTagName(), text)
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(str(text), entry)
        assert segment.GetName() == name
        assert entry.GetCategoryObject().GetCodeValue() == "49755003"
        finding = entry.GetTypeObject()
        assert finding.GetCodingSchemeDesignator() == scheme
        assert (finding.GetCodeValue(), finding.GetCodeMeaning()) == (code, meaning)
        listed = slicer.vtkSlicerTerminologyEntry()
        assert logic.FindTypeInTerminologyBy3dSlicerLabel(entry.GetTerminologyContextName(), name, listed)
        assert listed.GetTypeObject().GetCodeValue() == code
        assert entry.GetRegionObject().GetCodeValue() == "39607008"  # lung
        recommended = np.array(listed.GetTypeObject().GetRecommendedDisplayRGBValue()) / 255
        np.testing.assert_allclose(segment.GetColor(), recommended)
        colors.add(segment.GetColor())
    assert len(colors) == 2


def test_result_lies_in_the_study_of_the_ct(addCT, process):
    volumeNode = addCT()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "CT chest")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volumeNode), study)
    result = process(volumeNode)
    for node in (result.segmentationNode, result.tableNode):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_table_holds_the_volumes(addCT, process):
    tableNode = process(addCT()).tableNode
    columns = {tableNode.GetColumnName(i): i for i in range(tableNode.GetNumberOfColumns())}
    assert [tableNode.GetCellText(row, columns["Case"]) for row in range(9)] == ["CT"] * 9
    regions = [tableNode.GetCellText(row, columns["Region"]) for row in range(9)]
    assert regions == [
        "right upper lobe",
        "right middle lobe",
        "right lower lobe",
        "left upper lobe",
        "left lower lobe",
        "outside every lobe",
        "right lung",
        "left lung",
        "total",
    ]
    assert float(tableNode.GetCellText(8, columns["Consolidation (mL)"])) == 50.0
    assert float(tableNode.GetCellText(6, columns["Infection (%)"])) == 10.0
    assert float(tableNode.GetCellText(0, columns["CT severity score"])) == 2.0
    assert float(tableNode.GetCellText(1, columns["Well aerated (%)"])) == 70.0
    assert tableNode.GetCellText(8, columns["CT severity score"]) == "nan"


def test_running_again_updates_instead_of_piling_up(addCT, process, labelsOf, fakeLabels):
    volumeNode = addCT()
    first = process(volumeNode)
    slicer.util.arrayFromVolume(volumeNode)[:] -= 60
    numberOfNodes = slicer.mrmlScene.GetNumberOfNodes()
    second = process(volumeNode, first.segmentationNode)
    assert second.segmentationNode is first.segmentationNode
    assert second.tableNode is first.tableNode
    assert slicer.mrmlScene.GetNumberOfNodes() == numberOfNodes
    np.testing.assert_array_equal(labelsOf(second.segmentationNode, volumeNode), fakeLabels(volumeNode))


def test_undo_brings_the_result_of_the_run_before_back(addCT, module, fakeBackend, labelsOf):
    """All of it: findings, lungs and lobes, probability and numbers; and it can be worked on as before."""
    logic = module.InfNetSegmentationLogic(fakeBackend("success"))
    volumeNode = addCT()
    first = logic.relabel(logic.process(volumeNode, lobeSource="zones"), 0.7)

    def state(result):
        regions = result.regionsNode.GetSegmentation()
        return (
            labelsOf(result.segmentationNode, volumeNode).tolist(),
            [
                slicer.util.arrayFromSegmentBinaryLabelmap(result.regionsNode, segmentID, volumeNode).tolist()
                for segmentID in regions.GetSegmentIDs()
            ],
            slicer.util.arrayFromVolume(result.probabilityNode).tolist(),
            (result.table, result.provenance, result.severity),
        )

    before = state(first)
    slicer.util.arrayFromVolume(volumeNode)[:] -= 60
    second = logic.process(volumeNode, first.segmentationNode)
    assert all(new != old for new, old in zip(state(second), before, strict=True))
    undone = logic.undo(second)
    assert state(undone) == before
    assert logic.undo(undone).provenance["threshold"] == 0.5, "and the change of the threshold before it"
    assert not logic.canUndo(first.segmentationNode)


def test_undo_does_not_reach_back_to_another_ct(addCT, module, fakeBackend):
    logic = module.InfNetSegmentationLogic(fakeBackend("success"))
    first = logic.relabel(logic.process(addCT()), 0.7)
    logic.process(addCT(name="another"), first.segmentationNode)
    assert not logic.canUndo(first.segmentationNode)


def test_a_result_stays_when_the_next_one_cannot_be_imported(addCT, module, fakeBackend, labelsOf, monkeypatch):
    from InfNetSegmentationLib import ResultImport
    from InfNetSegmentationLib.BackendProcess import BackendError

    logic = module.InfNetSegmentationLogic(fakeBackend("success"))
    volumeNode = addCT()
    result = logic.process(volumeNode)
    before = labelsOf(result.segmentationNode, volumeNode), result.table, result.provenance
    slicer.util.arrayFromVolume(volumeNode)[:] -= 60
    monkeypatch.setattr(ResultImport, "readVolume", lambda *arguments: 1 / 0)
    with pytest.raises(BackendError, match="could not be imported"):
        logic.process(volumeNode, result.segmentationNode, lobeSource="zones")
    after = logic.result(result.segmentationNode)
    np.testing.assert_array_equal(labelsOf(after.segmentationNode, volumeNode), before[0])
    assert (after.table, after.provenance) == before[1:]
    assert after.regionsNode.GetSegmentation().GetNumberOfSegments() == 7


def test_other_segments_of_the_chosen_segmentation_stay(addCT, process, labelsOf, fakeLabels):
    volumeNode = addCT()
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentationNode.GetSegmentation().AddEmptySegment("lungs", "Lungs")
    lungs = (slicer.util.arrayFromVolume(volumeNode) > -500).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(lungs, segmentationNode, "lungs", volumeNode)
    process(volumeNode, segmentationNode)
    kept = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, "lungs", volumeNode)
    np.testing.assert_array_equal(kept, lungs)
    np.testing.assert_array_equal(labelsOf(segmentationNode, volumeNode), fakeLabels(volumeNode))


def test_other_segments_are_not_moved(addCT, module, fakeBackend, monkeypatch):
    """Refused before anything runs: the chosen segmentation has another segment and is not under the CT's transform."""
    volumeNode = addCT()
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.GetSegmentation().AddEmptySegment("lungs", "Lungs")
    transformNode = putUnderTransform(segmentationNode)
    logic = module.InfNetSegmentationLogic(fakeBackend("success"))
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", None)
        with pytest.raises(ValueError, match="under one transform"):
            logic.process(volumeNode, segmentationNode)
    assert segmentationNode.GetTransformNodeID() == transformNode.GetID()
    volumeNode.SetAndObserveTransformNodeID(transformNode.GetID())
    logic.process(volumeNode, segmentationNode)
    assert segmentationNode.GetSegmentation().GetNumberOfSegments() == 3


def test_surfaces_become_voxels_again_unless_they_are_somebody_elses(addCT, process, labelsOf, fakeLabels):
    """Slicer takes no label image into a segmentation whose source is surfaces."""
    volumeNode = addCT()
    result = process(volumeNode)
    for node in (result.segmentationNode, result.regionsNode):
        node.CreateClosedSurfaceRepresentation()
        node.SetSourceRepresentationToClosedSurface()
    process(volumeNode, result.segmentationNode)
    np.testing.assert_array_equal(labelsOf(result.segmentationNode, volumeNode), fakeLabels(volumeNode))
    contours = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "structure set")
    contours.SetSourceRepresentationToClosedSurface()
    contours.GetSegmentation().AddEmptySegment("heart", "Heart")
    with pytest.raises(ValueError, match="“structure set” keeps other segments as surfaces"):
        process(volumeNode, contours)


def test_a_missing_label_image_leaves_no_node(addCT, module, fakeBackend):
    from InfNetSegmentationLib.BackendProcess import BackendError

    volumeNode = addCT()
    numberOfNodes = slicer.mrmlScene.GetNumberOfNodes()
    completed = []
    with pytest.raises(BackendError, match="could not be imported") as caught:
        module.InfNetSegmentationLogic(fakeBackend("no-label-image")).process(
            volumeNode, completedCallback=lambda *arguments: completed.append(arguments)
        )
    assert caught.value.code == "import"
    assert completed == [(None, caught.value)]
    assert slicer.mrmlScene.GetNumberOfNodes() == numberOfNodes


def test_no_infection_gives_two_empty_segments(addCT, process, labelsOf):
    volumeNode = addCT()
    slicer.util.arrayFromVolume(volumeNode)[:] = -800
    segmentationNode = process(volumeNode).segmentationNode
    assert segmentationNode.GetSegmentation().GetNumberOfSegments() == 2
    assert not labelsOf(segmentationNode, volumeNode).any()


def test_saved_segmentation_comes_back_equal(addCT, process, labelsOf, fakeLabels, tmp_path):
    from InfNetSegmentationLib.Scene import provenance

    volumeNode = addCT(OBLIQUE)
    result = process(volumeNode)
    segmentation = result.segmentationNode.GetSegmentation()

    def describe(segment):
        terminology = vtk.reference("")
        segment.GetTag(segment.GetTerminologyEntryTagName(), terminology)
        return segment.GetName(), np.round(segment.GetColor(), 5).tolist(), str(terminology)

    before = [describe(segmentation.GetNthSegment(i)) for i in range(2)]
    path = tmp_path / "ct.seg.nrrd"
    assert slicer.util.saveNode(result.segmentationNode, str(path), {})
    loaded = slicer.util.loadSegmentation(str(path), {})
    after = [describe(loaded.GetSegmentation().GetNthSegment(i)) for i in range(2)]
    assert after == before
    np.testing.assert_array_equal(labelsOf(loaded, volumeNode), fakeLabels(volumeNode))
    assert provenance(loaded) == result.provenance
    assert result.provenance["note"] == "a | b: c ^ d ~ e \\ „ü“"


def test_the_ct_itself_stays_as_it_was(addCT, process):
    volumeNode = addCT()
    slicer.mrmlScene.GetSubjectHierarchyNode()
    values = slicer.util.arrayFromVolume(volumeNode).copy()
    modified = volumeNode.GetMTime(), volumeNode.GetImageData().GetMTime()
    process(volumeNode)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volumeNode), values)
    assert (volumeNode.GetMTime(), volumeNode.GetImageData().GetMTime()) == modified
    assert volumeNode.GetStorageNode() is None


def test_the_ct_keeps_its_name_in_the_backend(addCT, process):
    """Any name that a person gives it, as a file name that every system takes."""
    result = process(addCT(name="../Müller: 5/2020 *"))
    assert result.provenance["ct"] == ".._M_ller_5_2020_.nrrd"
    assert result.segmentationNode.GetName() == "../Müller: 5/2020 * infection"


def test_names_may_be_longer_than_those_of_files(addCT, process, makeResult):
    volumeNode = addCT(name=60 * "Лёгкие")
    regionsNode = makeResult(volumeNode).regionsNode
    regionsNode.SetName(300 * "lobes")
    assert process(volumeNode, regionsNode=regionsNode).provenance["lobes"] == "existing"


def test_a_name_with_an_ampersand_gives_files_that_a_scene_can_name(addCT, process, host, tmp_path):
    """Slicer writes a file's name into the scene as it is; the CT itself has a name that it can write."""
    volumeNode = addCT(name="Chest & abdomen")
    result = process(volumeNode)
    assert result.segmentationNode.GetName() == "Chest and abdomen infection"
    volumeNode.SetName("CT")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"), {})
    host.clearScene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {})
    assert slicer.util.getNode("Chest and abdomen infection").GetSegmentation().GetNumberOfSegments() == 2


def test_backend_error_is_raised_with_its_message(addCT, module, fakeBackend):
    from InfNetSegmentationLib.BackendProcess import BackendError

    with pytest.raises(BackendError, match=r"No lung was found in ct\.nrrd\.") as caught:
        module.InfNetSegmentationLogic(fakeBackend("error")).process(addCT())
    assert caught.value.code == "no-lung"
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_what_is_no_ct_with_voxels_is_refused(module, host):
    values = np.zeros((3, 4, 5, 3), np.uint8)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    colours = slicer.util.addVolumeFromArray(values, nodeClassName="vtkMRMLVectorVolumeNode")
    labels = slicer.util.addVolumeFromArray(values[..., 0], nodeClassName="vtkMRMLLabelMapVolumeNode")
    for volume in (None, empty, "empty", colours, labels):
        with pytest.raises(ValueError, match="Choose a CT volume that has voxels"):
            module.InfNetSegmentationLogic(["/no/such/program"]).process(volume)


def test_modules_load_without_torch_and_without_a_process():
    """In a fresh interpreter, as at Slicer's start."""
    code = """
import subprocess, sys
sys.path[:0] = ["Testing", "InfNetSegmentation", "InfNetTraining"]
import slicerhost
host = slicerhost.start()
before = set(sys.modules)
subprocess.Popen = None
for name in ("InfNetSegmentation", "InfNetTraining"):
    host.loadModule(f"{name}/{name}.py")
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(" ".join(sorted(new - set(sys.stdlib_module_names))))
assert not host.errors
"""
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=False
    )
    assert finished.returncode == 0, finished.stderr
    loaded = set(finished.stdout.split())
    assert loaded == {"InfNetSegmentation", "InfNetSegmentationLib", "InfNetTraining", "InfNetTrainingLib"}


def test_self_tests_pass(module):
    module.InfNetSegmentationTest().runTest()
