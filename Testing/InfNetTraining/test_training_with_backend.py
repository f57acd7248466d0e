"""Runs on the real backend, with networks so small and short that they learn nothing."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Before VTK draws: with Mesa's LLVM in the process, PyTorch's import of Triton, which has another, ends it.
pytest.importorskip("lightning")

REPOSITORY = Path(__file__).parents[2]


def waitForEnd(logic, folder):
    status = logic.status(folder)
    while status.isRunning:
        time.sleep(0.2)
        status = logic.status(folder)
    return status


def test_a_training_with_a_held_out_fifth(module, makeSlices, tmp_path):
    from infnet.training.folds import folds
    from InfNetTrainingLib.Curves import readLosses

    makeSlices(tmp_path / "labelled", count=10)
    config = module.TrainingConfig(
        *(str(tmp_path / name) for name in ("labelled", "run")),
        initial="none",
        epochs=1,
        size=64,
        device="cpu",
        holdOut=True,
    )
    logic = module.InfNetTrainingLogic()
    logic.start(config)
    status = waitForEnd(logic, tmp_path / "run")
    assert status.state == "finished", status.error
    assert {name: len(losses) for name, losses in readLosses(tmp_path / "run").items()} == {"fold-0": 1, "training": 1}
    assert sorted(logic.outcome(tmp_path / "run").images) == folds([str(i) for i in range(10)], 5, config.seed)[0]
    from infnet.weights.store import load_model

    assert load_model(str(logic.install(tmp_path / "run"))).card.name == "run"


def test_slices_of_a_case_in_the_scene_show_what_was_drawn(module, tmp_path, monkeypatch):
    import SimpleITK as sitk
    import slicer

    monkeypatch.syspath_prepend(REPOSITORY / "Testing/infnet")
    monkeypatch.delitem(sys.modules, "phantoms", raising=False)
    import phantoms

    phantom = phantoms.make_chest(phantoms.empty_grid((80, 72, 16), (4.2, 4.2, 12.0)))
    sitk.WriteImage(phantom.ct, tmp_path / "chest.nrrd")
    volumeNode = slicer.util.loadVolume(str(tmp_path / "chest.nrrd"), {})
    lungs = sitk.GetArrayFromImage(phantom.lungs) > 0
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    for name, part in (("Infection", lungs & (np.arange(len(lungs)) % 2 == 0)[:, None, None]), ("Heart", ~lungs)):
        segmentID = segmentationNode.GetSegmentation().AddEmptySegment("", name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(part.astype(np.uint8), segmentationNode, segmentID, volumeNode)
    logic = module.InfNetTrainingLogic()
    result = logic.prepareCases([(volumeNode, segmentationNode)], tmp_path / "slices")
    truths = [np.asarray(Image.open(path)) for path in (tmp_path / "slices/GT").iterdir()]
    assert result["slices"] == len(truths) == lungs.any(axis=(1, 2)).sum()
    # The slices are cropped to the lungs, so they hold every voxel that was drawn.
    assert sum((truth == 1).sum() for truth in truths) == lungs[::2].sum()
    report = logic.check(tmp_path / "slices")
    assert report.canTrain and report.labelled == len(truths)
    assert report.healthy == sum(not truth.any() for truth in truths) > 0
