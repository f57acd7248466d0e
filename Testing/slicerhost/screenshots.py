"""Pictures of the panel and of the views for the documentation: real runs in the test host, nothing drawn by hand.

python -m slicerhost.screenshots -o Resources/Screenshots

The CTs are those of the package pyradiomics, as in the demo.
"""

import argparse
import io
import math
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
from PIL import Image
from scipy import ndimage

import slicerhost
from slicerhost.demo import loadCT
from slicerhost.sampledata import downloadChestCT
from slicerhost.views import SliceView, ThreeDView

REPOSITORY = Path(__file__).parents[2]
PICTURES = ("states", "result", "change", "batch")
_PANEL_WIDTH = 440
_VIEW = 400  # pixels
_GAP = 12
_COLORS = 128  # of the palette
_BACKGROUND = (239, 239, 239)  # the panel's
_SECONDS = 3600  # a busy machine takes its time


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="screenshots", description="Make the pictures of the documentation.")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--only", choices=PICTURES, nargs="+", default=PICTURES, help="which pictures; default all")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    host = slicerhost.start()
    module = host.loadModule(REPOSITORY / "InfNetSegmentation/InfNetSegmentation.py")
    photographer = Photographer(host, host.openModule(module), options.output)
    photographer.take(options.only)


class Photographer:
    """Brings the panel into one state after the other, as a person would, and takes a picture of each."""

    def __init__(self, host, panel, folder):
        self._host = host
        self._panel = panel
        self._ui = panel.ui
        self._folder = folder
        panel.parent.show()

    def take(self, pictures):
        with _nothingInstalled(self._host):
            self._panel.enter()
            self._ui.applyButton.click()
            firstUse = self._picture()
        self._volumeNode, _warnings = loadCT(downloadChestCT())
        self._panel.enter()
        ready = self._picture()
        error = self._pictureOfError()
        self._ui.applyButton.click()
        self._wait(self._isWellUnderWay)
        running = self._picture()
        self._wait(lambda: not self._panel.logic.running)
        self._views = [
            SliceView(name, orientation, (_VIEW, _VIEW))
            for name, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal"))
        ]
        if "states" in pictures:
            self._save("states", _beside([firstUse, ready, running, error]))
        for name, picture in (
            ("result", self._pictureOfResult),
            ("change", self._pictureOfChange),
            ("batch", self._pictureOfBatch),
        ):
            if name in pictures:
                self._save(name, picture())

    def _isWellUnderWay(self):
        bar = self._ui.progressBar
        return self._ui.stageLabel.text.startswith("Finding the infection,") and bar.value > 0.4 * bar.maximum

    def _pictureOfError(self):
        """A graphics card that is not there."""
        parameterNode = self._panel.logic.getParameterNode()
        parameterNode.device = "cuda:7"
        self._ui.applyButton.click()
        self._wait(lambda: not self._panel.logic.running)
        parameterNode.device = "auto"
        self._ui.logSection.collapsed = True
        return self._picture()

    def _pictureOfResult(self):
        """The panel beside the four views, as the application shows them."""
        ui = self._ui
        for box in (ui.showLobesBox, ui.show3DBox):
            box.click()
        ui.nextLesionButton.click()
        axial, coronal, sagittal = self._slices(self._volumeNode)
        threeD = ThreeDView(size=(_VIEW, _VIEW))
        threeD.fit()
        ui.inputsSection.collapsed = True
        panel = self._picture()
        rows = [_beside([axial, Image.fromarray(threeD.image())]), _beside([coronal, sagittal])]
        return _beside([panel, _above(rows)])

    def _slices(self, volumeNode):
        """The slice views of a CT, where they are."""
        for view in self._views:
            offset = view.node.GetSliceOffset()
            view.show(volumeNode)
            view.node.SetSliceOffset(offset)
        return [Image.fromarray(view.image()) for view in self._views]

    def _pictureOfChange(self):
        """As there is no second scan of a patient, the earlier one is the same CT, turned and moved, with its largest
        lesion erased by hand: what the later one has in its place is new."""
        from InfNetSegmentationLib.Lesions import jumpTo, mostDiseasedPoint

        ui, later = self._ui, self._panel.logic.result(self._ui.outputSegmentationSelector.currentNode())
        for box in (ui.showLobesBox, ui.show3DBox):
            if box.checked:
                box.click()
        earlierNode = _moved(self._volumeNode)
        ui.inputVolumeSelector.setCurrentNode(earlierNode)
        ui.outputSegmentationSelector.setCurrentNode(None)
        ui.applyButton.click()
        self._wait(lambda: not self._panel.logic.running)
        earlier = self._panel.logic.result(ui.outputSegmentationSelector.currentNode())
        point = mostDiseasedPoint(earlier)
        _eraseLargestLesion(earlier)
        ui.measureButton.click()
        ui.inputVolumeSelector.setCurrentNode(self._volumeNode)
        ui.outputSegmentationSelector.setCurrentNode(later.segmentationNode)
        ui.earlierSelector.setCurrentNode(earlier.segmentationNode)
        ui.compareButton.click()
        self._wait(lambda: not self._panel.logic.running)
        ui.showChangeMapBox.click()
        earlier.segmentationNode.GetDisplayNode().SetVisibility(False)
        jumpTo(point)
        ui.inputsSection.collapsed = ui.resultsSection.collapsed = True
        ui.changeSection.collapsed = False
        axial, coronal, _sagittal = self._slices(earlierNode)
        panel = self._picture()
        ui.resultsSection.collapsed = False
        ui.changeSection.collapsed = True
        return _beside([panel, _above([axial, coronal])])

    def _pictureOfBatch(self):
        """Two patients' CTs and a file that is none."""
        ui = self._ui
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "cts"
            folder.mkdir()
            for name in ("lung1", "lung2"):
                (folder / f"{name}.nrrd").symlink_to(downloadChestCT(name).resolve())
            (folder / "letter.nrrd").write_text("Dear colleague", encoding="utf-8")
            ui.outputSegmentationSelector.setCurrentNode(None)
            ui.batchSection.collapsed = False
            ui.batchInputLine.currentPath = str(folder)
            ui.batchButton.click()
            self._wait(lambda: not self._panel.logic.running)
            ui.batchTable.selectRow(2)
            return self._picture()

    def _wait(self, condition):
        self._host.waitUntil(condition, _SECONDS)

    def _picture(self):
        import qt

        parent = self._panel.parent
        parent.resize(_PANEL_WIDTH, 10)
        for _time in range(3):  # labels that wrap their text tell their height by and by
            slicer.app.processEvents()
        parent.resize(_PANEL_WIDTH, parent.layout().totalHeightForWidth(_PANEL_WIDTH))
        slicer.app.processEvents()
        data = qt.QByteArray()
        buffer = qt.QBuffer(data)
        buffer.open(qt.QIODevice.WriteOnly)
        parent.grab().save(buffer, "PNG")
        return Image.open(io.BytesIO(data.data())).convert("RGB")

    def _save(self, name, image):
        path = self._folder / f"{name}.png"
        image.quantize(_COLORS, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
        print(f"{path}: {image.width} x {image.height}, {path.stat().st_size / 1000:.0f} kB")


def _moved(volumeNode):
    """A CT turned by 4 degrees and moved, as of another scan."""
    from InfNetSegmentationLib.Images import imageOf

    image = imageOf(volumeNode)
    center = image.TransformContinuousIndexToPhysicalPoint([size / 2 for size in image.GetSize()])
    transform = sitk.Euler3DTransform(center, 0.0, 0.0, math.radians(4), (9.0, -7.0, 0.0))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "earlier.nrrd")
        sitk.WriteImage(sitk.Resample(image, transform, sitk.sitkLinear, -1024.0), path)
        return slicer.util.loadVolume(path, {"name": f"{volumeNode.GetName()} earlier"})


def _eraseLargestLesion(result):
    from InfNetSegmentationLib.Images import labelsOf
    from InfNetSegmentationLib.Scene import FINDING_IDS, labelmapFromArray, replaceFindings

    labels = labelsOf(result.segmentationNode, FINDING_IDS, result.volumeNode)
    lesions, _count = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    labels[lesions == np.bincount(lesions.ravel())[1:].argmax() + 1] = 0
    replaceFindings(result.segmentationNode, labelmapFromArray(labels, result.volumeNode), result.volumeNode)


@contextmanager
def _nothingInstalled(host):
    """Slicer's Python before the first use: neither torch nor the PyTorch extension."""
    import InfNetSegmentationLib.Dependencies as dependencies

    installed = dependencies._installedVersion
    dependencies._installedVersion = lambda package: None
    try:
        yield
    finally:
        dependencies._installedVersion = installed
        host.errors.clear()


def _beside(images):
    width = sum(image.width for image in images) + _GAP * (len(images) - 1)
    canvas = Image.new("RGB", (width, max(image.height for image in images)), _BACKGROUND)
    left = 0
    for image in images:
        canvas.paste(image, (left, 0))
        left += image.width + _GAP
    return canvas


def _above(images):
    height = sum(image.height for image in images) + _GAP * (len(images) - 1)
    canvas = Image.new("RGB", (max(image.width for image in images), height), _BACKGROUND)
    top = 0
    for image in images:
        canvas.paste(image, (0, top))
        top += image.height + _GAP
    return canvas


if __name__ == "__main__":
    main()
