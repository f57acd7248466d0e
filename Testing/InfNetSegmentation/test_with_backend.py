"""The module with the real backend: its files and codes, and a whole run on a phantom of a chest."""

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from infnet.weights.cards import DEFAULT_MODELS, find_card, read_card

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def phantom(monkeypatch):
    """A small chest CT of the backend's tests: lungs, ground glass on the right, consolidation on the left."""
    monkeypatch.syspath_prepend(REPOSITORY / "Testing/infnet")
    monkeypatch.delitem(sys.modules, "phantoms", raising=False)
    import phantoms

    return phantoms.make_chest(phantoms.empty_grid((80, 72, 16), (4.2, 4.2, 12.0)))


def test_a_run_with_the_shipped_models(module, host, phantom, labelsOf, tmp_path):
    path = tmp_path / "chest.nrrd"
    sitk.WriteImage(phantom.ct, path)
    volumeNode = slicer.util.loadVolume(str(path), {})
    stages = []
    result = module.InfNetSegmentationLogic().process(
        volumeNode, device="cpu", progressCallback=lambda stage, done, total: stages.append((stage, done, total))
    )
    # Both findings are told as voxels and as mL; the two must agree.
    voxelVolume = np.prod(volumeNode.GetSpacing()) / 1000
    rows = {row["region"]: row for row in result.table}
    assert list(rows)[-4:] == ["outside every lobe", "right lung", "left lung", "total"]
    assert result.lobeSource in ("atlas", "zones") and len(rows) in (9, 10)
    # What Slicer measures from the scene's nodes is what the backend measured from its files.
    again = module.InfNetSegmentationLogic().measure(result)
    assert again.severity == result.severity
    for row, expected in zip(again.table, result.table, strict=True):
        assert row.keys() == expected.keys()
        assert (
            list(row.values())[1:]
            == [value if value is None else pytest.approx(value) for value in expected.values()][1:]
        )
    for segmentID, key in (("GroundGlassOpacity", "ggo_ml"), ("Consolidation", "consolidation_ml")):
        segment = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentationNode, segmentID, volumeNode)
        assert segment.sum() * voxelVolume == pytest.approx(rows["total"][key])
        assert rows["right lung"][key] + rows["left lung"][key] == pytest.approx(rows["total"][key])
    truth = np.count_nonzero(sitk.GetArrayFromImage(phantom.lungs)) * voxelVolume
    assert rows["total"]["volume_ml"] == pytest.approx(truth, rel=0.1)
    assert {stage for stage, _done, _total in stages} >= {"lungs", "infection"}
    assert all(0 <= done <= total for _stage, done, total in stages)
    assert result.provenance["threshold"] == read_card(find_card(DEFAULT_MODELS["infection"])).threshold
    # Another threshold in the panel is what a run with that threshold gives.
    labels = labelsOf(result.segmentationNode, volumeNode)
    rerun = module.InfNetSegmentationLogic().process(volumeNode, device="cpu", threshold=0.1, minimumLesionMl=1.0)
    relabelled = module.InfNetSegmentationLogic().relabel(result, 0.1, 1.0)
    expected = labelsOf(rerun.segmentationNode, volumeNode)
    assert (expected[labels == 0] > 0).any(), "the lower threshold finds more"
    np.testing.assert_array_equal(labelsOf(relabelled.segmentationNode, volumeNode), expected)
    for key in ("ggo_ml", "consolidation_ml", "infection_ml", "volume_ml"):
        assert relabelled.table[-1][key] == pytest.approx(rerun.table[-1][key])


def test_both_writers_of_segmentations_agree(module, host, tmp_path):
    """The backend writes .seg.nrrd files by itself; Slicer reads from one what the module puts into the scene."""
    from infnet.data.segmentations import write_segmentation
    from InfNetSegmentationLib.Scene import importFindings, provenance

    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 1:3, 2:5] = 1
    labels[2, 2:4, 3:5] = 2
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((0.7, 0.8, 5.0))
    image.SetOrigin((-120.0, 33.0, 8.5))
    image.SetDirection((0.0, 0.6, -0.8, 1.0, 0.0, 0.0, 0.0, 0.8, 0.6))
    origin = {"model": "toy | 1", "threshold": 0.5}
    sitk.WriteImage(image, tmp_path / "labels.nrrd")
    write_segmentation(image, tmp_path / "labels.seg.nrrd", origin)
    volumeNode = slicer.util.loadVolume(str(tmp_path / "labels.nrrd"), {})
    imported = importFindings(tmp_path / "labels.nrrd", volumeNode, provenance=origin)
    loaded = slicer.util.loadSegmentation(str(tmp_path / "labels.seg.nrrd"), {})
    assert provenance(loaded) == provenance(imported) == origin

    def segments(node):
        for number in range(node.GetSegmentation().GetNumberOfSegments()):
            segment = node.GetSegmentation().GetNthSegment(number)
            segmentID = node.GetSegmentation().GetNthSegmentID(number)
            terminology = vtk.reference("")
            segment.GetTag(segment.GetTerminologyEntryTagName(), terminology)
            voxels = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentID, volumeNode)
            color = np.round(segment.GetColor(), 4).tolist()
            yield segmentID, segment.GetName(), color, str(terminology), voxels.tolist()

    assert list(segments(loaded)) == list(segments(imported))
    assert len(list(segments(loaded))) == 2
