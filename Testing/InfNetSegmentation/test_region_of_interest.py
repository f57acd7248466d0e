"""A region of interest: what the backend is given, and where its result comes to lie."""

import numpy as np
import pytest
import slicer

AXES = {
    "axial": np.diag([-1.0, -1.0, 1.0]),
    "sagittal": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "oblique": np.linalg.qr(np.array([[-1.0, 0.2, 0.1], [0.15, -1.0, 0.3], [0.1, 0.25, 1.0]]))[0],
}


@pytest.fixture
def logic(module, fakeBackend):
    return module.InfNetSegmentationLogic(fakeBackend("success"))


def transformNode():
    matrix = np.array([[0.8, -0.6, 0.0, 20], [0.6, 0.8, 0.0, -5], [0.0, 0.0, 1.5, 3], [0, 0, 0, 1]])
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    slicer.util.updateTransformMatrixFromArray(node, matrix)
    return node


def addRegion(volumeNode, first, last, parent=None):
    """A region, turned as the CT is, from the centre of one voxel (i, j, k) to that of another, and a little more."""
    from InfNetSegmentationLib.Images import ijkToRAS

    matrix = ijkToRAS(volumeNode)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    objectToNode = np.eye(4)
    objectToNode[:3, :3] = matrix[:3, :3] / spacing
    objectToNode[:3, 3] = (matrix @ [*(np.add(first, last) / 2), 1])[:3]
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "chest")
    node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(objectToNode))
    node.SetSize((np.subtract(last, first) + 0.2) * spacing)
    node.SetAndObserveTransformNodeID(parent.GetID() if parent else None)
    return node


@pytest.mark.parametrize(("axes", "underTransform"), [("axial", False), ("sagittal", False), ("oblique", True)])
def test_only_the_region_is_read_and_the_result_lies_on_the_whole_ct(
    addCT, logic, labelsOf, fakeLabels, axes, underTransform
):
    volumeNode = addCT(AXES[axes])
    parent = transformNode() if underTransform else None
    volumeNode.SetAndObserveTransformNodeID(parent.GetID() if parent else None)
    (i0, j0, k0), (i1, j1, k1) = first, last = (2, 1, 3), (8, 7, 5)
    result = logic.process(volumeNode, roiNode=addRegion(volumeNode, first, last, parent))
    inside = np.zeros(slicer.util.arrayFromVolume(volumeNode).shape, bool)
    inside[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = True
    expected = fakeLabels(volumeNode) * inside
    assert 0 < np.count_nonzero(expected) < np.count_nonzero(fakeLabels(volumeNode))
    np.testing.assert_array_equal(labelsOf(result.segmentationNode, volumeNode), expected)
    right, left = (
        slicer.util.arrayFromSegmentBinaryLabelmap(result.regionsNode, segmentID, volumeNode)
        for segmentID in ("RightLung", "LeftLung")
    )
    np.testing.assert_array_equal(right + left, inside)  # the fake backend calls all that it reads lung
    probability = slicer.util.arrayFromVolume(result.probabilityNode)
    np.testing.assert_array_equal(probability > 0, inside & (slicer.util.arrayFromVolume(volumeNode) > -100))
    # And the result can be worked on as any other.
    again = logic.relabel(result, threshold=0.75)
    np.testing.assert_array_equal(labelsOf(again.segmentationNode, volumeNode) > 0, expected == 2)


def test_the_numbers_say_that_only_the_region_was_read(addCT, logic):
    volumeNode = addCT()
    result = logic.process(volumeNode, roiNode=addRegion(volumeNode, (0, 1, 3), (10, 7, 5)))
    assert "“chest” was read (11 × 7 × 3 of 11 × 9 × 7 voxels)" in result.warnings[0]  # noqa: RUF001
    expected = {"name": "chest", "first_voxel": [0, 1, 3], "size": [11, 7, 3]}
    assert result.provenance["region_of_interest"] == expected
    assert "region_of_interest" not in logic.process(volumeNode, result.segmentationNode).provenance


def test_of_a_region_of_another_orientation_the_box_around_it_is_read(addCT, logic):
    """A cube that stands on its edge, 45 degrees around the CT's k axis: its box is wider by the root of 2."""
    volumeNode = addCT(np.eye(3))
    values = slicer.util.arrayFromVolume(volumeNode)
    assert values.shape == (7, 9, 11)
    region = addRegion(volumeNode, (5, 4, 2), (5, 4, 4))
    matrix = slicer.util.arrayFromVTKMatrix(region.GetObjectToNodeMatrix())
    c = np.sqrt(0.5)
    matrix[:3, :3] = np.array([[c, -c, 0], [c, c, 0], [0, 0, 1]])
    region.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
    region.SetSize(2.0, 2.0, 5.2)  # half a diagonal: 1.41 mm, which is 2.02 voxels along i and 1.77 along j
    found = logic.process(volumeNode, roiNode=region).provenance["region_of_interest"]
    assert (found["first_voxel"], found["size"]) == ([3, 3, 2], [5, 3, 3])


def test_lungs_that_are_there_are_cropped_with_the_ct(addCT, logic, makeResult):
    volumeNode = addCT()
    lobes = makeResult(volumeNode).regionsNode
    result = logic.process(volumeNode, None, lobes, roiNode=addRegion(volumeNode, (2, 1, 3), (8, 7, 5)))
    assert result.lobeSource == "existing"
    for segmentID in ("RightUpperLobe", "LeftLowerLobe", "LeftLung"):
        whole, part = (
            slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentID, volumeNode)
            for node in (lobes, result.regionsNode)
        )
        inside = np.zeros(whole.shape, np.uint8)
        inside[3:6, 1:8, 2:9] = whole[3:6, 1:8, 2:9]
        np.testing.assert_array_equal(part, inside)


def test_a_region_beside_the_ct_is_refused_before_anything_runs(addCT, module):
    volumeNode = addCT()
    region = addRegion(volumeNode, (20, 20, 20), (30, 30, 30))
    with pytest.raises(ValueError, match=r"“chest” holds no voxel of “CT”\. Move the region"):
        module.InfNetSegmentationLogic(["/no/such/program"]).process(volumeNode, roiNode=region)
