"""The programs that others make for lobes, where they are installed; the tests of each are skipped where it is not.

Of lungmask all is its own, networks, cropping and clean-up, but the weights, which a test cannot download: they are
made so that the outcome is known. Of TotalSegmentator it is the names and the labels.
"""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from infnet.anatomy.lobes import segment_lobes
from infnet.anatomy.recognition import LABEL_MAPS, recognise
from infnet.anatomy.regions import LOBES
from infnet.anatomy.totalsegmentator_lobes import _LOBES as ASKED_OF_TOTALSEGMENTATOR
from overlap import dice

TISSUE_HU = 40
LOBE_HU = {1: -700, 2: -600, 3: -500, 4: -900, 5: -800}  # by infnet's labels
LUNGMASK_ORDER = (4, 5, 1, 2, 3)  # left upper, left lower, right upper, middle, lower


def nearest_density(hu):
    """Weights of lungmask's network by which each pixel is of the class whose density is the nearest to its own."""
    from lungmask.resunet import UNet

    network = UNet(n_classes=len(hu), padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
    centres = (torch.tensor(hu, dtype=torch.float32) + 1024) / 1624  # as lungmask scales what it is given
    with torch.no_grad():
        for name, values in network.named_parameters():
            if not (name.endswith("weight") and values.ndim == 1):  # batch normalisation keeps what it gets
                values.zero_()
        first, last = network.down_path[0].block, network.up_path[-1].conv_block.block
        for layer, channel in ((first[0], 0), (first[3], 0), (last[0], 64), (last[3], 0)):  # 64: beside what comes up
            layer.weight[0, channel, 1, 1] = 1
        network.last.weight[:, 0, 0, 0] = 2 * centres
        network.last.bias.copy_(-(centres**2))
    return network.state_dict()


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Files where lungmask looks for those that it has downloaded."""
    lungmask = pytest.importorskip("lungmask.mask", reason="lungmask is not installed")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    lobes = [TISSUE_HU, *(LOBE_HU[label] for label in LUNGMASK_ORDER)]
    for model, hu in (("LTRCLobes", lobes), ("R231", [TISSUE_HU, -600, -850])):
        torch.save(nearest_density(hu), folder / Path(lungmask.MODEL_URLS[model][0]).name)


def test_lobes_have_our_labels_on_the_ct_s_grid_whatever_its_direction(weights):
    truth = np.zeros((2, 64, 96), np.uint8)
    for lobe, (z, y, x) in {
        1: (slice(1, 2), slice(8, 40), slice(8, 40)),
        2: (slice(0, 1), slice(8, 28), slice(8, 40)),
        3: (slice(0, 2), slice(40, 58), slice(8, 40)),
        4: (slice(1, 2), slice(8, 58), slice(56, 88)),
        5: (slice(0, 1), slice(8, 58), slice(56, 88)),
    }.items():
        truth[z, y, x] = lobe
    hu = np.array([TISSUE_HU, *(LOBE_HU[label] for label in sorted(LOBE_HU))], np.int16)[truth]
    ct, expected = (sitk.GetImageFromArray(array) for array in (hu, truth))
    for image in (ct, expected):
        image.SetSpacing((3.0, 3.0, 30.0))
        image.SetOrigin((-140.0, -90.0, -50.0))
    ct, expected = (sitk.DICOMOrient(image, "SLA") for image in (ct, expected))
    lungs = sitk.Cast(expected > 0, sitk.sitkUInt8)
    lobes = segment_lobes(ct, lungs, "lungmask")
    assert (lobes.source, lobes.approximate, lobes.warnings) == ("lungmask", False, [])
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(lobes.image, get)() == getattr(ct, get)()
    found, wanted = (sitk.GetArrayFromImage(image) for image in (lobes.image, expected))
    for lobe in LOBES:
        assert dice(found == lobe.label, wanted == lobe.label) > 0.93, lobe.name


@pytest.mark.parametrize(("task", "labels"), [("total", LABEL_MAPS[2][1]), ("total_v1", LABEL_MAPS[3][1])])
def test_totalsegmentator_s_names_and_labels(task, labels):
    classes = pytest.importorskip("totalsegmentator.map_to_binary", reason="it is not installed").class_map[task]
    assert {label: region for label, name in classes.items() if (region := recognise(name))} == labels
    assert {classes[label] for label in labels} == {f"lung_{lobe}" for lobe in ASKED_OF_TOTALSEGMENTATOR}
