"""Change over time: figures against subtraction, maps against lungs that were moved and lesions that were painted."""

import csv
import errno
import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from infnet import cli
from infnet.anatomy.lungs import SOURCE
from infnet.errors import InputError, NoLungError
from infnet.quantification import change as change_module
from infnet.quantification import change_plot
from infnet.quantification import registration as registration_module
from infnet.quantification.change import FIGURES, RESOLVED, changes, comparison_warnings, in_order, map_change
from infnet.quantification.change_plot import plot_changes
from infnet.quantification.measurements import measure, voxel_ml
from infnet.quantification.registration import Chest, LungRegistration, _folded, register_lungs
from infnet.quantification.study import Study, write_study
from overlap import dice
from phantoms import CONSOLIDATION_HU, DIRECTIONS, GGO_HU, coordinates, empty_grid, make_chest

voxels = sitk.GetArrayFromImage
RIGHT_GGO, LEFT_DENSE = (-75.0, 10.0, 20.0), (92.0, 48.0, -10.0)  # centres in the phantom


def ball(grid, centre, radius):
    """Voxels of a grid within a ball, in mm."""
    return np.linalg.norm(np.moveaxis(coordinates(grid), 0, -1) - centre, axis=-1) < radius


def chest(grid=None, **options):
    made = make_chest(grid or empty_grid((84, 72, 46), (4, 4, 5)), **options)
    return Chest(made.ct, made.lungs, made.findings)


def paint(scan, centre, radius, hu, label):
    """A chest with a lesion more; label 0 paints healthy lung."""
    where = ball(scan.ct, centre, radius) & (voxels(scan.lungs) > 0)
    images = []
    for image, value in ((scan.ct, hu), (scan.lungs, None), (scan.findings, label)):
        array = voxels(image)
        if value is not None:
            array[where] = value
        painted = sitk.GetImageFromArray(array)
        painted.CopyInformation(image)
        images.append(painted)
    return Chest(*images)


def moved(scan, transform, grid=None):
    """A chest as it looks after a motion; ``transform`` takes points of the moved chest to where they were."""
    grid = grid or scan.ct
    methods = ((scan.ct, sitk.sitkLinear, -1000), *((image, sitk.sitkNearestNeighbor, 0) for image in scan[1:]))
    return Chest(*(sitk.Resample(image, grid, transform, method, outside) for image, method, outside in methods))


def study(folder, scan, date=None, patient=None, **provenance):
    folder.mkdir(parents=True)
    sitk.WriteImage(scan.ct, folder / "ct.nrrd")
    measured = measure(scan.ct, scan.findings, scan.lungs, None)
    made = Study(
        case=folder.name, ct=folder / "ct.nrrd", table=measured.rows, severity=None, sources=measured.sources,
        provenance={"use": "test", **provenance}, warnings=[], seconds={}, date=date, patient=patient, folder=folder,
    )  # fmt: skip
    write_study(made, scan.findings, scan.lungs)
    return made


def test_figures_are_subtracted_from_the_first_and_from_the_previous(tmp_path):
    scan = chest()
    less = paint(scan, LEFT_DENSE, 60, -850, 0)
    studies = [study(tmp_path / name, s) for name, s in (("a", scan), ("b", less), ("c", scan))]
    rows = changes(studies)
    first, second, third = (row for row in rows if (row["region"], row["figure"]) == ("total", "infection_ml"))
    values = [s.table[-1]["infection_ml"] for s in studies]
    assert [row["value"] for row in (first, second, third)] == values
    assert first["change"] == 0 and first["change_since_previous"] is None
    assert second["change"] == values[1] - values[0] == second["change_since_previous"] < 0
    assert second["change_percent"] == pytest.approx(100 * (values[1] / values[0] - 1))
    assert third["change"] == 0 and third["change_since_previous_percent"] > 0
    (left,) = (
        row for row in rows if row["case"] == "c" and (row["region"], row["figure"]) == ("left lung", "infection_ml")
    )
    assert left["change_since_previous_percent"] is None and left["change_since_previous"] > 0  # of nothing
    named = {(row["region"], row["figure"]) for row in rows}
    assert {figure for region, figure in named if region == "total"} == set(FIGURES) - {"severity"}


def test_studies_are_ordered_by_date_or_as_given(tmp_path):
    scan = chest()
    late, early = study(tmp_path / "late", scan, "2020-04-01"), study(tmp_path / "early", scan, "2020-03-01")
    assert in_order([late, early]) == ([early, late], [])
    ordered, (warning,) = in_order([late, replace(early, date=None)])
    assert ordered[0] is late and "early" in warning
    with pytest.raises(InputError, match="several patients"):
        in_order([replace(late, patient="1"), replace(early, patient="2")])
    with pytest.raises(InputError, match="two studies"):
        in_order([late])
    with pytest.raises(InputError, match="twice"):
        in_order([late, late])
    with pytest.raises(InputError, match="are called late"):
        in_order([late, replace(early, case="late")])


@pytest.mark.parametrize(
    ("days", "at_the_scans"), [((1, 15), True), ((1, 3, 17), True), ((1, 2, 29), False)], ids=["two", "room", "close"]
)
def test_the_plot_names_the_days_of_the_scans_where_there_is_room(tmp_path, days, at_the_scans):
    scan = chest(empty_grid((28, 24, 16), (12, 12, 15)))
    figure = plot_changes([study(tmp_path / f"{day}", scan, f"2020-03-{day:02}") for day in days])
    labels = [tick.get_text() for tick in figure.axes[-1].get_xticklabels()]
    assert (labels == [f"2020-03-{day:02}" for day in days]) == at_the_scans


def test_what_makes_studies_incomparable_is_told(tmp_path):
    one = study(tmp_path / "one", chest(), threshold=0.5, infection_weights_sha256="a")
    assert comparison_warnings([one, one]) == []
    provenance = {"threshold": 0.4, "infection_weights_sha256": "b", "minimum_lesion_ml": 0.1}
    other = replace(one, sources={"lobes": "zones", "lungs": SOURCE}, provenance=provenance)
    words = " ".join(comparison_warnings([one, other]))
    assert all(word in words for word in ("lobes", "infection models", "thresholds", "smallest lesion", "the lungs"))
    averaged = replace(one, provenance={**one.provenance, "smoothing_mm": 4.0})  # there was none before
    assert comparison_warnings([averaged, averaged]) == []
    assert "averages across slices" in " ".join(comparison_warnings([one, averaged]))


def test_the_map_has_what_the_table_counts(tmp_path):
    """Findings beyond a lung mask that was given are in neither."""
    scan = chest(empty_grid((56, 48, 30), (6, 6, 8)))
    half = Chest(scan.ct, sitk.Cast(scan.lungs == 1, sitk.sitkUInt8), scan.findings)
    one, other = study(tmp_path / "1", half), study(tmp_path / "2", half)
    change = map_change(one, other)
    assert (
        0
        < change.volumes_ml["persistent"]
        <= one.table[-1]["infection_ml"]
        < np.sum(voxels(scan.findings) > 0) * voxel_ml(scan.ct)
    )


def test_a_moved_chest_with_a_new_and_a_resolved_lesion(tmp_path):
    """A deep breath between the scans: the lungs are shifted and 8 % longer; grids and directions differ."""
    earlier = chest()
    breath = sitk.AffineTransform(3)
    breath.SetMatrix(np.diag([0.97, 0.98, 0.92]).ravel())
    breath.SetTranslation((-12.0, 9.0, 15.0))
    new = (60.0, -30.0, 25.0)
    later = paint(paint(earlier, LEFT_DENSE, 60, -850, 0), new, 18, GGO_HU, 1)
    later = moved(later, breath, empty_grid((90, 88, 66), (3.8, 3.8, 4.4), DIRECTIONS["oblique, transposed, flipped"]))
    change = map_change(study(tmp_path / "1", earlier), study(tmp_path / "2", later))
    assert change.registration.dice_before < 0.9 < 0.96 < change.registration.dice_after
    assert change.registration.warnings == [] and change.registration.folded == 0
    assert change.image.GetSize() == earlier.ct.GetSize() and change.image.GetOrigin() == earlier.ct.GetOrigin()
    labels = voxels(change.image)
    truth = {
        1: voxels(earlier.findings) == 1,  # the right lung's ground glass
        2: ball(earlier.ct, new, 18) & (voxels(earlier.lungs) > 0),
        3: voxels(earlier.findings) == 2,
    }
    for (label, expected), centre in zip(truth.items(), (RIGHT_GGO, new, LEFT_DENSE), strict=True):
        called = (labels == label) & ball(earlier.ct, centre, 40)  # elsewhere, borders of other lesions
        assert dice(called, expected) > 0.75, label
    volumes = {1: "persistent", 2: "new", 3: "resolved"}
    for label, name in volumes.items():
        assert change.volumes_ml[name] == pytest.approx(np.sum(labels == label) * voxel_ml(earlier.ct))


def test_a_deformation_is_followed_within_the_lungs():
    """Lower lung moves by up to 14 mm, upper lung not: an affine transform is not enough."""
    earlier = chest(noise_hu=0)
    field = np.zeros((*earlier.ct.GetSize()[::-1], 3))
    z = np.linspace(0, 1, field.shape[0])[:, None, None]
    field[..., 2] = -14 * np.clip(1 - 2 * z, 0, 1) ** 2
    image = sitk.GetImageFromArray(field, isVector=True)
    image.CopyInformation(earlier.ct)
    later = moved(earlier, sitk.DisplacementFieldTransform(image))
    registration = register_lungs(earlier, later)
    assert registration.dice_after > max(0.97, registration.dice_before)
    back = sitk.Resample(later.findings, earlier.ct, registration.transform, sitk.sitkNearestNeighbor, 0)
    for label in (1, 2):
        assert dice(voxels(earlier.findings) == label, voxels(back) == label) > 0.85


def test_two_runs_give_one_registration(monkeypatch):
    monkeypatch.setattr(registration_module, "_SAMPLES", 500)
    earlier = chest(empty_grid((56, 48, 30), (6, 6, 8)))
    later = moved(earlier, sitk.TranslationTransform(3, (6.0, -4.0, 9.0)))
    one, other = (register_lungs(earlier, later).transform for _ in range(2))
    for point in (RIGHT_GGO, LEFT_DENSE, (60.0, -30.0, 25.0)):
        assert one.TransformPoint(point) == pytest.approx(other.TransformPoint(point), abs=1e-3)


@pytest.mark.parametrize("slices", [0, 3], ids=["nothing", "a piece"])
@pytest.mark.parametrize("lacking", ["earlier", "later"])
def test_a_lung_that_one_study_lacks_does_not_draw_the_other_to_its_side(lacking, slices):
    whole = chest(empty_grid((56, 48, 30), (6, 6, 8)))
    lungs = voxels(whole.lungs)
    lungs[15 + slices :][lungs[15 + slices :] == 2] = 0
    lungs[:15][lungs[:15] == 2] = 0
    image = sitk.GetImageFromArray(lungs)
    image.CopyInformation(whole.ct)
    part = whole._replace(lungs=image)
    registration = register_lungs(*((part, whole) if lacking == "earlier" else (whole, part)))
    for point in (RIGHT_GGO, (-70.0, 0.0, -60.0), (-70.0, 50.0, 30.0)):
        assert registration.transform.TransformPoint(point) == pytest.approx(point, abs=3)
    (warning,) = registration.warnings
    assert "left lung" in warning and registration.dice_after > 0.95


def test_a_lung_that_both_studies_lack_is_no_reason_for_a_warning():
    scan = chest(empty_grid((56, 48, 30), (6, 6, 8)))
    right = scan._replace(lungs=sitk.Mask(scan.lungs, scan.lungs == 1))
    assert register_lungs(right, right).warnings == []
    with pytest.raises(NoLungError, match="no lung in common"):
        register_lungs(right, scan._replace(lungs=sitk.Mask(scan.lungs, scan.lungs == 2)))


def test_lungs_that_do_not_fit_are_told_of():
    lungs = sitk.Image(8, 8, 8, sitk.sitkFloat32) + 1
    mirrored = sitk.AffineTransform(3)
    mirrored.SetMatrix(np.diag([1.0, 1.0, -1.0]).ravel())
    assert _folded(mirrored, lungs) == 1 and _folded(sitk.AffineTransform(3), lungs) == 0
    assert LungRegistration(mirrored, 0.5, 0.95, 0.0005, mirrored).warnings == []
    poor, folds = LungRegistration(mirrored, 0.5, 0.89, 0.02, mirrored).warnings
    assert "0.89" in poor and "folds 2.0 %" in folds


@pytest.fixture
def at_rest(monkeypatch):
    """Nothing has moved, and no registration is needed to know it."""
    rest = LungRegistration(sitk.Transform(), 1.0, 1.0, 0.0, sitk.Transform())
    monkeypatch.setattr(change_module, "register_lungs", lambda earlier, later, progress: rest)


def test_what_the_later_scan_does_not_show_is_not_called_resolved(tmp_path, at_rest):
    earlier = chest(noise_hu=0)
    healthy = paint(paint(earlier, LEFT_DENSE, 60, -850, 0), RIGHT_GGO, 60, -850, 0)
    middle = slice(0, 23)  # the feet's half: of the right lung's ground glass it shows no whole slice
    change = map_change(
        study(tmp_path / "1", earlier), study(tmp_path / "2", Chest(*(i[:, :, middle] for i in healthy)))
    )
    findings, labels = voxels(earlier.findings) > 0, voxels(change.image)
    assert (
        np.array_equal(labels == RESOLVED, findings & (np.arange(46) < 23)[:, None, None])
        and (labels == RESOLVED).any()
    )
    assert set(np.unique(labels)) == {0, RESOLVED}
    assert (
        change.unseen_ml == pytest.approx(np.count_nonzero(findings[23:]) * voxel_ml(earlier.ct))
        and change.unseen_ml > 20
    )
    assert f"{change.unseen_ml:.1f} mL lie outside the later scan" in change.warnings[-1]


def test_what_the_earlier_scan_did_not_show_is_not_called_new(tmp_path, at_rest):
    later = chest(noise_hu=0)
    healthy = paint(paint(later, LEFT_DENSE, 60, -850, 0), RIGHT_GGO, 60, -850, 0)
    upper = slice(23, 46)  # of the left lung's consolidation it shows a part
    change = map_change(study(tmp_path / "1", Chest(*(i[:, :, upper] for i in healthy))), study(tmp_path / "2", later))
    findings = voxels(later.findings) > 0
    assert change.volumes_ml["new"] == pytest.approx(np.count_nonzero(findings[upper]) * voxel_ml(later.ct))
    expected = np.count_nonzero(findings[:23]) * voxel_ml(later.ct)
    assert change.unseen_before_ml == pytest.approx(expected, rel=0.05) and expected > 20
    assert change.unseen_ml == 0
    assert f"{change.unseen_before_ml:.1f} mL lie outside the earlier scan" in change.warnings[-1]


@pytest.mark.parametrize("partial", ["earlier", "later"])
def test_half_a_chest_that_lies_elsewhere_is_brought_onto_the_whole(tmp_path, partial):
    """The scans overlap by half; what only one of them shows tells nothing of how they fit."""
    whole = chest()
    half = Chest(*(image[:, :, 20:46] for image in whole))
    shift = np.array([12.0, -9.0, 25.0])
    for image in half:
        image.SetOrigin((image.GetOrigin() + shift).tolist())
    change = map_change(*(study(tmp_path / name, half if name == partial else whole) for name in ("earlier", "later")))
    expected = shift if partial == "later" else -shift
    for point in ((-70.0, 0.0, 30.0), (70.0, 0.0, 60.0)):
        start = point if partial == "later" else point + shift
        moved_by = np.subtract(change.registration.transform.TransformPoint(start), start)
        assert np.linalg.norm(moved_by - expected) < 6
    assert change.registration.dice_after > 0.95 and change.registration.warnings == []
    assert change.volumes_ml["new"] + change.volumes_ml["resolved"] < 0.2 * change.volumes_ml["persistent"]
    assert (change.unseen_ml > 0, change.unseen_before_ml > 0) == (partial == "later", partial == "earlier")


def test_no_lung_is_an_error():
    scan = chest()
    with pytest.raises(NoLungError):
        register_lungs(scan, Chest(scan.ct, scan.lungs * 0, scan.findings))


def test_three_slices_are_too_few_to_compare():
    scan = chest()
    with pytest.raises(InputError, match="fewer than four slices"):
        register_lungs(scan, Chest(*(image[:, :, 20:23] for image in scan)))


def test_the_command(tmp_path, capsys, at_rest):
    scan = chest()
    grown = paint(scan, RIGHT_GGO, 26, CONSOLIDATION_HU, 2)
    study(tmp_path / "march", scan, "2020-03-01")
    study(tmp_path / "april", grown, "2020-04-01")
    output = tmp_path / "change"
    arguments = ["compare", str(tmp_path / "april"), str(tmp_path / "march"), "-o", str(output), "--progress", "json"]
    assert cli.main(arguments) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    written = json.loads((output / "change.json").read_text(encoding="utf-8"))
    assert written["schema"] == "infnet-change/1" and result["changes"] == written["changes"]
    assert [entry["case"] for entry in written["studies"]] == ["march", "april"]
    (map_,) = written["maps"]
    assert map_["ml"]["new"] > map_["ml"]["resolved"] == 0 and map_["lung_dice_after"] == 1
    assert (output / map_["map"]).name == "change-march-april.nrrd"
    assert set(np.unique(voxels(sitk.ReadImage(output / map_["map"])))) >= {0, 1, 2}
    with (output / "change.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(written["changes"]) and list(rows[0]) == list(written["changes"][0])
    assert (output / "change.svg").read_text(encoding="utf-8").count("<svg") == 1
    assert sitk.ReadImage(output / "change.png").GetSize()[0] > 1000


def test_a_ct_that_is_gone_is_named(tmp_path, capsys):
    for name in ("a", "b"):
        study(tmp_path / name, chest(), f"2020-0{1 + (name == 'b')}-01")
    (tmp_path / "b" / "ct.nrrd").unlink()
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "out")]) == 3
    assert str(tmp_path / "b" / "ct.nrrd") in " ".join(capsys.readouterr().err.split("\n"))


def test_a_study_that_lacks_an_image_is_told_before_others_are_registered(tmp_path, capsys, monkeypatch):
    def register(*_):
        raise AssertionError("minutes of work")

    scan = chest()
    for month in (1, 2, 3):
        study(tmp_path / str(month), scan, f"2020-0{month}-01")
    monkeypatch.setattr(change_module, "register_lungs", register)
    arguments = ["compare", *(str(tmp_path / str(month)) for month in (1, 2, 3)), "-o", str(tmp_path / "out")]
    for gone in ("ct.nrrd", "lungs.nrrd", "segmentation.seg.nrrd"):
        (tmp_path / "3" / gone).rename(tmp_path / "elsewhere")
        assert cli.main(arguments) == 3
        assert str(tmp_path / "3" / gone) in " ".join(capsys.readouterr().err.split("\n"))
        (tmp_path / "elsewhere").rename(tmp_path / "3" / gone)
    sitk.WriteImage(sitk.Compose(scan.findings, scan.findings), tmp_path / "3/segmentation.seg.nrrd")
    assert cli.main(arguments) == 3  # segments that overlap, as 3D Slicer saves them
    assert "one value a voxel" in " ".join(capsys.readouterr().err.split("\n"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damaged", ["ct.nrrd", "lungs.nrrd", "segmentation.seg.nrrd"])
def test_images_of_a_study_on_several_grids_are_told(tmp_path, capsys, damaged):
    """Found by fuzzing: an error of ITK."""
    for name in ("a", "b"):
        study(tmp_path / name, chest())
    image = sitk.ReadImage(tmp_path / "b" / damaged)
    image.SetOrigin(image.TransformIndexToPhysicalPoint((1, 0, 0)))
    sitk.WriteImage(image, tmp_path / "b" / damaged)
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "out")]) == 3
    told = " ".join(capsys.readouterr().err.split("\n"))
    assert f"{tmp_path / 'b/ct.nrrd'}: no longer the CT of" in told and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["change.csv", "change.json", "change.png", "change-a-b.nrrd"])
def test_a_folder_in_the_place_of_a_file_of_the_comparison_leaves_the_one_before(tmp_path, capsys, monkeypatch, name):
    for case in ("a", "b"):
        study(tmp_path / case, chest())
    output = tmp_path / "out"
    (output / name).mkdir(parents=True)
    (output / "change.svg").write_text("earlier")
    monkeypatch.setattr(change_module, "register_lungs", None)
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(output)]) == 7
    assert f"{output / name} is a folder" in " ".join(capsys.readouterr().err.split("\n"))
    assert {path.name for path in output.iterdir()} == {name, "change.svg"}


@pytest.mark.parametrize("name", ["a/b", "../../b", "x" * 300])
def test_a_study_whose_name_is_no_file_s_is_told_before_the_work(tmp_path, capsys, monkeypatch, name):
    for case in ("march", "april"):
        study(tmp_path / case, chest())
    values = json.loads((tmp_path / "april/result.json").read_text(encoding="utf-8"))
    (tmp_path / "april/result.json").write_text(json.dumps({**values, "case": name}), encoding="utf-8")
    monkeypatch.setattr(change_module, "register_lungs", None)
    arguments = ["compare", str(tmp_path / "march"), str(tmp_path / "april"), "-o", str(tmp_path / "out")]
    assert cli.main(arguments) == 7
    assert name in " ".join(capsys.readouterr().err.split("\n")) and not (tmp_path / "out").exists()


def test_a_comparison_that_cannot_be_written_leaves_the_one_before(tmp_path, capsys, at_rest, monkeypatch):
    scan = chest()
    study(tmp_path / "march", scan, "2020-03-01")
    study(tmp_path / "april", scan, "2020-04-01")
    output = tmp_path / "change"
    arguments = ["compare", str(tmp_path / "march"), str(tmp_path / "april"), "-o", str(output)]
    assert cli.main(arguments) == 0
    before = {path: path.read_bytes() for path in output.iterdir()}
    study(tmp_path / "later", paint(scan, RIGHT_GGO, 26, CONSOLIDATION_HU, 2), "2020-05-01")

    def fill_disk(figure, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(change_plot, "write_plot", fill_disk)
    assert cli.main([*arguments[:3], str(tmp_path / "later"), *arguments[3:]]) == 7
    assert "No space left on device" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in output.iterdir()} == before
