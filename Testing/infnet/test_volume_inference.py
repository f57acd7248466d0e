"""Whole volumes: what the networks find lands where it is, whatever the CT's geometry."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from bands import LOOK, BandPredictor
from hypothesis import given, settings
from hypothesis import strategies as st
from infnet.anatomy.envelope import with_infected_lung
from infnet.data.orientation import AxialView
from infnet.inference.slices import LOWEST_THRESHOLD
from infnet.inference.volume import LungMap, SliceCounts, segment_volume
from phantoms import CONSOLIDATION_HU, DIRECTIONS, empty_grid, make_chest, oblique_direction

voxels = sitk.GetArrayFromImage
GEOMETRY = ("GetSize", "GetSpacing", "GetOrigin", "GetDirection")


directions = st.builds(
    oblique_direction,
    # Integers and not floats: from cosines like 1e-298, which no file has, ITK computes indices without meaning.
    st.tuples(*[st.integers(-4500, 4500).map(lambda hundredths: hundredths / 100)] * 3),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.integers(-300, 300).map(lambda thousandths: thousandths / 1000),
)


@settings(max_examples=40, deadline=None)
@given(directions, st.tuples(*[st.integers(18, 40)] * 3), st.tuples(*[st.floats(5, 12)] * 3))
def test_the_findings_land_on_the_lesions(direction, size, spacing):
    phantom = make_chest(empty_grid(size, spacing, direction), noise_hu=0)
    if not voxels(phantom.lungs).any():
        return
    segmented = segment_volume(phantom.ct, BandPredictor(), phantom.lungs, LOOK)
    for image in (segmented.labels, segmented.infection.image()):
        for get in GEOMETRY:
            assert getattr(image, get)() == getattr(phantom.ct, get)()
    truth = voxels(phantom.findings)
    assert np.array_equal(voxels(segmented.labels), truth)
    np.testing.assert_allclose(voxels(segmented.infection.image())[truth > 0], 0.9)


@settings(max_examples=100, deadline=None)
@given(directions, st.tuples(*[st.integers(1, 7)] * 3))
def test_views_are_restored_exactly_and_stand_upright(direction, size):
    grid = empty_grid(size, (0.7, 1.1, 2.5), direction)
    array = np.arange(np.prod(size), dtype=np.int32).reshape(size[::-1])
    volume = sitk.GetImageFromArray(array)
    volume.CopyInformation(grid)
    view = AxialView(volume)
    restored = view.restore(view.array())
    assert np.array_equal(voxels(restored), array)
    for get in GEOMETRY:
        assert getattr(restored, get)() == getattr(volume, get)()
    assert (view.spacing == view.image.GetSpacing()[::-1]).all()
    assert np.array_equal(voxels(view.image), view.voxels)
    pasted = sitk.Image(size, sitk.sitkInt32)
    for z, section in enumerate(view.voxels):
        view.paste(section, z, pasted)
    assert np.array_equal(voxels(pasted), array)
    for index in np.ndindex(*view.image.GetSize()):
        point = view.image.TransformIndexToPhysicalPoint(index)
        assert view.image[index] == volume[volume.TransformPhysicalPointToIndex(point)]


@pytest.mark.parametrize("angles", [(45, 0, 0), (0, 45, 0), (45, 45, 0), (45, 0, 45), (-45, 90, 45), (90, 45, 180)])
def test_at_45_degrees_the_way_back_is_the_way_there(angles):
    """Two axes are equally near there; DICOMOrient to the first orientation does not always undo DICOMOrient."""
    direction = oblique_direction(angles)
    volume = sitk.GetImageFromArray(np.arange(60, dtype=np.int32).reshape(3, 4, 5))
    volume.SetDirection(direction.ravel().tolist())
    view = AxialView(volume)
    assert np.array_equal(voxels(view.restore(view.array())), voxels(volume))


@pytest.fixture(scope="module")
def chest():
    return make_chest(empty_grid((56, 48, 40), (6, 6, 5)), noise_hu=0)


def test_slices_without_lung_are_not_shown_and_the_others_once_each(chest):
    predictor = BandPredictor()
    steps = []
    segmented = segment_volume(
        chest.ct, predictor, chest.lungs, LOOK, progress=lambda stage, done, total: steps.append((stage, done, total))
    )
    with_lung = np.count_nonzero(voxels(chest.lungs).any((1, 2)))
    assert 0 < with_lung < 40
    assert segmented.slices == SliceCounts(with_lung, 40 - with_lung, without_infection=0)
    assert len(predictor.seen) == with_lung
    assert steps == [("infection", done, with_lung) for done in range(with_lung + 1)]


@pytest.mark.parametrize(("mm", "smoothing_mm", "sharing"), [(5, 4, 1), (5, 8, 2), (2, 4, 3), (2, 0, 1)])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])  # stored as axial slices, and as coronal ones
def test_slices_share_the_mirror_images_by_their_distance(axes, mm, smoothing_mm, sharing):
    phantom = make_chest(empty_grid((40, 36, 32), (9, 9, mm)))
    ct, lungs = (sitk.PermuteAxes(image, axes) for image in (phantom.ct, phantom.lungs))
    told = []

    def predictor(slices, neighbours):
        told.append(neighbours)
        return map(BandPredictor.predict, slices)

    segment_volume(ct, predictor, lungs, LOOK, smoothing_mm=smoothing_mm)
    assert told == [sharing]


def test_slices_are_rendered_as_the_batches_need_them(chest):
    predictor = BandPredictor(batch_size=4)
    ahead = []
    segment_volume(
        chest.ct,
        predictor,
        chest.lungs,
        LOOK,
        progress=lambda stage, done, total: ahead.append(len(predictor.seen) - done),
    )
    assert max(ahead) == 3


def test_infection_outside_the_lungs_is_dropped_and_missed_lung_is_regained(chest):
    """The consolidation is cut out of the lung mask; a patch of the same grey is put into the abdominal wall."""
    findings = voxels(chest.findings)
    mask = voxels(chest.lungs)
    mask[findings == 2] = 0
    hu = voxels(chest.ct)
    hu[20, 43:46, 26:30] = CONSOLIDATION_HU
    ct, lungs = sitk.GetImageFromArray(hu), sitk.GetImageFromArray(mask)
    for image in (ct, lungs):
        image.CopyInformation(chest.ct)
    segmented = segment_volume(ct, BandPredictor(), lungs, LOOK)
    labels = voxels(segmented.labels)
    assert not labels[20, 43:46, 26:30].any()
    assert np.count_nonzero((labels == 2) & (findings == 2)) > 0.85 * np.count_nonzero(findings == 2)
    whole = voxels(with_infected_lung(lungs, segmented.labels))
    assert (whole[labels == 2] == 2).all() and (whole[labels == 1] == 1).all()
    assert np.array_equal(whole[labels == 0], mask[labels == 0])
    probability = voxels(segmented.infection.image())
    assert ((probability >= 0.5) == (labels > 0)).all()


@pytest.mark.parametrize(("threshold", "found"), [(0.9, True), (0.95, False), (0.05, True)])
def test_the_threshold_decides(chest, threshold, found):
    labels = voxels(segment_volume(chest.ct, BandPredictor(), chest.lungs, LOOK, threshold).labels)
    assert labels.any() == found
    if threshold < 0.1:
        assert (labels[voxels(chest.lungs) > 0] > 0).all()


@pytest.mark.parametrize("smoothing_mm", [0.0, 4.0])
@pytest.mark.parametrize("threshold", [0.02, 0.05, 0.3, 0.7])
def test_a_result_can_be_labelled_by_any_higher_threshold_without_the_networks(chest, threshold, smoothing_mm):
    """The labels of one run follow from the candidates and the probability of any other."""

    def predict(slice_):
        prediction = BandPredictor.predict(slice_)
        probability = np.resize(np.linspace(0, 1, 50, dtype=np.float32), slice_.shape)  # from 0.02 to 0.05 too
        return replace(prediction, infection=probability, consolidation=np.where(slice_ > 0.5, np.float32(0.7), 0))

    segmented, other = (
        segment_volume(
            chest.ct, lambda slices, _: map(predict, slices), chest.lungs, LOOK, t, smoothing_mm=smoothing_mm
        )
        for t in (threshold, 0.5)
    )
    expected = voxels(segmented.labels)
    assert len(np.unique(expected)) == 3, "both findings"
    infected = voxels(other.infection.image()) >= threshold
    assert np.array_equal(voxels(segmented.candidates.image()) * infected, expected)
    assert np.array_equal(voxels(other.candidates.image()) * infected, expected) == (threshold >= LOWEST_THRESHOLD)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize(("name", "dtype"), [("map.nrrd", "float32"), ("map.nrrd", "uint8"), ("map.mha", "float32")])
def test_a_map_is_written_as_the_volume_that_it_stands_for(tmp_path, direction, name, dtype):
    grid = empty_grid((7, 6, 5), (0.7, 1.1, 2.5), direction)
    view, infection = AxialView(grid), LungMap(grid, dtype)
    expected = np.zeros(view.voxels.shape, dtype)
    random = np.random.default_rng(0)
    for z, box in ((0, np.s_[0:3, 1:4]), (2, np.s_[1:5, 0:3])):
        inside, values = random.random((2, *expected[z][box].shape), np.float32)
        values = (9 * values).astype(dtype)
        infection.add(z, box, inside > 0.4, values)
        expected[z][box] = values * (inside > 0.4)
    infection.write(tmp_path / name)
    for image in (infection.image(), sitk.ReadImage(tmp_path / name)):
        assert voxels(image).dtype == dtype
        assert np.array_equal(voxels(image), voxels(view.restore(expected)))
        for get in GEOMETRY:
            np.testing.assert_allclose(getattr(image, get)(), getattr(grid, get)(), atol=1e-12)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_map_that_cannot_be_written_leaves_the_old_file(tmp_path, chest):
    segmented = segment_volume(chest.ct, BandPredictor(), chest.lungs, LOOK)
    (tmp_path / "map.nrrd").write_text("the old one")
    segmented.infection._section = lambda z: 1 / 0 if z == 20 else np.zeros((48, 56), np.float32)
    with pytest.raises(ZeroDivisionError):
        segmented.infection.write(tmp_path / "map.nrrd")
    assert (tmp_path / "map.nrrd").read_text() == "the old one" and len(list(tmp_path.iterdir())) == 1


def test_memory_grows_with_the_batch_and_not_with_the_volume():
    """Beside the CT and its labels, whose memory is SimpleITK's, less than a volume of probabilities, of 4 bytes."""
    chest = make_chest(noise_hu=0)
    tracemalloc.start()
    predict = BandPredictor.predict
    segmented = segment_volume(chest.ct, lambda slices, _: map(predict, slices), chest.lungs, LOOK, smoothing_mm=4.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert voxels(segmented.labels).any()
    assert peak < 3 * voxels(chest.lungs).nbytes
