"""Volumes against counted voxels."""

import csv

import numpy as np
import pytest
import SimpleITK as sitk
from infnet.errors import OutputError
from infnet.quantification.volumes import quantify, write_table
from phantoms import oblique_direction


def images(labels, lungs, spacing, direction=None):
    made = []
    for array in (labels, lungs):
        image = sitk.GetImageFromArray(array.astype(np.uint8))
        image.SetSpacing(spacing)
        if direction is not None:
            image.SetDirection(np.ravel(direction).tolist())
        made.append(image)
    return made


@pytest.fixture
def blocks():
    """10 × 10 × 20 voxels: right lung 1000, left lung 600; GGO 100 and 0, consolidation 10 and 300; 5 outside."""
    lungs = np.zeros((10, 10, 20))
    lungs[:, :, :10] = 1
    lungs[:, :6, 10:] = 2
    labels = np.zeros_like(lungs)
    labels[0, :, :10] = 1
    labels[1, 0, :10] = 2
    labels[:5, :6, 10:] = 2
    labels[9, 9, 15:] = 1  # in no lung
    return labels, lungs


def test_millilitres_and_percent_of_counted_voxels(blocks):
    right, left, total = quantify(*images(*blocks, (2.0, 2.0, 2.5)))  # 10 mm³ a voxel, which is 0.01 mL
    assert [row["region"] for row in (right, left, total)] == ["right lung", "left lung", "total"]
    expected = {
        "volume_ml": (10, 6, 16),
        "ggo_ml": (1, 0, 1),
        "consolidation_ml": (0.1, 3, 3.1),
        "infection_ml": (1.1, 3, 4.1),
        "ggo_percent": (10, 0, 6.25),
        "consolidation_percent": (1, 50, 19.375),
        "infection_percent": (11, 50, 25.625),
    }
    for key, values in expected.items():
        assert (right[key], left[key], total[key]) == pytest.approx(values, rel=1e-6), key


def test_a_sheared_voxel_is_smaller_than_its_spacing_says(blocks):
    spacing = (2.0, 2.0, 2.5)
    direction = oblique_direction((10, 20, 30), (2, 0, 1), (1, -1, 1), shear=0.75)
    factor = abs(np.linalg.det(direction))
    assert factor == pytest.approx(0.8)
    assert quantify(*images(*blocks, spacing, direction))[2]["volume_ml"] == pytest.approx(16 * 0.8, rel=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_rows_and_findings_add_up_exactly(seed):
    random = np.random.default_rng(seed)
    labels, lungs = random.integers(0, 3, (2, 9, 31, 37))
    right, left, total = quantify(*images(labels, lungs, tuple(random.uniform(0.3, 7, 3))))
    for key in ("volume_ml", "ggo_ml", "consolidation_ml", "infection_ml"):
        assert right[key] + left[key] == total[key]
    for row in (right, left, total):
        assert row["ggo_ml"] + row["consolidation_ml"] == row["infection_ml"]


@pytest.mark.parametrize("absent", [{1}, {2}, {1, 2}])
@pytest.mark.parametrize("seed", range(5))
def test_a_region_without_lung_has_no_percent_and_the_rows_still_add_up(absent, seed):
    random = np.random.default_rng(seed)
    labels, lungs = random.integers(0, 3, (2, 5, 11, 13))
    lungs[np.isin(lungs, list(absent))] = 0
    right, left, total = rows = quantify(*images(labels, lungs, tuple(random.uniform(0.3, 7, 3))))
    for row, empty in zip(rows, (1 in absent, 2 in absent, absent == {1, 2}), strict=True):
        assert (row["volume_ml"] == 0) == empty
        for key in ("ggo_percent", "consolidation_percent", "infection_percent"):
            assert (row[key] is None) == empty
            assert empty or 0 < row[key] < 100
    for key in ("volume_ml", "ggo_ml", "consolidation_ml", "infection_ml"):
        assert right[key] + left[key] == total[key]


def test_no_percent_is_an_empty_cell(tmp_path):
    rows = quantify(*images(np.ones((2, 2, 2)), np.ones((2, 2, 2)), (10.0, 10.0, 10.0)))
    write_table(rows, "case", tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1:] == [
        "case,right lung,8.0,8.0,0.0,8.0,100.0,0.0,100.0",
        "case,left lung,0.0,0.0,0.0,0.0,,,",
        "case,total,8.0,8.0,0.0,8.0,100.0,0.0,100.0",
    ]


def test_the_table_as_csv_says_the_same(blocks, tmp_path):
    rows = quantify(*images(*blocks, (0.7, 0.7, 1.3)))
    write_table(rows, "müller, “first”.nrrd", tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["case", *rows[0]]
    for row, line in zip(rows, read, strict=True):
        assert line.pop("case") == "müller, “first”.nrrd" and line.pop("region") == row["region"]
        assert {key: float(value) for key, value in line.items()} == {k: v for k, v in row.items() if k != "region"}


def test_the_table_needs_a_folder(tmp_path):
    with pytest.raises(OutputError):
        write_table([], "case", tmp_path / "none" / "t.csv")
