"""The lung mask where a threshold has a hard time: what is around the chest, in the scan, and in the lungs."""

import numpy as np
import pytest
import SimpleITK as sitk
from hard_chests import HARD, consolidated, effused, voxels
from infnet.anatomy.envelope import lung_envelope
from infnet.anatomy.lungs import LEFT, RIGHT, segment_lungs
from overlap import dice, share
from phantoms import empty_grid, make_chest

# Dice asked of the real volume id001, of the one made of ellipsoids, and share of a consolidation in mask and envelope.
LEAST = {name: (0.983, 0.995) for name in HARD} | {
    "slices of 8 mm": (0.978, 0.99),
    "upper half": (0.978, 0.995),
    "left lung alone": (0.975, 0.995),
    "consolidation of 45 mm radius": (0.982, 0.98),
}
LEAST_IN_MASK = {30: (0.95, 0.55), 45: (0.93, 0.5)}  # with the lateral border as it is: less than 0.25, and 0.07


@pytest.fixture(scope="module")
def ellipsoids():
    chest = make_chest(empty_grid((100, 100, 70), (3.4, 3.4, 3.4)), consolidation=False)
    return chest.ct, chest.lungs


@pytest.fixture(scope="module")
def id001(shared_data):
    images = (sitk.ReadImage(shared_data / f"lungs/id001_{kind}.nii.gz") for kind in ("ct", "lung"))
    return tuple(sitk.DICOMOrient(image, "LPS") for image in images)


def lungs_of(ct):
    return voxels(segment_lungs(ct))


# Of the real volume, what is around the chest is tried together.
CASES = [("id001", 0, name) for name in [*HARD][5:]] + [("ellipsoids", 1, name) for name in HARD]


@pytest.mark.parametrize(("chest", "which", "hardship"), CASES)
def test_the_lungs_are_found(chest, which, hardship, request):
    whole = request.getfixturevalue(chest)
    ct, truth = HARD[hardship](*whole)
    found = lungs_of(ct)
    assert dice(found > 0, voxels(truth) > 0) > LEAST[hardship][which]
    if hardship == "left lung alone":
        assert not (found == RIGHT).any()
    else:
        columns = [np.argwhere(found == side)[:, 2].mean() for side in (RIGHT, LEFT)]
        assert columns[0] < columns[1]
    if hardship.startswith("consolidation"):
        radius = int(hardship.split()[2])
        lesion = consolidated(whole[1], radius)
        assert share(found > 0, lesion) > LEAST_IN_MASK[radius][which]
        envelope = lung_envelope(found, np.array(ct.GetSpacing()[::-1]))
        assert share(envelope > 0, lesion) > (0.99, 0.82)[which]
    if hardship == "effusion":
        assert share(found > 0, effused(whole[1])) < 0.01


def test_gas_in_the_stomach_is_no_lung_on_thick_slices(shared_data):
    """Of id002 it reaches up beside the left lung, parted from it by less than a slice."""
    images = (sitk.ReadImage(shared_data / f"lungs/id002_{kind}.nii.gz") for kind in ("ct", "lung"))
    ct, truth = HARD["slices of 8 mm"](*(sitk.DICOMOrient(image, "LPS") for image in images))
    assert dice(lungs_of(ct) > 0, voxels(truth) > 0) > 0.972


def body_with_dent(below):
    """A right lung with a dent of 20 mm in its lateral border, and lung below it, or the diaphragm."""
    lung = np.zeros((60, 30, 60), bool)
    lung[0 if below else 20 :, :, 10:50] = True
    lung[20:35, 5:20, 10:20] = False
    return lung


def test_a_dent_is_lung_only_with_lung_above_and_below():
    from infnet.anatomy.lungs import _lateral_dents

    spacing = np.array([2.0, 2.0, 2.0])
    dent = np.zeros((60, 30, 60), bool)
    dent[20:35, 5:20, 10:20] = True
    lung = body_with_dent(below=True)
    assert np.array_equal(_lateral_dents(lung, RIGHT, spacing), dent)
    assert np.array_equal(_lateral_dents(lung[:, :, ::-1], LEFT, spacing), dent[:, :, ::-1])
    assert not _lateral_dents(lung[:, :, ::-1], RIGHT, spacing).any(), "towards the heart it is none"
    assert not _lateral_dents(body_with_dent(below=False), RIGHT, spacing).any(), "liver"
    assert not _lateral_dents(lung, RIGHT, np.array([8.0, 2.0, 2.0])).any(), "taller than lesions are"
    assert not _lateral_dents(lung, RIGHT, np.array([2.0, 2.0, 0.9])).any(), "as shallow as a rib"
