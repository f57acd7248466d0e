"""Measurements against counted voxels and against SimpleITK's statistics."""

import csv
import itertools
import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from infnet.anatomy.lobes import Lobes
from infnet.anatomy.regions import LOBES, ZONES
from infnet.errors import OutputError
from infnet.quantification.measurements import Row, measure, severity_score, write_table
from phantoms import oblique_direction

LOBE_NAMES = [lobe.name for lobe in LOBES]
LUNG_ROWS = ["right lung", "left lung", "total"]
ML = [key for key in Row.__annotations__ if key.endswith("_ml")]
COMPARTMENTS = ("hyperinflated", "well_aerated", "poorly_aerated", "non_aerated")


def on_grid(array, spacing=(1.0, 1.0, 1.0), direction=None):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    if direction is not None:
        image.SetDirection(np.ravel(direction).tolist())
    return image


def labels(array, *geometry):
    return on_grid(np.asarray(array).astype(np.uint8), *geometry)


@pytest.fixture
def blocks():
    """10 × 10 × 20 voxels: right lung 1000, left lung 600; GGO 100 and 0, consolidation 10 and 300; 5 outside."""
    lungs = np.zeros((10, 10, 20))
    lungs[:, :, :10] = 1
    lungs[:, :6, 10:] = 2
    findings = np.zeros_like(lungs)
    findings[0, :, :10] = 1
    findings[1, 0, :10] = 2
    findings[:5, :6, 10:] = 2
    findings[9, 9, 15:] = 1  # in no lung
    return findings, lungs


def measured(findings, lungs, *geometry, hu=None, lobes=None):
    ct = np.full(np.shape(lungs), -800, np.int16) if hu is None else hu
    return measure(
        on_grid(ct, *geometry), labels(findings, *geometry), labels(lungs, *geometry),
        None if lobes is None else Lobes(labels(lobes, *geometry), "test", False),
    )  # fmt: skip


def by_region(measurements):
    return {row["region"]: row for row in measurements.rows}


def test_millilitres_and_percent_of_counted_voxels(blocks):
    right, left, total = measured(*blocks, (2.0, 2.0, 2.5)).rows  # 10 mm³ a voxel, which is 0.01 mL
    assert [row["region"] for row in (right, left, total)] == LUNG_ROWS
    expected = {
        "volume_ml": (10, 6, 16),
        "ggo_ml": (1, 0, 1),
        "consolidation_ml": (0.1, 3, 3.1),
        "infection_ml": (1.1, 3, 4.1),
        "ggo_percent": (10, 0, 6.25),
        "consolidation_percent": (1, 50, 19.375),
        "infection_percent": (11, 50, 25.625),
        "well_aerated_percent": (100, 100, 100),
    }
    for key, values in expected.items():
        assert (right[key], left[key], total[key]) == pytest.approx(values, rel=1e-6), key


def test_a_sheared_voxel_is_smaller_than_its_spacing_says(blocks):
    spacing = (2.0, 2.0, 2.5)
    direction = oblique_direction((10, 20, 30), (2, 0, 1), (1, -1, 1), shear=0.75)
    factor = abs(np.linalg.det(direction))
    assert factor == pytest.approx(0.8)
    assert measured(*blocks, spacing, direction).rows[2]["volume_ml"] == pytest.approx(16 * 0.8, rel=1e-6)


def test_density_and_compartments_of_counted_voxels():
    hu = np.array([-1000, -901, -900, -501, -500, -101, -100, 300], np.int16).reshape(2, 2, 2)
    findings = np.array([0, 0, 0, 1, 1, 1, 2, 2]).reshape(2, 2, 2)
    total = measured(findings, np.ones((2, 2, 2)), (10.0, 10.0, 10.0), hu=hu).rows[-1]
    # A bound belongs to the denser compartment.
    assert [total[f"{name}_ml"] for name in COMPARTMENTS] == [2, 2, 2, 2]
    assert total["volume_mean_hu"] == hu.mean() and total["volume_sd_hu"] == pytest.approx(hu.std(ddof=1))
    assert total["ggo_mean_hu"] == pytest.approx(-1102 / 3)
    assert total["ggo_sd_hu"] == pytest.approx(np.std([-501, -500, -101], ddof=1))
    assert total["consolidation_mean_hu"] == 100 and total["consolidation_sd_hu"] == pytest.approx(
        np.std([-100, 300], ddof=1)
    )
    assert total["infection_mean_hu"] == pytest.approx(np.mean([-501, -500, -101, -100, 300]))


def test_a_single_voxel_has_no_spread_and_none_no_mean():
    lungs, findings = np.ones((2, 2, 2)), np.zeros((2, 2, 2))
    findings[0, 0, 0] = 1
    total = measured(findings, lungs).rows[-1]
    assert total["ggo_mean_hu"] == -800 and total["ggo_sd_hu"] is None
    assert total["consolidation_mean_hu"] is None and total["consolidation_sd_hu"] is None
    assert total["consolidation_percent"] == 0


@pytest.mark.parametrize(
    ("percent", "score"),
    [(0, 0), (1e-9, 1), (4.999, 1), (5, 2), (25, 2), (25.001, 3), (49.999, 3), (50, 4), (75, 4), (75.001, 5), (100, 5)],
)
def test_the_severity_score_s_bounds(percent, score):
    assert severity_score(percent) == score


def test_the_severity_score_is_the_sum_over_the_lobes():
    lobes = np.repeat(np.arange(1, 6), 100).reshape(5, 10, 10)
    findings = np.zeros_like(lobes)
    for lobe, voxels in enumerate((0, 4, 5, 26, 76)):
        findings[lobe].flat[:voxels] = 1 + lobe % 2
    measurements = measured(findings, np.where(lobes < 4, 1, 2), lobes=lobes)
    assert [row["severity"] for row in measurements.rows] == [0, 1, 2, 3, 5, None, None, None, None]
    assert measurements.severity == 11
    assert [row["region"] for row in measurements.rows] == [*LOBE_NAMES, "outside every lobe", *LUNG_ROWS]


def test_without_one_of_the_lobes_there_is_no_total_score_and_a_warning_says_so():
    lobes = np.repeat([1, 3, 4, 5], 25).reshape(4, 5, 5)
    measurements = measured(np.zeros_like(lobes), np.where(lobes < 4, 1, 2), lobes=lobes)
    assert measurements.severity is None
    assert by_region(measurements)["right middle lobe"]["severity"] is None
    assert any("right middle lobe" in warning for warning in measurements.warnings)


def test_zones_have_rows_and_no_score():
    zones = np.repeat(np.arange(1, 7), 20).reshape(6, 4, 5)
    image = Lobes(labels(zones), "zones", True, ["as zones"], ZONES)
    ct = on_grid(np.full(zones.shape, -700, np.int16))
    measurements = measure(ct, labels(zones > 0), labels(np.where(zones < 4, 1, 2)), image)
    assert [row["region"] for row in measurements.rows[:6]] == [zone.name for zone in ZONES]
    assert measurements.severity is None and {row["severity"] for row in measurements.rows} == {None}
    assert measurements.sources == {"lobes": "zones", "lobes_approximate": True}
    assert measurements.warnings[0] == "as zones"
    json.dumps(measurements.as_dict(), allow_nan=False)


def test_findings_and_lobes_that_the_masks_lack_are_told_of():
    lungs = np.zeros((6, 8, 8))
    lungs[1:5, 1:7, 1:7] = 1
    findings = np.zeros_like(lungs)
    findings[2, 1:7, 1:7] = 1
    findings[:, 0] = 2
    lobes = np.where(np.arange(8) < 5, lungs, 0)
    warnings = measured(findings, lungs, lobes=lobes).warnings
    assert sum("outside the lung mask" in warning for warning in warnings) == 1
    assert sum("outside every lobe" in warning for warning in warnings) == 1
    findings[:, 0] = 0
    lungs[:, 1:7, 5:] = 0
    warnings = measured(findings * (lungs > 0), lungs, lobes=lobes).warnings
    assert not any("outside" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("index", "word"),
    [
        (np.s_[0], "lower end"), (np.s_[-1], "upper end"), (np.s_[:, 0], "front"),
        (np.s_[:, -1], "back"), (np.s_[:, :, 0], "right"), (np.s_[:, :, -1], "left"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("flipped", [False, True])
def test_lungs_that_the_scan_cuts_off_are_told_of(index, word, flipped):
    lungs = np.zeros((9, 10, 11))
    lungs[3:-3, 2:-2, 2:-2] = lungs[2:-2, 5, 5] = 1  # with an apex and a base
    direction = np.diag([1, 1, -1.0]) if flipped else np.eye(3)
    assert measured(lungs * 0, lungs, (1.0, 1.0, 1.0), direction).warnings == []
    lungs[index] = 1
    if flipped and word.endswith("end"):
        word = {"lower end": "upper end", "upper end": "lower end"}[word]
    warnings = measured(lungs * 0, lungs, (1.0, 1.0, 1.0), direction).warnings
    assert any(f"at the {word}:" in warning for warning in warnings)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(("cut", "word"), [(np.s_[:15], "lower end"), (np.s_[15:], "upper end")])
def test_a_mask_of_a_part_of_the_lungs_is_told_of(cut, word, flipped):
    """Infection beyond it is not looked for, so no finding outside the mask tells of it."""
    z, y, x = np.indices((30, 30, 30)) - 14.5
    lungs = (z**2 + y**2 + x**2 < 12**2).astype(float)
    assert measured(lungs * 0, lungs, (1.0, 1.0, 1.0)).warnings == []
    lungs[cut] = 0
    if flipped:
        lungs = lungs[::-1]
    direction = np.diag([1, 1, -1.0]) if flipped else np.eye(3)
    (warning,) = measured(lungs * 0, lungs, (1.0, 1.0, 1.0), direction).warnings
    assert f"ends abruptly at the {word}, within the scan" in warning


@pytest.mark.parametrize(("side_mm", "told"), [(20, True), (5, False)])
@pytest.mark.parametrize("thickness_mm", [1, 5])
def test_a_cut_lung_is_told_of_whatever_the_slices_distance(side_mm, told, thickness_mm):
    """The left border cuts through a square of lung; its axial section has 50 mm × 50 mm, a twentieth is 125 mm²."""
    lungs = np.zeros((60 // thickness_mm, 60, 60))
    lungs[1:-1, 5:55, 5:55] = 1
    lungs[20 // thickness_mm :][: side_mm // thickness_mm, 20 : 20 + side_mm, 55:] = 1
    warnings = measured(lungs * 0, lungs, (1.0, 1.0, float(thickness_mm))).warnings
    assert any("at the left:" in warning for warning in warnings) == told


def test_no_lung_is_told_of():
    measurements = measured(np.zeros((3, 3, 3)), np.zeros((3, 3, 3)), lobes=np.zeros((3, 3, 3)))
    assert any("no lung" in warning for warning in measurements.warnings)
    assert all(row["volume_ml"] == 0 and row["infection_percent"] is None for row in measurements.rows)


def test_images_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="different sizes"):
        measure(on_grid(np.zeros((3, 3, 3), np.int16)), labels(np.zeros((3, 3, 4))), labels(np.zeros((3, 3, 3))), None)


@st.composite
def studies(draw):
    """Random labels, HU (whole or fractional) and geometry; some labels may be absent, and a lobe in either lung."""
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3).filter(lambda shape: math.prod(shape) > 1))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = {"findings": 2, "lungs": 2, "lobes": 5}
    arrays = {}
    for name, highest in kinds.items():
        allowed = draw(st.lists(st.integers(0, highest), min_size=1, max_size=highest + 1, unique=True))
        arrays[name] = random.choice(allowed, shape)
    hu = random.integers(-1024, 3000, shape).astype(np.int16)
    if draw(st.booleans()):
        hu = hu + random.random(shape).astype(np.float32)
    spacing = draw(st.tuples(*[st.floats(0.2, 9)] * 3))
    direction = oblique_direction(
        draw(st.tuples(*[st.floats(-40, 40)] * 3)),
        draw(st.permutations(range(3))),
        draw(st.tuples(*[st.sampled_from([-1, 1])] * 3)),
        draw(st.floats(-0.5, 0.5)),
    )
    return hu, arrays, spacing, direction


@settings(max_examples=50, deadline=None)
@given(studies())
def test_columns_add_up_exactly(study):
    hu, arrays, spacing, direction = study
    rows = by_region(measured(arrays["findings"], arrays["lungs"], spacing, direction, hu=hu, lobes=arrays["lobes"]))
    for key in ML:
        assert sum(rows[name][key] for name in LOBE_NAMES) + rows["outside every lobe"][key] == rows["total"][key]
        assert rows["right lung"][key] + rows["left lung"][key] == rows["total"][key]
    for row in rows.values():
        assert row["ggo_ml"] + row["consolidation_ml"] == row["infection_ml"]
        assert sum(row[f"{name}_ml"] for name in COMPARTMENTS) == row["volume_ml"]
        for key in (key for key in row if key.endswith("_percent")):
            assert row[key] is None if row["volume_ml"] == 0 else 0 <= row[key] <= 100


@settings(max_examples=25, deadline=None)
@given(studies())
def test_the_table_agrees_with_simpleitk_s_label_filters(study):
    hu, arrays, spacing, direction = study
    rows = by_region(measured(arrays["findings"], arrays["lungs"], spacing, direction, hu=hu, lobes=arrays["lobes"]))
    lungs, findings, lobes = (arrays[name] for name in ("lungs", "findings", "lobes"))
    inside = lungs > 0
    groups = [
        (np.where(inside, lobes + 1, 0), ["outside every lobe", *LOBE_NAMES]),
        (lungs, ["right lung", "left lung"]),
        (inside, ["total"]),
    ]
    parts = {"volume": findings >= 0, "ggo": findings == 1, "consolidation": findings == 2, "infection": findings > 0}
    ct = on_grid(hu, spacing, direction)
    for (regions, names), (part, what) in itertools.product(groups, parts.items()):
        mask = labels(regions * what, spacing, direction)
        values, shape = sitk.LabelStatisticsImageFilter(), sitk.LabelShapeStatisticsImageFilter()
        values.Execute(ct, mask)
        shape.Execute(mask)
        for label, name in enumerate(names, start=1):
            row = rows[name]
            if not values.HasLabel(label):
                assert row[f"{part}_ml"] == 0 and row[f"{part}_mean_hu"] is None
                continue
            assert row[f"{part}_mean_hu"] == pytest.approx(values.GetMean(label), abs=1e-6)
            if values.GetCount(label) > 1:
                assert row[f"{part}_sd_hu"] == pytest.approx(values.GetSigma(label), abs=1e-4)
            # SimpleITK multiplies the spacing; a sheared voxel is smaller by the direction's determinant.
            ml = shape.GetPhysicalSize(label) / 1000 * abs(np.linalg.det(direction))
            assert row[f"{part}_ml"] == pytest.approx(ml, rel=1e-6)


def test_slabs_add_up_to_the_whole(blocks, monkeypatch):
    whole = measured(*blocks, lobes=blocks[1]).rows
    monkeypatch.setattr("infnet.quantification.measurements._SLAB_VOXELS", 7)
    assert measured(*blocks, lobes=blocks[1]).rows == whole


def test_the_table_as_csv_says_the_same(blocks, tmp_path):
    rows = measured(*blocks, (0.7, 0.7, 1.3), lobes=blocks[1]).rows
    write_table(rows, "müller, “first”.nrrd", tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["case", *rows[0]]
    for row, line in zip(rows, read, strict=True):
        assert line.pop("case") == "müller, “first”.nrrd" and line.pop("region") == row["region"]
        assert {key: float(value) if value else None for key, value in line.items()} == {
            key: value for key, value in row.items() if key != "region"
        }


def test_the_table_needs_a_folder(tmp_path):
    with pytest.raises(OutputError):
        write_table([], "case", tmp_path / "none" / "t.csv")
