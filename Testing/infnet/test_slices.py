"""CT slices in the training look and back, and the fit of the window."""

import numpy as np
import pytest
from infnet.data.window import fit_window
from infnet.inference.slices import SliceLook


def test_the_window_maps_hu_to_the_unit_range():
    look = SliceLook(window=(-1000.0, 200.0), transposed=False)
    hu = np.array([[-3024, -1000, -700, -400, 200, 3000]], np.int16)
    rendered = look.render(hu)
    assert rendered.dtype == np.float32
    np.testing.assert_allclose(rendered, [[0, 0, 0.25, 0.5, 1, 1]], atol=1e-6)


def test_slices_stand_as_the_training_slices_do():
    """Front of the patient to the left, patient's right on top; the CT's rows run front to back, its columns right to
    left."""
    hu = np.full((40, 60), -1100, np.int16)
    hu[3, 50] = 250  # in front, at the patient's left
    rendered = SliceLook().render(hu)
    assert rendered.shape == (60, 40) and np.argwhere(rendered == 1).tolist() == [[50, 3]]
    assert rendered.flags.c_contiguous  # as torch wants it


@pytest.mark.parametrize("transposed", [True, False])
def test_restoring_is_the_inverse_of_rendering(transposed):
    look = SliceLook(window=(0.0, 1.0), transposed=transposed)
    map_ = np.random.default_rng(0).random((7, 11), np.float32)
    assert np.array_equal(look.restore(look.render(map_)), map_)


def test_each_slice_with_lung_is_cropped_to_its_lungs():
    lungs = np.zeros((6, 100, 120), np.uint8)
    lungs[1, 20:80, 10:100] = 1
    lungs[2, 30:70, 20:40] = 1
    lungs[2, 25:75, 60:90] = 2
    assert SliceLook(smallest_crop=0).crops(lungs) == {
        1: (slice(20, 80), slice(10, 100)),
        2: (slice(25, 75), slice(20, 90)),
    }


def test_small_sections_get_a_crop_as_large_as_training_slices_have_it():
    lungs = np.zeros((4, 100, 120), np.uint8)
    lungs[0, 20:80, 10:110] = 1
    lungs[1, 45:55, 50:70] = 1  # in the middle
    lungs[2, 20:25, 100:110] = 2  # in a corner
    lungs[3, 40:80, 10:50] = 2  # high enough, too narrow
    crops = SliceLook(smallest_crop=0.5).crops(lungs)
    assert crops[1] == (slice(35, 65), slice(35, 85))
    assert crops[2] == (slice(20, 50), slice(60, 110))
    assert crops[3] == (slice(40, 80), slice(10, 60))


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_every_crop_holds_its_lungs_and_stays_in_the_slice(share):
    random = np.random.default_rng(0)
    lungs = np.zeros((40, 50, 70), np.uint8)
    for section in lungs:
        (top, bottom), (left, right) = np.sort(random.integers(0, 50, 2)), np.sort(random.integers(0, 70, 2))
        section[top : bottom + 1, left : right + 1] = 1
    for z, (rows, columns) in SliceLook(smallest_crop=share).crops(lungs).items():
        assert lungs[z][rows, columns].sum() == lungs[z].sum()
        assert rows.start >= 0 and rows.stop <= 50 and columns.start >= 0 and columns.stop <= 70


def test_no_lung_no_crop():
    assert SliceLook().crops(np.zeros((3, 8, 8), np.uint8)) == {}


@pytest.mark.parametrize("window", [(-1100, 250), (-1350, 150), (-1000, 400)])
def test_the_fitted_window_is_the_one_that_made_the_slices(window):
    random = np.random.default_rng(0)

    def chest(size):
        lung, tissue = random.normal(-850, 60, size // 2), random.normal(40, 60, size // 2)
        return np.concatenate([lung, tissue, random.uniform(-850, 40, size // 8)])

    low, high = window
    greys = [((chest(n) - low) / (high - low) * 255).clip(0, 255).astype(np.uint8) for n in (3000, 5000, 900)]
    fit = fit_window(greys, [chest(4000) for _ in range(4)])
    assert abs(fit.low - low) < 25 and abs(fit.high - high) < 25 and fit.distance < 3


def test_every_slice_weighs_the_same():
    greys = [np.array([0, 50, 200, 255], np.uint8)]
    dark, bright = np.full(10, -900.0), np.full(10_000, 100.0)
    assert fit_window(greys, [dark, bright]) == fit_window(greys, [dark.repeat(1000), bright])
