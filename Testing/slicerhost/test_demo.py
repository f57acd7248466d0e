"""The demo, on a small CT made here: files, picture, DICOM, bad input."""

import csv
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import SimpleITK as sitk
import slicer

from slicerhost import demo, sampledata
from slicerhost.fakebackend import LOBES
from slicerhost.views import renderingProblem


@pytest.fixture(scope="session")
def chestPath(tmp_path_factory):
    """A CT of a thorax: two lungs in soft tissue, a hazy and a dense ball in the left one (right in the picture)."""
    z, y, x = np.indices((32, 96, 128))
    body = ((x - 63.5) / 58) ** 2 + ((y - 47.5) / 40) ** 2 < 1
    values = np.where(body, 40, -1000)
    for center in (36, 91):
        values[((x - center) / 18) ** 2 + ((y - 47) / 28) ** 2 + ((z - 15.5) / 13) ** 2 < 1] = -850
    values[(x - 85) ** 2 + (y - 43) ** 2 + (2 * (z - 16)) ** 2 < 60] = 150
    values[(x - 97) ** 2 + (y - 53) ** 2 + (2 * (z - 16)) ** 2 < 60] = 250
    image = sitk.GetImageFromArray(values.astype(np.int16))
    image.SetSpacing((2.5, 2.5, 7.0))
    image.SetOrigin((-160.0, -120.0, -300.0))
    path = tmp_path_factory.mktemp("ct") / "chest.nrrd"
    sitk.WriteImage(image, path)
    return path


@pytest.fixture
def runDemo(host, fakeBackend, monkeypatch, tmp_path):
    """Runs the demo with the scripted fake backend; returns its exit status and the output folder."""

    def run(*arguments, scenario="success"):
        monkeypatch.syspath_prepend(demo.REPOSITORY / "InfNetSegmentation")
        import InfNetSegmentationLib.BackendProcess as backend

        monkeypatch.setattr(backend, "backendCommand", lambda: fakeBackend(scenario))
        monkeypatch.chdir(tmp_path)
        return demo.main([*map(str, arguments), "-o", "out"]), tmp_path / "out"

    return run


def test_demo_writes_segmentation_table_and_picture(runDemo, chestPath, host, tmp_path, capsys):
    problem = renderingProblem()
    if problem:
        pytest.skip(problem)
    status, folder = runDemo(os.path.relpath(chestPath, tmp_path))
    assert status == 0
    printed = capsys.readouterr().out
    for ending in (".seg.nrrd", ".csv", ".png"):
        path = folder / f"chest{ending}"
        assert path.stat().st_size > 0
        assert str(path) in printed
    with (folder / "chest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["Case"], row["Region"]) for row in rows] == [
        ("chest", region) for region in (*LOBES, "outside every lobe", "right lung", "left lung", "total")
    ]
    assert "lobes: atlas, approximate; CT severity score 10 of 25" in " ".join(printed.split())
    assert all(lobe in printed for lobe in LOBES)
    assert printed.splitlines()[-1] == "For research; not for clinical decisions."
    host.clearScene()
    ct = slicer.util.loadVolume(str(chestPath), {})
    segmentationNode = slicer.util.loadSegmentation(str(folder / "chest.seg.nrrd"), {})
    dense = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, "Consolidation", ct)
    np.testing.assert_array_equal(dense, slicer.util.arrayFromVolume(ct) >= 200)
    checkPicture(folder / "chest.png")


def checkPicture(path):
    """Three views side by side, each showing both findings in their colours."""
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(path))[..., :3].astype(int)
    height, width, _ = pixels.shape
    red, green, blue = np.moveaxis(pixels, -1, 0)
    reddish = (red > 90) & (red > green + 40) & (red > blue + 40)
    greenish = (green > 90) & (green > red + 30) & (green > blue + 30)
    views = slice(height // 8, 7 * height // 8)  # without title and legend
    for number in range(3):
        columns = slice(number * width // 3, (number + 1) * width // 3)
        assert np.count_nonzero(reddish[views, columns]) > 100, f"no ground-glass opacity in view {number}"
        assert np.count_nonzero(greenish[views, columns]) > 100, f"no consolidation in view {number}"
    # The findings are in the patient's left lung: right in the axial view, the hazy one in front, that is above.
    axial = slice(0, width // 3)
    for color in (reddish, greenish):
        assert np.nonzero(color[views, axial])[1].mean() > width / 6
    assert np.nonzero(reddish[views, axial])[0].mean() < np.nonzero(greenish[views, axial])[0].mean()


def test_without_qt_and_opengl_the_rest_is_written_and_the_remedy_told(chestPath, fakeBackend, tmp_path):
    """On a machine that lacks the system's graphics libraries, in a process of its own."""
    code = f"""
import sys
sys.modules["PySide6.QtGui"] = None
sys.path[:0] = [{str(demo.REPOSITORY / "Testing")!r}, {str(demo.REPOSITORY / "InfNetSegmentation")!r}]
import slicerhost
assert slicerhost.start().qtProblem
import InfNetSegmentationLib.BackendProcess as backend
backend.backendCommand = lambda: {fakeBackend("success")}
from slicerhost import demo
sys.exit(demo.main([{str(chestPath)!r}, "-o", {str(tmp_path)!r}]))
"""
    # Neither EGL nor a display, and a software renderer that is hardly ever installed.
    hidden = {"VTK_DEFAULT_OPENGL_WINDOW": "vtkOSOpenGLRenderWindow", "__EGL_VENDOR_LIBRARY_DIRS": "/nowhere"}
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"} | hidden
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert finished.returncode == 0, finished.stderr
    if (tmp_path / "chest.png").exists():
        pytest.skip("this machine renders by a software library that cannot be hidden")
    assert "apt-get install" in finished.stdout
    assert (tmp_path / "chest.seg.nrrd").exists()
    assert (tmp_path / "chest.csv").exists()


@pytest.fixture
def writeDicom(monkeypatch):
    """Writes axial slices with file names in no order, by the function of the backend's tests."""
    monkeypatch.syspath_prepend(demo.REPOSITORY / "Testing/infnet")
    import phantoms

    def write(image, folder, series="1"):
        names = [f"{series}-{number:03}" for number in np.random.default_rng(0).permutation(image.GetDepth())]
        phantoms.write_dicom_series(image, folder, series, names)

    return write


def test_dicom_slices_are_sorted_by_position(host, chestPath, writeDicom, tmp_path):
    writeDicom(sitk.ReadImage(chestPath), tmp_path)
    volumeNode, warnings = demo.loadCT(tmp_path)
    assert any("7.0 mm apart" in warning for warning in warnings)
    expected = slicer.util.loadVolume(str(chestPath), {})
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volumeNode), slicer.util.arrayFromVolume(expected))
    np.testing.assert_allclose(volumeNode.GetSpacing(), expected.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(volumeNode.GetOrigin(), expected.GetOrigin(), atol=1e-6)


def test_several_dicom_series_are_told_or_refused(runDemo, chestPath, writeDicom, tmp_path, capsys, monkeypatch):
    """As the backend does: the longest is taken with a warning; of equally long ones none."""
    monkeypatch.setattr("slicerhost.views.renderingProblem", lambda: "No picture in this test.")
    image = sitk.ReadImage(chestPath)
    folder = tmp_path / "dicom"
    writeDicom(image, folder, "1")
    writeDicom(image[:, :, 4:8], folder, "2")
    _volumeNode, warnings = demo.loadCT(folder)
    assert "2 DICOM series" in warnings[0]
    status, _folder = runDemo(folder)
    assert status == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert [printed.count(warning) for warning in warnings] == [1] * len(warnings)
    writeDicom(image, folder, "3")
    status, _folder = runDemo(folder)
    assert status == 1
    assert "several DICOM series" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["missing", "empty folder", "not an image"])
def test_bad_input_gets_one_clear_line(runDemo, tmp_path, capsys, what):
    path = tmp_path / "input"
    if what == "empty folder":
        path.mkdir()
    elif what == "not an image":
        path = tmp_path / "input.nrrd"
        path.write_text("not an image", encoding="utf-8")
    status, folder = runDemo(path)
    assert status == 1
    assert str(path) in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_backend_error_is_told(runDemo, chestPath, capsys):
    status, folder = runDemo(chestPath, scenario="error")
    assert status == 1
    assert "demo: No lung was found in ct.nrrd." in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_without_a_registry_it_says_how_to_give_a_ct(runDemo, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    status, _folder = runDemo()
    assert status == 1
    message = capsys.readouterr().err
    assert "could not be downloaded from the package registry" in message
    assert "pyradiomics" in message
    assert "./demo CT" in message


def test_a_sample_that_was_changed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def download(folder):
        content = tmp_path / "lung2_image.nrrd"
        content.write_bytes(b"another CT")
        archive = folder / "pyradiomics-3.0.1.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(content, sampledata._MEMBER.format("lung2"))
        return archive

    monkeypatch.setattr(sampledata, "_downloadSourceDistribution", download)
    with pytest.raises(RuntimeError, match="not the one expected"):
        sampledata.downloadChestCT()
    assert not list((tmp_path / "cache/infnet").iterdir())


def test_a_broken_configuration_of_pip_is_no_obstacle(monkeypatch):
    monkeypatch.setattr(sampledata.sys, "executable", "false")
    assert sampledata._registryOptions() == []


def test_the_sample_comes_from_the_cache_the_second_time(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sampledata.subprocess, "run", None)
    cached = tmp_path / "infnet/lung2.nrrd"
    cached.parent.mkdir()
    cached.touch()
    assert sampledata.downloadChestCT() == cached
