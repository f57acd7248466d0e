"""Metrics, resizing, confidence intervals, calibration: against numbers by hand and against the formulas, slowly."""

import math
from fractions import Fraction

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from infnet.errors import InputError
from infnet.evaluation.calibration import Reliability, calibrated, fit_platt_scaling
from infnet.evaluation.metrics import METRICS, dice, paper_metrics, threshold_mean_dice, threshold_metrics
from infnet.evaluation.resizing import imresize
from infnet.evaluation.statistics import compare, summarise
from infnet.evaluation.volumes import geometric_metrics
from phantoms import DIRECTIONS, empty_grid
from scipy.special import expit

EPS = np.finfo(float).eps


def as_in_matlab(map_, truth):
    """The original tool, threshold by threshold, from its formulas."""
    low, high = int(map_.min()), int(map_.max())
    values = [Fraction(int(v) - low, high - low) if high > low else Fraction(int(v), 255) for v in map_.ravel()]
    gt = truth.ravel()
    rows = {name: [] for name in METRICS if name not in ("s_measure", "mae")}
    found = np.zeros(len(values), bool)
    for k in range(255, -1, -1):
        found |= np.array([v >= Fraction(k, 255) for v in values])
        tp, fp, fn, tn = ((found & gt).sum(), (found & ~gt).sum(), (~found & gt).sum(), (~found & ~gt).sum())
        rows["dice"].append(2 * tp / (2 * tp + fp + fn) if tp else 0)
        rows["sensitivity"].append(tp / (tp + fn) if tp else 0)
        rows["specificity"].append(tn / (tn + fp) if tp and tn + fp else 0)
        rows["precision"].append(tp / (tp + fp) if tp else 0)
        rows["e_measure"].append(enhanced_alignment(found, gt))
    metrics = {name: sum(column) / 256 for name, column in rows.items()}
    scaled = np.reshape([float(v) for v in values], map_.shape)
    metrics["s_measure"] = structure_measure(scaled, truth)
    metrics["mae"] = sum(abs(float(v) - g) for v, g in zip(values, gt, strict=True)) / len(gt)
    return metrics


def enhanced_alignment(found, gt):
    if not gt.any():
        aligned = ~found
    elif gt.all():
        aligned = found
    else:
        x, y = found - found.mean(), gt - gt.mean()
        aligned = (1 + 2 * x * y / (x * x + y * y + EPS)) ** 2 / 4
    return aligned.sum() / (gt.size - 1 + EPS)


def structure_measure(map_, truth):
    share = truth.mean()
    if share in (0, 1):
        return map_.mean() if share else 1 - map_.mean()

    def of_object(values):
        mean, deviation = values.mean(), values.std(ddof=1) if values.size > 1 else 0
        return 2 * mean / (mean**2 + 1 + deviation + EPS)

    objects = share * of_object(map_[truth]) + (1 - share) * of_object(1 - map_[~truth])
    y, x = (math.floor(sum(i + 1 for i in axis) / len(axis) + 0.5) for axis in np.nonzero(truth))
    regions = 0.0
    for part in (np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:]):
        p, g = map_[part], truth[part].astype(float)
        if not p.size:
            continue
        mp, mg, n = p.mean(), g.mean(), p.size - 1 + EPS
        vp, vg = ((p - mp) ** 2).sum() / n, ((g - mg) ** 2).sum() / n
        alpha, beta = 4 * mp * mg * ((p - mp) * (g - mg)).sum() / n, (mp**2 + mg**2) * (vp + vg)
        similarity = alpha / (beta + EPS) if alpha != 0 else float(beta == 0)
        regions += similarity * p.size / truth.size
    return max(0, 0.5 * objects + 0.5 * regions)


SHAPES = st.tuples(st.integers(2, 7), st.integers(2, 7))
SLICES = SHAPES.flatmap(
    lambda shape: st.tuples(
        arrays(np.uint8, shape, elements=st.one_of(st.sampled_from([0, 255]), st.integers(0, 255))),
        arrays(np.bool_, shape),
    )
)


@settings(deadline=None, max_examples=30)
@given(SLICES)
@example((np.array([[7, 0], [35, 35]], np.uint8), np.array([[1, 0], [0, 1]], bool)))  # 7/35 is a threshold, 51/255
def test_paper_metrics_are_the_original_tool_s(slice_):
    map_, truth = slice_
    assert paper_metrics(map_, truth) == pytest.approx(as_in_matlab(map_, truth), abs=1e-9)


def test_paper_metrics_by_hand():
    # Scaled: 0, 1/3, 2/3, 1. Two of four pixels are infected: those of 1/3 and 1.
    map_, truth = np.array([[10, 60], [110, 160]], np.uint8), np.array([[0, 1], [0, 1]], bool)
    metrics = paper_metrics(map_, truth)
    # Thresholds of k/255: k = 0 finds all, 1..85 three, 86..170 two (one hit), 171..255 one (a hit).
    assert metrics["sensitivity"] == pytest.approx((86 * 1 + 170 * 1 / 2) / 256)
    assert metrics["specificity"] == pytest.approx((85 * 1 / 2 + 85 * 1 / 2 + 85 * 1) / 256)
    assert metrics["precision"] == pytest.approx((1 / 2 + 85 * 2 / 3 + 85 * 1 / 2 + 85 * 1) / 256)
    assert metrics["dice"] == pytest.approx((2 / 3 + 85 * 4 / 5 + 85 * 1 / 2 + 85 * 2 / 3) / 256)
    assert metrics["mae"] == pytest.approx((0 + 2 / 3 + 2 / 3 + 0) / 4)


def test_specificity_counts_for_nothing_where_nothing_infected_is_found():
    map_, truth = np.array([[255, 0, 0, 0]], np.uint8), np.array([[0, 1, 0, 0]], bool)
    # Above 0 only the healthy pixel is found, at 0 all are.
    assert paper_metrics(map_, truth)["specificity"] == 0
    assert threshold_metrics(map_ / 255, truth)["specificity"] == pytest.approx(2 / 3)


def test_an_empty_truth_by_the_paper_s_protocol():
    metrics = paper_metrics(np.zeros((4, 5), np.uint8), np.zeros((4, 5), bool))
    assert [metrics[name] for name in METRICS[:4]] == [0, 0, 0, 0]
    assert (metrics["s_measure"], metrics["mae"]) == (1, 0)
    assert metrics["e_measure"] == pytest.approx(255 / 256 * 20 / 19)  # at threshold 0 all pixels are found


def test_a_centroid_between_two_pixels_is_rounded_up():
    """Columns 0 and 1 of 4: MATLAB's 1.5 is 2, so the first quadrants have two columns."""
    truth = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
    map_ = np.array([[255, 200, 90, 0], [130, 220, 10, 30], [0, 60, 0, 255]], np.uint8)
    assert paper_metrics(map_, truth)["s_measure"] == pytest.approx(structure_measure(map_ / 255, truth), abs=1e-12)


def test_infection_in_the_last_corner_leaves_no_empty_quadrant_behind():
    truth = np.zeros((5, 6), bool)
    truth[-1, -1] = True
    map_ = np.arange(30, dtype=np.uint8).reshape(5, 6)
    assert paper_metrics(map_, truth)["s_measure"] == pytest.approx(structure_measure(map_ / 29, truth))


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        ([0, 0, 0], [0, 0, 0], {"dice": 1, "sensitivity": None, "specificity": 1, "precision": None, "mae": 0}),
        ([0, 1, 0], [0, 0, 0], {"dice": 0, "sensitivity": None, "specificity": 2 / 3, "precision": 0, "mae": 1 / 3}),
        ([0, 0, 0], [0, 1, 1], {"dice": 0, "sensitivity": 0, "specificity": 1, "precision": None, "mae": 2 / 3}),
        ([1, 1, 0], [1, 1, 1], {"dice": 0.8, "sensitivity": 2 / 3, "specificity": None, "precision": 1, "mae": 1 / 3}),
        ([0.5, 0.49, 0.9], [1, 1, 0], {"dice": 0.5, "sensitivity": 0.5, "specificity": 0, "precision": 0.5}),
    ],
)
def test_one_threshold_by_hand(prediction, truth, expected):
    metrics = threshold_metrics(np.array([prediction], float), np.array([truth], bool))
    for name, value in expected.items():
        assert metrics[name] == (value if value is None else pytest.approx(value)), name


def test_a_threshold_takes_maps_as_they_are():
    map_, truth = np.full((4, 4), 0.2), np.zeros((4, 4), bool)
    map_[:2] = 0.4
    assert threshold_metrics(map_, truth | (map_ > 0.3), 0.5)["dice"] == 0
    assert threshold_metrics(map_, truth | (map_ > 0.3), 0.4)["dice"] == 1
    assert threshold_metrics(map_, truth)["mae"] == pytest.approx(0.3)


@settings(deadline=None, max_examples=30)
@given(SLICES, st.floats(0.05, 0.95))
def test_what_no_mirroring_and_no_transposing_changes(slice_, threshold):
    map_, truth = slice_
    counted = [name for name in METRICS if name != "s_measure"]  # its quadrants hold the centroid on one side
    for turn in (np.fliplr, np.flipud, np.transpose):
        for turned, straight in (
            (paper_metrics(turn(map_), turn(truth)), paper_metrics(map_, truth)),
            (
                threshold_metrics(turn(map_) / 255, turn(truth), threshold),
                threshold_metrics(map_ / 255, truth, threshold),
            ),
        ):
            for name in counted:
                assert turned[name] == (straight[name] if straight[name] is None else pytest.approx(straight[name]))
    turned, straight = paper_metrics(map_.T, truth.T), paper_metrics(map_, truth)
    assert turned["s_measure"] == pytest.approx(straight["s_measure"])


@settings(deadline=None, max_examples=30)
@given(SLICES)
def test_bounds_and_a_volume_of_one_slice(slice_):
    map_, truth = slice_
    metrics = threshold_metrics(map_ / 255, truth)
    as_volume = threshold_metrics(np.stack([map_, map_]) / 255, np.stack([truth, truth]))
    for name, value in metrics.items():
        if value is None:
            assert as_volume[name] is None
            continue
        assert 0 <= value <= (map_.size / (map_.size - 1) if name == "e_measure" else 1) + 1e-9
        if name not in ("e_measure", "s_measure"):
            assert as_volume[name] == pytest.approx(value), name
    assert 0 <= as_volume["s_measure"] <= 1 + 1e-9


@settings(deadline=None, max_examples=30)
@given(SLICES)
def test_the_shorter_functions_are_the_same_metrics(slice_):
    map_, truth = slice_
    assert dice(map_ >= 128, truth) == threshold_metrics(map_ / 255, truth)["dice"]
    for kind in (np.float32, np.float64):
        assert threshold_mean_dice((map_ / 255).astype(kind), truth) == paper_metrics(map_, truth)["dice"]


def bicubic_line(values, size):
    """A row of pixels at another size, by the definition of MATLAB's imresize: Keys' kernel, a = -1/2."""

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0

    count = len(values)
    step = count / size
    widened = max(step, 1)
    mirrored = [int(v) for v in (*values, *values[::-1])]
    result = []
    for i in range(size):
        centre = (i + 0.5) * step - 0.5
        reach = range(math.floor(centre - 2 * widened), math.ceil(centre + 2 * widened) + 1)
        weights = [kernel((centre - j) / widened) for j in reach]
        total = sum(w * mirrored[j % (2 * count)] for w, j in zip(weights, reach, strict=True)) / sum(weights)
        result.append(min(255, max(0, math.floor(total + 0.5))))
    return np.array(result, np.uint8)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((20, 30), (33, 17)),
        ((20, 30), (9, 90)),
        ((7, 5), (29, 31)),
        ((40, 40), (13, 13)),
        ((2, 3), (9, 1)),
        ((8, 9), (8, 5)),
    ],
)
def test_resizing_is_matlab_s(old, new):
    image = np.random.default_rng(1).integers(0, 256, old).astype(np.uint8)
    axes = sorted((0, 1), key=lambda axis: new[axis] / old[axis])  # sorted() keeps the order of equals, as MATLAB does
    expected = image
    for axis in axes:
        expected = np.apply_along_axis(bicubic_line, axis, expected, new[axis])
    difference = abs(imresize(image, new).astype(int) - expected)
    assert difference.max() <= 1  # a sum that is midway between two grey values may go either way
    assert difference.mean() < 0.01


def test_resizing_to_the_same_size_changes_nothing():
    image = np.random.default_rng(2).integers(0, 256, (9, 11)).astype(np.uint8)
    assert np.array_equal(imresize(image, (9, 11)), image)


def test_means_leave_out_what_is_not_defined():
    images = [{"dice": d, "precision": p} for d, p in ((0.2, None), (0.4, 0.5), (0.9, 0.6), (0.5, None))]
    summary = summarise(images)
    assert summary["mean"] == {"dice": pytest.approx(0.5), "precision": pytest.approx(0.55)}
    assert summary["confidence"]["precision"] == [0.5, 0.6]
    assert summary["count"] == 4
    assert summarise(images[:2])["confidence"]["precision"] is None  # of one value
    assert summarise(images[:1])["mean"]["precision"] is None


def test_the_confidence_interval_is_that_of_a_mean():
    """For many images it is mean ± 1.96 standard errors; the same seed gives the same interval."""
    values = np.random.default_rng(3).normal(0.7, 0.1, 100)
    images = [{"dice": float(v)} for v in values]
    low, high = summarise(images)["confidence"]["dice"]
    error = values.std() / 10
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    assert summarise(images) == summarise(images) != summarise(images, seed=1)


def test_a_comparison_is_paired():
    """Two methods that differ by little, on images that differ by much: only pair by pair can one tell."""
    random = np.random.default_rng(4)
    hard = random.uniform(0.2, 0.8, 30)
    other = [{"dice": float(d)} for d in hard]
    better = [{"dice": float(d)} for d in hard + random.normal(0.02, 0.005, 30)]
    comparison = compare(better, other)
    assert 0.015 < comparison["confidence"][0] < comparison["mean"] < comparison["confidence"][1] < 0.025
    assert comparison["wilcoxon_p"] < 1e-6
    assert (comparison["better"], comparison["worse"], comparison["equal"]) == (30, 0, 0)
    back = compare(other, better)
    assert back["mean"] == pytest.approx(-comparison["mean"]) and back["wilcoxon_p"] == comparison["wilcoxon_p"]
    assert back["worse"] == 30
    same = compare(other, other)
    assert (same["mean"], same["confidence"], same["wilcoxon_p"], same["equal"]) == (0, [0, 0], 1, 30)


def test_a_small_wilcoxon_p_by_hand():
    """Five differences of one sign: two of the 2⁵ signs are as extreme."""
    first = [{"dice": d} for d in (0.5, 0.6, 0.7, 0.8, 0.9)]
    second = [{"dice": d} for d in (0.49, 0.57, 0.65, 0.71, 0.78)]
    assert compare(first, second)["wilcoxon_p"] == pytest.approx(2 / 32)


def test_equal_differences_are_ties_in_spite_of_rounding():
    """0.8 - 0.7, 0.7 - 0.6 and 0.6 - 0.5 are three different floats. Of the 2⁴ signs of equal ranks, 1 + 4 have at
    least three of four positive, and as many at least three negative."""
    first = [{"dice": d} for d in (0.8, 0.7, 0.6, 0.5)]
    second = [{"dice": d} for d in (0.7, 0.6, 0.5, 0.6)]
    assert compare(first, second)["wilcoxon_p"] == pytest.approx(10 / 16)


def test_reliability_by_hand():
    reliability = Reliability()
    reliability.add(np.array([[0.2, 0.2, 0.2, 0.2]]), np.array([[0, 0, 0, 1]], bool))
    reliability.add(np.array([[1.0, 0.8]]), np.array([[1, 0]], bool))
    curve = reliability.as_dict()
    assert [(b["from"], b["pixels"], b["observed_frequency"]) for b in curve["bins"]] == [
        (0.2, 4, 0.25),
        (0.8, 1, 0),
        (0.9, 1, 1),
    ]
    assert curve["expected_calibration_error"] == pytest.approx(4 / 6 * 0.05 + 1 / 6 * 0.8)
    assert curve["brier"] == pytest.approx((3 * 0.04 + 0.64 + 0 + 0.64) / 6)
    assert (curve["pixels"], curve["infected_share"]) == (6, pytest.approx(1 / 3))
    with pytest.raises(InputError):
        Reliability().as_dict()


def drawn_pixels(slope, offset, seed=5):
    """Maps that say sigmoid(z) of pixels that are infected with probability sigmoid(slope z + offset)."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (4, 100, 100))
    return list(expit(logits)), list(random.random(logits.shape) < expit(slope * logits + offset))


def test_calibrated_maps_have_no_calibration_error():
    reliability = Reliability()
    for map_, truth in zip(*drawn_pixels(1, 0), strict=True):
        reliability.add(map_, truth)
    assert reliability.as_dict()["expected_calibration_error"] < 0.01


@pytest.mark.parametrize(("slope", "offset"), [(0.4, 0.0), (2.0, 0.0), (0.6, -1.2)])
def test_the_scaling_that_spoiled_the_maps_is_found_and_undone(slope, offset):
    maps, truths = drawn_pixels(slope, offset)
    scaling = fit_platt_scaling(maps, truths)
    assert scaling == pytest.approx((1 / slope, offset), abs=0.05)
    in_eight_bits = [(map_ * 255).round() / 255 for map_ in maps]
    assert fit_platt_scaling(in_eight_bits, truths) == pytest.approx((1 / slope, offset), rel=0.1, abs=0.05)
    scores = []
    for how in ((1, 0), scaling):
        reliability = Reliability()
        for map_, truth in zip(maps, truths, strict=True):
            reliability.add(calibrated(map_, *how), truth)
        scores.append(reliability.as_dict()["expected_calibration_error"])
    assert scores[1] < 0.01 < scores[0]


def test_maps_that_tell_nothing_are_not_turned_over():
    maps, truths = drawn_pixels(-1, 0)
    assert fit_platt_scaling(maps, truths)[0] == pytest.approx(20)


def test_no_calibration_without_both_kinds_of_pixels():
    for truth in (np.zeros((3, 3), bool), np.ones((3, 3), bool)):
        with pytest.raises(InputError, match="pixels that are"):
            fit_platt_scaling([np.full((3, 3), 0.4)], [truth])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_distances_are_millimetres_in_any_direction(direction):
    """Two voxels; and a plate moved along its normal, whose every surface voxel has as far to go."""
    grid = empty_grid((12, 10, 8), (0.7, 1.5, 4.0), DIRECTIONS[direction])
    first, second = np.zeros((2, 8, 10, 12), bool)
    first[2, 3, 4] = second[5, 4, 9] = True
    metrics = geometric_metrics(first, second, grid)
    points = [np.array(grid.TransformIndexToPhysicalPoint(index)) for index in ((4, 3, 2), (9, 4, 5))]
    distance = pytest.approx(np.linalg.norm(points[0] - points[1]))
    assert metrics["hausdorff_95_mm"] == metrics["surface_distance_mm"] == distance
    voxel_ml = abs(np.linalg.det(np.reshape(grid.GetDirection(), (3, 3)))) * 0.7 * 1.5 * 4 / 1000
    assert metrics["volume_ml"] == metrics["truth_volume_ml"] == pytest.approx(voxel_ml)


def test_surface_distances_agree_with_simpleitk():
    random = np.random.default_rng(6)
    grid = empty_grid((24, 20, 14), (0.8, 0.9, 2.5))
    noise = [
        sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(n), 2.0))
        for n in random.normal(0, 1, (2, 14, 20, 24))
    ]
    first, second = (np.pad((n > np.percentile(n, 80))[1:-1, 1:-1, 1:-1], 1) for n in noise)
    metrics = geometric_metrics(first, second, grid)
    contours = []
    for mask in (first, second):
        image = sitk.GetImageFromArray(mask.astype(np.uint8))
        image.CopyInformation(grid)
        contours.append(sitk.LabelContour(image))
    directed = []
    for contour, other in (contours, contours[::-1]):
        away = sitk.SignedMaurerDistanceMap(other, squaredDistance=False, useImageSpacing=True)
        directed.append(abs(sitk.GetArrayFromImage(away))[sitk.GetArrayFromImage(contour) > 0])
    assert metrics["hausdorff_95_mm"] == pytest.approx(max(np.percentile(d, 95) for d in directed), rel=1e-5)
    assert metrics["surface_distance_mm"] == pytest.approx(np.concatenate(directed).mean(), rel=1e-5)


def test_no_distance_to_nothing():
    grid, full = empty_grid((5, 5, 5)), np.ones((5, 5, 5), bool)
    metrics = geometric_metrics(full, ~full, grid)
    assert metrics["hausdorff_95_mm"] is None and metrics["surface_distance_mm"] is None
    assert metrics["truth_volume_ml"] == 0 and metrics["volume_ml"] == pytest.approx(125 * 45 / 1000)
