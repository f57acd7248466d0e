"""What the backend reads is written while Slicer's event loop turns: a large CT freezes nothing."""

import errno
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from generatorsteps import returned


@pytest.fixture
def start(module, fakeBackend, host, monkeypatch, tmp_path):
    """Starts a run of a CT that takes a step for each of its seven slices; returns the logic and what is told."""
    import InfNetSegmentationLib.BackendProcess as backend
    import InfNetSegmentationLib.VolumeFiles as volumeFiles

    monkeypatch.setattr(volumeFiles, "_CHUNK_BYTES", 200)
    monkeypatch.setattr(backend.tempfile, "tempdir", str(tmp_path))
    started = []

    def startIt(volumeNode, scenario="success"):
        told = []
        logic = module.InfNetSegmentationLogic(fakeBackend(scenario))
        started.append(logic)
        logic.process(
            volumeNode,
            waitForCompletion=False,
            completedCallback=lambda result, error: told.append((result, error and error.code, str(error or ""))),
        )
        return logic, told

    yield startIt
    for logic in started:
        logic.abort()


def privateFiles(folder):
    return sorted(path for path in folder.glob("infnet-private-*/*.nrrd"))


def test_the_event_loop_turns_while_a_ct_is_written(start, addCT, host, tmp_path, labelsOf, fakeLabels):
    volumeNode = addCT()
    logic, told = start(volumeNode)
    steps = 0
    while not logic._run.process.running:
        assert logic.running and not told
        slicer.app.processEvents()
        steps += 1
    assert steps >= 7
    host.waitUntil(lambda: told)
    (result, _code, error) = told[0]
    assert error == "" and len(told) == 1
    np.testing.assert_array_equal(labelsOf(result.segmentationNode, volumeNode), fakeLabels(volumeNode))
    assert not list(tmp_path.glob("infnet-private-*"))


@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        (lambda logic, volumeNode: logic.cancel(), "cancelled", "Cancelled."),
        (lambda logic, volumeNode: logic.abort(), "cancelled", "Cancelled."),
        (lambda logic, volumeNode: slicer.mrmlScene.RemoveNode(volumeNode), "cancelled", "“CT” was removed"),
        (lambda logic, volumeNode: slicer.mrmlScene.Clear(False), "cancelled", "the scene was closed"),
    ],
    ids=["cancel", "abort", "deleted", "closed"],
)
def test_what_ends_a_run_ends_it_while_the_ct_is_written(start, addCT, host, tmp_path, end, code, message):
    volumeNode = addCT()
    logic, told = start(volumeNode)
    slicer.app.processEvents()
    assert privateFiles(tmp_path) and not logic._run.process.running
    end(logic, volumeNode)
    assert not logic.running
    assert [(result, told_code) for result, told_code, _message in told] == [(None, code)] and message in told[0][2]
    assert not list(tmp_path.iterdir())
    slicer.app.processEvents()
    assert len(told) == 1


def test_a_full_disk_is_the_runs_error(start, addCT, host, tmp_path, monkeypatch):
    """Simulated: a disk that is full after the header."""
    import InfNetSegmentationLib.VolumeFiles as volumeFiles

    def chunks(*arguments):
        yield b"NRRD0004"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(volumeFiles, "volumeChunks", chunks)
    logic, told = start(addCT())
    host.waitUntil(lambda: not logic.running)
    ((result, code, message),) = told
    assert (result, code) == (None, "output") and "No space left" in message
    assert not list(tmp_path.iterdir())


def test_the_event_loop_turns_while_dicom_headers_are_read(start, host, tmp_path, monkeypatch):
    """A file a step, be it of this series, of another one or none."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "infnet")
    import phantoms

    image = sitk.GetImageFromArray(np.random.default_rng(1).integers(-1000, 300, (7, 9, 11)).astype(np.int16))
    folder = tmp_path / "series"
    phantoms.write_dicom_series(image, folder)
    volumeNode = slicer.util.loadVolume(str(min(folder.iterdir())))
    phantoms.write_dicom_series(image, folder, series="2", names=[f"other-{number}" for number in range(7)])
    (folder / "note.txt").write_text("no image", encoding="utf-8")
    logic, told = start(volumeNode)
    steps = 0
    while not privateFiles(tmp_path):
        assert logic.running and not told
        slicer.app.processEvents()
        steps += 1
    assert steps >= 2 * 7 + 1
    host.waitUntil(lambda: told)
    assert told[0][2] == ""


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_a_volume_in_steps_is_the_one_that_slicer_writes(module, host, tmp_path, dtype):
    from InfNetSegmentationLib.VolumeFiles import sameSteps, volumeSteps
    from slicerhost.scene import writeVolume

    values = np.random.default_rng(2).uniform(0, 250, (5, 6, 7)).astype(dtype)
    ijkToRAS = np.eye(4)
    ijkToRAS[:3, :3] = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0] * [0.7, 0.8, -2.5]
    ijkToRAS[:3, 3] = [12.5, -30.25, 7.0]
    volumeNode = slicer.util.addVolumeFromArray(values, ijkToRAS)
    returned(volumeSteps(volumeNode, tmp_path / "steps.nrrd"))
    writeVolume(volumeNode, tmp_path / "slicer.nrrd")
    ours, theirs = (sitk.ReadImage(tmp_path / f"{name}.nrrd") for name in ("steps", "slicer"))
    assert np.array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))
    assert ours.GetPixelID() == theirs.GetPixelID()
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(ours, get)(), getattr(theirs, get)(), atol=1e-12)
    assert returned(sameSteps(volumeNode, tmp_path / "steps.nrrd"))
    assert not returned(sameSteps(volumeNode, tmp_path / "none.nrrd"))
    slicer.util.arrayFromVolume(volumeNode)[4, 5, 6] += 1
    assert not returned(sameSteps(volumeNode, tmp_path / "steps.nrrd"))
