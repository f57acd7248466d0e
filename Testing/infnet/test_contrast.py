"""A contrast agent is told of where heart and vessels have it, and is not where bone or calcium are dense."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from infnet import cli
from infnet.anatomy.contrast import contrast_warnings
from infnet.quantification.measurements import measure
from phantoms import DIRECTIONS, coordinates, empty_grid, make_chest, write_dicom_series

BLOOD_HU = 45


def chest(blood_hu, direction="LPS", spacing=3.4, noise_hu=25.0):
    """A chest with a heart, an aorta behind it, muscle, a sternum and a calcified valve."""
    size = [round(length / spacing) for length in (340, 340, 238)]
    grid = empty_grid(size, (spacing,) * 3, DIRECTIONS[direction])
    phantom = make_chest(grid, noise_hu=0)
    hu = sitk.GetArrayFromImage(phantom.ct)
    x, y, z = coordinates(grid)
    soft = hu == 40
    hu[soft & (x**2 + (y + 15) ** 2 + z**2 < 45**2)] = blood_hu
    hu[soft & ((x - 14) ** 2 + (y - 45) ** 2 < 13**2)] = blood_hu
    hu[soft & (abs(x) < 15) & (abs(y + 95) < 8)] = 200  # sternum
    hu[(x**2 + (y + 15) ** 2 + z**2) < 6**2] = 900  # calcium
    hu = hu + np.random.default_rng(0).normal(0, noise_hu, hu.shape)
    ct = sitk.GetImageFromArray(hu.round().astype(np.int16))
    ct.CopyInformation(grid)
    return ct, phantom


@pytest.mark.parametrize("direction", ["LPS", "coronal, flipped", "oblique"])
@pytest.mark.parametrize(("blood_hu", "told"), [(BLOOD_HU, 0), (90, 0), (180, 1), (350, 1)])
def test_blood_with_contrast_agent_is_told_of(blood_hu, told, direction):
    ct, phantom = chest(blood_hu, direction)
    warnings = contrast_warnings(ct, phantom.lungs)
    assert len(warnings) == told and all("contrast" in warning for warning in warnings)


def test_it_is_a_warning_of_the_measurements():
    for blood_hu, told in ((BLOOD_HU, False), (250, True)):
        ct, phantom = chest(blood_hu)
        warnings = measure(ct, phantom.findings, phantom.lungs, None).warnings
        assert any("contrast" in warning for warning in warnings) == told


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        ("OMNIPAQUE 350 ", True),
        ("APPLIED", True),
        ("Non-ionic 100 ml", True),
        ("NOVAQUE", True),  # no such agent
        ("", False),
        ("NONE", False),
        (" no", False),
        ("No contrast", False),
        ("NON_CONTRAST", False),
    ],
)
def test_the_agent_that_the_dicom_header_names_is_told_of(tmp_path, agent, told):
    """Blood looks as it does without one: what was given may not be there yet, or gone."""
    ct, phantom = chest(BLOOD_HU, spacing=6.8)
    write_dicom_series(ct, tmp_path / "series", more_tags=[("0018|0010", agent)])
    sitk.WriteImage(phantom.findings, tmp_path / "s.nrrd")
    sitk.WriteImage(phantom.lungs, tmp_path / "lungs.nrrd")
    files = ["--segmentation", tmp_path / "s.nrrd", "--lungs", tmp_path / "lungs.nrrd", "-o", tmp_path / "t.json"]
    assert cli.main(["quantify", *map(str, [tmp_path / "series", *files])]) == 0
    warnings = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["warnings"]
    about = [warning for warning in warnings if "contrast agent" in warning]
    assert len(about) == told and all(f"names {agent.strip()}." in warning for warning in about)


def test_of_one_lung_or_none_nothing_is_told():
    ct, phantom = chest(250)
    for lungs in (phantom.lungs * 0, sitk.Cast(phantom.lungs == 1, sitk.sitkUInt8)):
        assert contrast_warnings(ct, lungs) == []


@pytest.mark.parametrize("case", ["id001", "id002"])
def test_real_scans_without_contrast_agent(shared_data, case):
    ct = sitk.ReadImage(shared_data / f"lungs/{case}_ct.nii.gz")
    mask = sitk.ReadImage(shared_data / f"lungs/{case}_lung.nii.gz")
    right = mask * 0
    right[: mask.GetSize()[0] // 2, :, :] = 1
    assert contrast_warnings(ct, mask * 2 - mask * right) == []
