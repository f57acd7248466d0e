"""``infnet quantify`` on files: what others made or corrected, on grids of their own."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from infnet import cli
from infnet.anatomy.lungs import segment_lungs
from infnet.anatomy.regions import LOBES
from infnet.data.segmentations import write_segmentation
from infnet.data.volumes import read_ct
from infnet.errors import InputError
from infnet.quantification import label_images
from infnet.quantification.label_images import read_findings, read_lungs
from phantoms import DIRECTIONS, empty_grid, make_chest

voxels = sitk.GetArrayFromImage


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A chest's CT, findings, lungs and lobes (halves of the lungs' height, and no middle lobe), as files."""
    folder = tmp_path_factory.mktemp("chest")
    chest = make_chest(empty_grid((80, 72, 40), (4, 4, 5), DIRECTIONS["oblique"]), noise_hu=0)
    lungs = voxels(chest.lungs)
    upper = np.arange(len(lungs))[:, None, None] >= len(lungs) // 2
    lobes = np.select([lungs == 0, lungs == 1], [0, np.where(upper, 1, 3)], np.where(upper, 4, 5)).astype(np.uint8)
    image = sitk.GetImageFromArray(lobes)
    image.CopyInformation(chest.ct)
    sitk.WriteImage(chest.ct, folder / "ct.nrrd")
    write_segmentation(chest.findings, folder / "s.seg.nrrd", {})
    sitk.WriteImage(chest.lungs, folder / "lungs.nrrd")
    write_segmentation(image, folder / "lobes.seg.nrrd", {}, LOBES)
    return folder, chest


def quantify(folder, *arguments):
    return cli.main(["quantify", str(folder / "ct.nrrd"), *map(str, arguments)])


def test_the_table_of_files(files, tmp_path, capsys):
    folder, chest = files
    arguments = (
        "--segmentation",
        folder / "s.seg.nrrd",
        "--lungs",
        folder / "lungs.nrrd",
        "--lobes",
        folder / "lobes.seg.nrrd",
    )
    assert quantify(folder, *arguments, "-o", tmp_path / "t.csv", "--case", "first") == 0
    assert "total" in capsys.readouterr().out
    assert quantify(folder, *arguments, "-o", tmp_path / "t.json") == 0
    values = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert values["schema"] == "infnet-measurements/1" and values["case"] == "ct.nrrd"
    assert values["sources"] == {
        "findings": "s.seg.nrrd", "lungs": "lungs.nrrd (as given)", "lobes": "existing", "lobes_approximate": False,
    }  # fmt: skip
    assert any("right middle lobe" in warning for warning in values["warnings"]) and values["severity"] is None
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["case"] for row in rows} == {"first"} and len(rows) == len(values["table"]) == 9
    total = values["table"][-1]
    assert float(rows[-1]["infection_ml"]) == total["infection_ml"]
    assert total["ggo_ml"] == pytest.approx(np.count_nonzero(voxels(chest.findings) == 1) * 0.08, rel=1e-6)
    assert total["ggo_mean_hu"] == -550


def test_findings_that_slicer_saved_anew(files, tmp_path):
    """Cropped, with other label values, known by name only; a segment that is no finding is left out."""
    _, chest = files
    array = voxels(chest.findings)
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(array))
    cropped = chest.findings[box[2], box[1], box[0]]
    labels = sitk.ChangeLabel(cropped, {1: 7, 2: 3})
    for key, value in {
        "Segment0_Name": "consolidation", "Segment0_LabelValue": "3", "Segment0_Layer": "0",
        "Segment1_Name": "Ground-glass opacity", "Segment1_LabelValue": "7", "Segment1_Layer": "0",
        "Segment2_Name": "Nodule", "Segment2_LabelValue": "9", "Segment2_Layer": "0",
    }.items():  # fmt: skip
        labels.SetMetaData(key, value)
    sitk.WriteImage(labels, tmp_path / "edited.seg.nrrd")
    assert np.array_equal(voxels(read_findings(tmp_path / "edited.seg.nrrd", chest.ct)), array)


def test_lungs_of_a_segmentation_are_known_by_their_names_and_not_by_their_values(files, tmp_path):
    """3D Slicer numbers segments in the order in which they were made: the left lung can be 1."""
    _, chest = files
    swapped = sitk.ChangeLabel(chest.lungs, {1: 2, 2: 1})
    for key, value in {
        "Segment0_Name": "left lung", "Segment0_LabelValue": "1", "Segment1_Name": "right lung",
        "Segment1_LabelValue": "2",
    }.items():  # fmt: skip
        swapped.SetMetaData(key, value)
    sitk.WriteImage(swapped, tmp_path / "lungs.seg.nrrd")
    assert np.array_equal(voxels(read_lungs(tmp_path / "lungs.seg.nrrd", chest.ct)), voxels(chest.lungs))


@pytest.mark.parametrize("direction", ["LPS", "RAS", "sagittal"])
def test_lungs_on_the_wrong_side_are_refused(tmp_path, direction):
    chest = make_chest(empty_grid((20, 18, 12), (16, 16, 20), DIRECTIONS[direction]))
    sitk.WriteImage(sitk.ChangeLabel(chest.lungs, {1: 2, 2: 1}), tmp_path / "lungs.nrrd")
    with pytest.raises(InputError, match="label 1 lies on the patient's left"):
        read_lungs(tmp_path / "lungs.nrrd", chest.ct)
    sitk.WriteImage(chest.lungs, tmp_path / "lungs.nrrd")
    assert np.array_equal(voxels(read_lungs(tmp_path / "lungs.nrrd", chest.ct)), voxels(chest.lungs))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("joined", [False, True])
def test_a_mask_of_both_lungs_in_one_label_is_parted(tmp_path, direction, joined):
    chest = make_chest(empty_grid((80, 72, 40), (4, 4, 5), DIRECTIONS[direction]), joined=joined, noise_hu=0)
    sitk.WriteImage(chest.lungs > 0, tmp_path / "lungs.nrrd")
    found, truth = voxels(read_lungs(tmp_path / "lungs.nrrd", chest.ct)), voxels(chest.lungs)
    assert np.array_equal(found > 0, truth > 0), "every voxel is kept"
    assert np.count_nonzero(found != truth) < (1 if not joined else 0.005 * np.count_nonzero(truth))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("side", [1, 2])
def test_which_lung_a_mask_of_one_is_the_ct_tells(tmp_path, direction, side):
    """A mask of 0 and 1 says no side. The body is not in the middle of the CT."""
    grid = empty_grid((80, 72, 40), (4, 4, 5), DIRECTIONS[direction])
    grid.SetOrigin(np.add(grid.GetOrigin(), (20, 0, 0)).tolist())
    chest = make_chest(grid, noise_hu=0)
    alone = chest.lungs == side
    sitk.WriteImage(alone, tmp_path / "lungs.nrrd")
    assert np.array_equal(voxels(read_lungs(tmp_path / "lungs.nrrd", chest.ct)), voxels(alone) * side)
    sitk.WriteImage(alone * 2, tmp_path / "lungs.nrrd")
    if side == 2:
        assert np.array_equal(voxels(read_lungs(tmp_path / "lungs.nrrd", chest.ct)), voxels(alone) * 2)
    else:
        with pytest.raises(InputError, match="label 2 lies on the patient's right"):
            read_lungs(tmp_path / "lungs.nrrd", chest.ct)


def test_the_lung_that_a_ct_does_not_show_is_told_from_the_one_that_it_shows(tmp_path):
    """The left lung is consolidated as a whole: no air is found in it."""
    chest = make_chest(empty_grid((80, 72, 40), (4, 4, 5)), left_lung=False, noise_hu=0)
    whole = make_chest(empty_grid((80, 72, 40), (4, 4, 5))).lungs
    for side in (1, 2):
        sitk.WriteImage(whole == side, tmp_path / "lungs.nrrd")
        assert set(np.unique(voxels(read_lungs(tmp_path / "lungs.nrrd", chest.ct)))) == {0, side}


def test_a_mask_whose_side_nothing_tells_is_refused(files, tmp_path):
    _, chest = files
    middle = sitk.Image(chest.airways)
    sitk.WriteImage(middle, tmp_path / "lungs.nrrd")
    with pytest.raises(InputError, match=r"lungs\.nrrd: one label, on both sides of the body; label the right lung 1"):
        read_lungs(tmp_path / "lungs.nrrd", chest.ct)
    sitk.WriteImage(chest.lungs == 2, tmp_path / "lungs.nrrd")
    with pytest.raises(InputError, match=r"lungs\.nrrd: one lung, and the CT does not tell which"):
        read_lungs(tmp_path / "lungs.nrrd", chest.ct * 0)
    named = sitk.Image(chest.lungs == 2)
    named.SetMetaData("Segment0_Name", "left lung")
    sitk.WriteImage(named, tmp_path / "lungs.seg.nrrd")
    told = read_lungs(tmp_path / "lungs.seg.nrrd", chest.ct * 0)
    assert np.array_equal(voxels(told), voxels(chest.lungs) & 2), "a name tells"


@pytest.mark.parametrize("name", ["lungs/id001_ct.nii.gz", "lungs/id002_ct.nii.gz", "ct/cip-lowres/ct-64.nrrd"])
def test_which_lung_a_mask_of_one_is_real_cts_tell(shared_data, tmp_path, monkeypatch, name):
    """Whole lungs and thirds of them, as different as their heights are."""
    ct, _ = read_ct(shared_data / name)
    found = segment_lungs(ct)
    monkeypatch.setattr(label_images, "segment_lungs", lambda _: found)  # eight times the same
    lungs = voxels(found)
    for side in (1, 2):
        heights = np.flatnonzero((lungs == side).any(axis=(1, 2)))
        for part in (heights, *np.array_split(heights, 3)):
            mask = np.zeros_like(lungs)
            mask[part] = lungs[part] == side
            image = sitk.GetImageFromArray(mask)
            image.CopyInformation(ct)
            sitk.WriteImage(image, tmp_path / "lungs.nrrd")
            assert np.array_equal(voxels(read_lungs(tmp_path / "lungs.nrrd", ct)), mask * side)


def test_consolidated_lung_counts_where_the_lungs_are_found_in_the_ct(files, tmp_path):
    """A threshold misses more than a tenth of it; infnet segment counts it, and so does this."""
    folder, chest = files
    assert quantify(folder, "--segmentation", folder / "s.seg.nrrd", "-o", tmp_path / "t.json") == 0
    *_, left, total = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["table"]
    truth_ml = np.count_nonzero(voxels(chest.findings) == 2) * 0.08
    assert left["consolidation_ml"] == total["consolidation_ml"] == pytest.approx(truth_ml, rel=0.04)
    assert all(row[f"{finding}_percent"] <= 100 for row in (left, total) for finding in ("ggo", "infection"))


@pytest.mark.parametrize(
    ("make", "status", "words"),
    [
        (lambda chest: chest.findings + 2, 3, "labels are the whole numbers 0 to 2"),
        (lambda chest: sitk.Cast(chest.findings, sitk.sitkFloat32) / 2, 3, "whole numbers"),
        (lambda chest: sitk.Compose(chest.findings, chest.findings), 3, "one value a voxel"),
    ],
)
def test_what_is_no_label_image_is_refused(files, tmp_path, capsys, make, status, words):
    folder, chest = files
    sitk.WriteImage(make(chest), tmp_path / "s.nrrd")
    arguments = ("--segmentation", tmp_path / "s.nrrd", "--lungs", folder / "lungs.nrrd", "-o", tmp_path / "t.csv")
    assert quantify(folder, *arguments, "--progress", "json") == status
    error = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert words in error["message"] and str(tmp_path / "s.nrrd") in error["message"]
    assert not (tmp_path / "t.csv").exists()


def test_labels_beside_the_ct_and_empty_lungs_are_refused(files, tmp_path, capsys):
    folder, chest = files
    sitk.WriteImage(chest.lungs * 0, tmp_path / "none.nrrd")
    far = sitk.Image(chest.lungs)
    far.SetOrigin((5000.0, 0.0, 0.0))
    sitk.WriteImage(far, tmp_path / "far.nrrd")
    for name, status, code in (("none.nrrd", 4, "no-lung"), ("far.nrrd", 3, "geometry")):
        arguments = ("--segmentation", folder / "s.seg.nrrd", "--lungs", tmp_path / name, "-o", tmp_path / "t.csv")
        assert quantify(folder, *arguments, "--progress", "json") == status
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["code"] == code
