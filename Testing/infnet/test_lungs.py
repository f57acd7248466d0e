"""The lung mask: on a phantom with truth, on real CTs with masks, and where there is no lung."""

import numpy as np
import pytest
import SimpleITK as sitk
from infnet.anatomy.envelope import lung_envelope
from infnet.anatomy.lungs import LEFT, RIGHT, lung_warnings, segment_lungs
from infnet.errors import NoLungError
from overlap import dice, share
from phantoms import DIRECTIONS, coordinates, empty_grid, make_chest

voxels = sitk.GetArrayFromImage


def grid(direction="LPS"):
    return empty_grid((100, 100, 70), (3.4, 3.4, 3.4), DIRECTIONS[direction])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_each_lung_is_found_on_its_side_whatever_the_direction(direction):
    phantom = make_chest(grid(direction))
    lungs = segment_lungs(phantom.ct)
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(lungs, get)() == getattr(phantom.ct, get)()
    assert lungs.GetPixelID() == sitk.sitkUInt8
    found, truth = voxels(lungs), voxels(phantom.lungs)
    assert dice(found == RIGHT, truth == RIGHT) > 0.98
    assert dice(found == LEFT, truth == LEFT) > 0.97  # it has the consolidation
    assert share(found > 0, voxels(phantom.airways) > 0) < 0.02


def test_lungs_that_touch_are_parted():
    phantom = make_chest(grid(), joined=True)
    found, truth = voxels(segment_lungs(phantom.ct)), voxels(phantom.lungs)
    assert dice(found == RIGHT, truth == RIGHT) > 0.98 and dice(found == LEFT, truth == LEFT) > 0.97


@pytest.mark.parametrize("direction", ["LPS", "coronal, flipped"])
def test_a_single_lung_is_labelled_by_its_side(direction):
    phantom = make_chest(grid(direction), left_lung=False)
    found = voxels(segment_lungs(phantom.ct))
    assert dice(found == RIGHT, voxels(phantom.lungs) == RIGHT) > 0.98 and not (found == LEFT).any()


def test_a_tight_crop_does_not_take_the_lungs_for_outside_air():
    phantom = make_chest(grid())
    truth = voxels(phantom.lungs)
    rows, columns = np.flatnonzero(truth.any((0, 2))), np.flatnonzero(truth.any((0, 1)))
    x, y = (slice(int(lung[0]) + 1, int(lung[-1])) for lung in (columns, rows))
    found = voxels(segment_lungs(phantom.ct[x, y, :]))
    assert dice(found > 0, voxels(phantom.lungs[x, y, :]) > 0) > 0.97


def test_a_blanket_as_dense_as_lung_is_outside():
    """It lies within the hull of the body where arms lie before the chest; its mean HU are those of a lung."""
    phantom = make_chest(empty_grid((110, 100, 40), (3.4, 3.4, 5.5)), noise_hu=0)
    hu = voxels(phantom.ct)
    z, y, x = (indices - (n - 1) / 2 for indices, n in zip(np.indices(hu.shape), hu.shape, strict=True))
    z, y, x = 5.5 * z, 3.4 * y, 3.4 * x
    outside = (x / 150) ** 2 + (y / 112) ** 2 >= 1
    hu[outside & (y < 100) & (hu == -1000)] = -880
    hu[(abs(abs(x) - 170) < 10) & (abs(y + 70) < 25)] = 40
    hu[outside & (abs(x) < 170) & (abs(y + 70) < 20) & (z > 95)] = 40  # arms and chest are one body
    ct = sitk.GetImageFromArray(hu)
    ct.CopyInformation(phantom.ct)
    assert dice(voxels(segment_lungs(ct)) > 0, voxels(phantom.lungs) > 0) > 0.98  # 0.68 with what the hull holds


def test_half_a_chest_keeps_its_side():
    phantom = make_chest(grid())
    left_half = slice(48, 100)
    found = voxels(segment_lungs(phantom.ct[left_half, :, :]))
    assert dice(found == LEFT, voxels(phantom.lungs[left_half, :, :]) == LEFT) > 0.97 and not (found == RIGHT).any()


def test_a_lung_that_was_not_found_is_told():
    assert lung_warnings(segment_lungs(make_chest(grid()).ct)) == []
    (warning,) = lung_warnings(segment_lungs(make_chest(grid(), left_lung=False).ct))
    assert "Only the right lung" in warning and "of the left lung and of the total" in warning


@pytest.mark.parametrize(("right", "left", "expected"), [(99, 33, []), (100, 33, ["left"]), (20, 100, ["right"])])
def test_a_lung_of_less_than_a_third_of_the_other_is_told(right, left, expected):
    voxels = np.zeros((1, 2, 100), np.uint8)
    voxels[0, 0, :right], voxels[0, 1, :left] = RIGHT, LEFT
    warnings = lung_warnings(sitk.GetImageFromArray(voxels))
    assert [warning.split()[1] for warning in warnings] == expected
    assert all(f"{100 * min(right, left) / max(right, left):.0f} %" in warning for warning in warnings)


def with_dense_lung(phantom, where):
    """The phantom's CT with consolidation where a function of x, y, z (mm, LPS) says, within the lungs."""
    dense = where(*coordinates(phantom.ct)) & (voxels(phantom.lungs) > 0)
    ct = sitk.GetImageFromArray(np.where(dense, 40, voxels(phantom.ct)))
    ct.CopyInformation(phantom.ct)
    return ct


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_dense_lower_lobe_is_told_of_whatever_the_direction(direction):
    phantom = make_chest(grid(direction), consolidation=False)
    assert lung_warnings(segment_lungs(phantom.ct)) == []
    for side, sign in (("right", -1), ("left", 1)):
        ct = with_dense_lung(phantom, lambda x, y, z, sign=sign: (z < y - 15) & (x * sign > 0))  # behind a fissure
        (warning,) = lung_warnings(segment_lungs(ct))
        assert warning.startswith(f"The lower half of the {side} lung") and f"rows of the {side} lung" in warning


def test_dense_bases_of_both_lungs_are_told_of():
    ct = with_dense_lung(make_chest(grid(), consolidation=False), lambda x, y, z: (z < 20) & (y > 0))
    warnings = lung_warnings(segment_lungs(ct))
    assert [warning.split(" lung")[0] for warning in warnings] == [
        f"The lower half of the {side}" for side in ("right", "left")
    ]


def test_a_dense_upper_lobe_is_told_of():
    ct = with_dense_lung(make_chest(grid(), consolidation=False), lambda x, y, z: (z > 20) & (x > 0))
    (warning,) = lung_warnings(segment_lungs(ct))
    assert warning.startswith("The left lung found ends") and "below the other one's apex" in warning


def test_the_envelope_regains_a_consolidation_at_the_pleura():
    phantom = make_chest(grid())
    consolidation = voxels(phantom.findings) == 2
    lungs = voxels(segment_lungs(phantom.ct))
    envelope = lung_envelope(lungs, np.array([3.4, 3.4, 3.4]))
    assert share(lungs > 0, consolidation) < 0.9, "the phantom should show why an envelope is needed"
    assert share(envelope == LEFT, consolidation) > 0.98
    assert np.array_equal(envelope[lungs > 0], lungs[lungs > 0])


def test_an_envelope_is_the_hull_of_each_lung_and_5_mm_more():
    lungs = np.zeros((1, 80, 120), np.uint8)
    lungs[0, 20:60, 20:24] = RIGHT  # an L: its hull is a triangle
    lungs[0, 56:60, 20:50] = RIGHT
    lungs[0, 20:60, 70:110] = LEFT
    envelope = lung_envelope(lungs, np.array([5.0, 0.5, 1.0]))[0]
    assert envelope[48, 30] == RIGHT and envelope[25, 45] == 0
    rows, columns = np.nonzero(envelope == LEFT)
    assert (rows.min(), rows.max()) == (20 - 10, 59 + 10) and (columns.min(), columns.max()) == (70 - 5, 109 + 5)


def test_an_envelope_of_nothing_and_of_single_voxels():
    lungs = np.zeros((3, 20, 20), np.uint8)
    assert not lung_envelope(lungs, np.ones(3)).any()
    lungs[1, 10, 4], lungs[1, 10, 15] = RIGHT, LEFT
    envelope = lung_envelope(lungs, np.ones(3))
    assert not envelope[[0, 2]].any()
    rows, columns = np.nonzero(envelope[1] == RIGHT)
    assert np.hypot(rows - 10, columns - 4).max() <= 5 and len(rows) > 60


def water_with_gas():
    hu = np.full((30, 60, 60), -1000, np.int16)
    z, y, x = np.indices(hu.shape)
    hu[(y - 30) ** 2 + (x - 30) ** 2 < 26**2] = 20
    hu[(y - 25) ** 2 + (x - 36) ** 2 + (z - 15) ** 2 < 10**2] = -1000
    return hu


@pytest.mark.parametrize(
    "hu",
    [water_with_gas(), np.full((20, 30, 30), 40, np.int16), np.full((20, 30, 30), -1000, np.int16)],
    ids=["gas in the belly", "all tissue", "all air"],
)
def test_no_lung(hu):
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((5, 5, 5))
    with pytest.raises(NoLungError, match=r"^ct\.nrrd: no lung was found"):
        segment_lungs(image, name="ct.nrrd")


def test_progress_can_cancel():
    class Stop(Exception):
        pass

    def progress(stage, done, total):
        assert stage == "lungs" and 0 < done <= total
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        segment_lungs(make_chest(empty_grid()).ct, progress)


def test_slices_of_53_patients(shared_data):
    with np.load(shared_data / "lungs/slices_53.npz") as data:
        scores = []
        for hu, mask in zip(data["images"], data["masks"], strict=True):
            image = sitk.GetImageFromArray(hu[None])
            image.SetSpacing((0.7, 0.7, 5))
            scores.append(dice(voxels(segment_lungs(image))[0] > 0, mask > 0))
    assert np.mean(scores) > 0.98 and min(scores) > 0.955


@pytest.mark.parametrize("case", ["id001", "id002"])
def test_whole_volumes(shared_data, case):
    ct = sitk.ReadImage(shared_data / f"lungs/{case}_ct.nii.gz")
    mask = voxels(sitk.ReadImage(shared_data / f"lungs/{case}_lung.nii.gz"))
    lungs = voxels(segment_lungs(ct))
    assert dice(lungs > 0, mask > 0) > 0.975
    assert 0.8 < np.count_nonzero(lungs == RIGHT) / np.count_nonzero(lungs == LEFT) < 2.5
