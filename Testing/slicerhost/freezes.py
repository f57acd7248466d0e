"""How long Slicer's event loop waits while a large CT and its findings are written for the backend.

python -m slicerhost.freezes --slices 600 --series FOLDER
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
from pydicom import dcmread
from pydicom.uid import generate_uid

import slicerhost
from slicerhost.scene import writeVolume


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="freezes", description="Measure how long the event loop waits.")
    parser.add_argument("--slices", type=int, default=600, help="of 512 x 512 voxels; default %(default)s")
    parser.add_argument("--series", type=Path, help="folder of DICOM slices, of which 1000 are made")
    options = parser.parse_args(arguments)
    slicerhost.start()
    from InfNetSegmentationLib.Images import labelsOf
    from InfNetSegmentationLib.Scene import FINDING_IDS, importFindings
    from InfNetSegmentationLib.SliceOrder import sliceOrderSteps
    from InfNetSegmentationLib.VolumeFiles import arraySteps, volumeSteps

    shape = (options.slices, 512, 512)
    values = np.random.default_rng(0).integers(-1000, 300, shape, np.int16)
    volumeNode = slicer.util.addVolumeFromArray(values, np.diag([-0.7, -0.7, 0.6, 1]))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tell("CT, by Slicer's writer", [timed(writeVolume, volumeNode, folder / "ct.nrrd")])
        tell("CT", timesOfSteps(volumeSteps(volumeNode, folder / "ct.nrrd")))
        labels = np.zeros(shape, np.uint8)
        labels[:, 100:300, 100:400] = values[:, 100:300, 100:400] > 0
        tell("findings", timesOfSteps(arraySteps(labels, volumeNode, folder / "findings.nrrd")))
        segmentationNode = importFindings(folder / "findings.nrrd", volumeNode)
        tell("findings, out of the segmentation", [timed(labelsOf, segmentationNode, FINDING_IDS, volumeNode)])
        image = sitk.GetImageFromArray(labels)
        tell("findings, by SimpleITK", [timed(sitk.WriteImage, image, str(folder / "findings.nrrd"), True)])
    if options.series:
        with tempfile.TemporaryDirectory() as temporary:
            writeSeries(options.series, Path(temporary))
            tell("order of DICOM slices, by SimpleITK", [timed(filesInOrder, temporary)])
            loaded = loadedByName(volumeNode, Path(temporary))
            tell("order of DICOM slices", timesOfSteps(sliceOrderSteps(loaded)))


def writeSeries(source, folder, count=1000):
    """Make a long series of a short one: each of its slices at many positions."""
    slices = [dcmread(path) for path in sorted(source.iterdir())]
    for number in range(count):
        image = slices[number % len(slices)]
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.ImagePositionPatient = [*image.ImagePositionPatient[:2], number]
        image.save_as(folder / f"{number:04}.dcm")


def filesInOrder(folder):
    for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(folder):
        sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder, uid)


def loadedByName(volumeNode, folder):
    """The volume as if it had been loaded from these files."""
    volumeNode.AddDefaultStorageNode()
    for path in sorted(folder.iterdir()):
        volumeNode.GetStorageNode().AddFileName(str(path))
    return volumeNode


def timed(function, *arguments):
    """Seconds by the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    function(*arguments)
    return time.perf_counter() - clock, time.process_time() - processor


def timesOfSteps(steps):
    times, end = [], object()
    last = None
    while last is not end:

        def step():
            nonlocal last
            last = next(steps, end)

        times.append(timed(step))
    return times


def tell(what, times):
    clock, processor = (max(values) for values in zip(*times, strict=True))
    total = sum(seconds for _clock, seconds in times)
    print(f"{what}: longest step {clock:.2f} s, of the processor {processor:.2f} s; all {len(times)}: {total:.2f} s")


if __name__ == "__main__":
    main()
