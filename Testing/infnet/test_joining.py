"""Maps joined across slices."""

import weakref

import numpy as np
import pytest
import SimpleITK as sitk
from bands import LOOK, BandPredictor
from hypothesis import given
from hypothesis import strategies as st
from infnet.inference.joining import SliceMaps, alike, joined
from infnet.inference.volume import segment_volume
from phantoms import empty_grid, make_chest
from scipy.ndimage import gaussian_filter1d

SHAPE = (12, 5, 6)


def slices_of(infection, inside, consolidation=None, boxes=None):
    consolidation = np.zeros_like(infection) if consolidation is None else consolidation
    boxes = boxes or {z: np.s_[0 : SHAPE[1], 0 : SHAPE[2]] for z in range(len(infection))}
    return [SliceMaps(z, b, inside[z][b] > 0, infection[z][b], consolidation[z][b]) for z, b in boxes.items()]


def volume(slices):
    found = np.zeros((2, *SHAPE), np.float32)
    for s in slices:
        found[0][s.z][s.box], found[1][s.z][s.box] = s.infection, s.consolidation
    return found


def test_within_the_envelope_it_is_a_gaussian_mean():
    infection, consolidation = np.random.default_rng(0).random((2, *SHAPE), np.float32)
    found = volume(joined(slices_of(infection, np.ones(SHAPE), consolidation), distance=2.0, sigma=3.0))
    # Where SciPy's filter, which goes on by reflection at the ends, has all its slices.
    mean, of_consolidation = (
        gaussian_filter1d(x, 1.5, axis=0, radius=3)[3:-3] for x in (infection, infection * consolidation)
    )
    np.testing.assert_allclose(found[0][3:-3], mean, rtol=1e-5)
    np.testing.assert_allclose(found[1][3:-3], of_consolidation / mean, rtol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 8), st.floats(0.5, 12))
def test_crops_gaps_and_edges_of_the_envelope_count_as_nothing(seed, distance, sigma):
    """Against sums over the whole volume; slices are missing, crops differ, and one voxel is alone in its column."""
    random = np.random.default_rng(seed)
    infection, consolidation = random.random((2, *SHAPE), np.float32)
    boxes = {}
    for z in sorted(random.choice(SHAPE[0], 8, replace=False)):
        y, x = random.integers(0, 3, 2)
        boxes[int(z)] = np.s_[y : y + 3, x : x + 3]
    inside = np.zeros(SHAPE, bool)
    for z, box in boxes.items():
        inside[z][box] = random.random((3, 3)) < 0.7
    given_slices = slices_of(infection, inside, consolidation, boxes)
    found = volume(joined(given_slices, distance, sigma))
    apart = abs(np.subtract.outer(np.arange(SHAPE[0]), np.arange(SHAPE[0])))
    weights = np.where(apart <= int(2.5 * sigma / distance + 1e-3), np.exp(-0.5 * (apart * distance / sigma) ** 2), 0)
    total, mean, of_consolidation = (
        np.tensordot(weights, x, 1) for x in (inside, inside * infection, inside * infection * consolidation)
    )
    np.testing.assert_allclose(found[0][inside], (mean / total.clip(1e-9))[inside], rtol=1e-4)
    np.testing.assert_allclose(found[1][inside], (of_consolidation / mean.clip(1e-9))[inside], rtol=1e-4)


def test_without_smoothing_each_slice_is_itself():
    slices = slices_of(*np.random.default_rng(0).random((2, *SHAPE), np.float32))
    assert all(a is b for a, b in zip(joined(slices, 1.0, 0), slices, strict=True))
    for one, same in zip(joined(slices, 20.0, 4.0), slices, strict=True):  # none is near another
        np.testing.assert_allclose(one.infection, same.infection, rtol=1e-6)


def test_few_slices_are_waited_for_and_kept():
    asked = []

    def slices():
        for z in range(40):
            maps = np.ones((2, *SHAPE[1:]), np.float32)
            asked.append(weakref.ref(maps))
            yield SliceMaps(z, np.s_[0:5, 0:6], maps[0] > 0, *maps)

    for s in joined(slices(), distance=1.0, sigma=2.0):
        assert len(asked) == min(40, s.z + 6)
        assert sum(maps() is not None for maps in asked) <= 12  # five before, itself, five after, the generator's own


@pytest.mark.parametrize("distance", [5.0, 2.5, 1.25, 1.0])
def test_how_a_distance_is_rounded_makes_no_difference(distance):
    slices = slices_of(*np.random.default_rng(0).random((2, *SHAPE), np.float32))
    found = [volume(joined(slices, distance * (1 + rounding), 4.0)) for rounding in (-1e-7, 0, 1e-7)]
    for other in found[1:]:
        np.testing.assert_allclose(found[0], other, rtol=1e-5)


@given(st.floats(1, 6), st.floats(1, 8), st.integers(1, 4))
def test_kinds_of_slices_that_take_turns_count_the_same(distance, sigma, kinds):
    """Of as many kinds as are alike, each is found with its share; of the first kind alone the map is 1."""
    kinds = min(kinds, alike(distance, sigma))
    infection = np.zeros((45, 1, 1), np.float32)
    infection[::kinds] = 1
    slices = [SliceMaps(z, np.s_[0:1, 0:1], np.ones((1, 1), bool), x, x) for z, x in enumerate(infection)]
    reach = int(2.5 * sigma / distance) + 1  # from which on nothing is missing
    for slice_ in list(joined(slices, distance, sigma))[reach:-reach]:
        assert slice_.infection.item() == pytest.approx(1 / kinds, rel=0.03)


@pytest.mark.parametrize(("distance", "sigma", "kinds"), [(5, 4, 1), (3, 4, 2), (1.5, 4, 4), (1, 4, 6), (1, 0, 1)])
def test_as_many_slices_are_alike_as_lie_close_together(distance, sigma, kinds):
    assert alike(distance, sigma) == kinds


@pytest.mark.parametrize(("height", "kept"), [(1, False), (3, True)])
def test_what_one_slice_alone_shows_goes_and_what_goes_on_stays(height, kept):
    """Slices of 5 mm: all of the networks' answer is 0 but for ``height`` slices of both lungs."""
    chest = make_chest(empty_grid((56, 48, 40), (6, 6, 5)), noise_hu=0)
    asked = iter(range(100))

    def predict(slice_):
        prediction = BandPredictor.predict(slice_)
        infected = 15 <= next(asked) < 15 + height
        return type(prediction)(np.full_like(prediction.infection, 0.9 * infected), prediction.consolidation)

    segmented = segment_volume(chest.ct, lambda slices, _: map(predict, slices), chest.lungs, LOOK, smoothing_mm=4.0)
    found = sitk.GetArrayViewFromImage(segmented.labels).any((1, 2))
    assert found.sum() == (height if kept else 0)
