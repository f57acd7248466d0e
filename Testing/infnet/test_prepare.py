"""From CTs to training slices, and maps of them back in their CTs."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from infnet.anatomy import lungs as lungs_module
from infnet.anatomy.envelope import lung_envelope
from infnet.cli import main
from infnet.data.labelled_slices import read_labelled_slices, read_slices
from infnet.data.listing import volumes_of
from infnet.data.orientation import AxialView
from infnet.data.prepared import PreparedSlice, cut, put_back, read_listing, without_volumes, write_listing
from infnet.errors import CancelledError, InputError
from infnet.inference.slices import SliceLook
from infnet.reporting import JsonReporter
from phantoms import DIRECTIONS, empty_grid, make_chest, write_dicom_series

LOOK = SliceLook()


@pytest.fixture(scope="module")
def chest():
    return make_chest()


@pytest.fixture
def ct(chest, tmp_path):
    path = tmp_path / "patient.nrrd"
    sitk.WriteImage(chest.ct, path)
    return path


def envelope_of(lungs):
    view = AxialView(lungs)
    return lung_envelope(view.array(), view.spacing)


@pytest.mark.parametrize("direction", ["LPS", "coronal, flipped", "oblique, transposed, flipped"])
def test_slices_put_back_are_the_ct_seen_through_the_window(direction):
    phantom = make_chest(empty_grid(size=(56, 48, 20), spacing=(6, 6, 10), direction=DIRECTIONS[direction]))
    envelope = envelope_of(phantom.lungs)
    pieces = list(cut(phantom.ct, envelope, LOOK, "p"))
    maps = {place.file: picture.astype(np.int16) for place, picture in pieces}
    found = put_back(phantom.ct, [place for place, _ in pieces], maps, outside=-1)
    assert found.GetDirection() == phantom.ct.GetDirection() and found.GetOrigin() == phantom.ct.GetOrigin()
    hu, grey = sitk.GetArrayFromImage(phantom.ct), sitk.GetArrayFromImage(found)
    expected = ((hu.astype(np.float32) + 1100) / 1350).clip(0, 1) * 255
    inside = grey >= 0
    assert abs(grey - expected)[inside].max() <= 0.51
    assert (inside | (sitk.GetArrayFromImage(phantom.lungs) == 0)).all()  # no lung is lost
    assert inside.mean() < 0.5
    assert [place.slice for place, _ in pieces] == np.flatnonzero(envelope.any(axis=(1, 2))).tolist()


def test_pictures_lie_as_the_training_slices(chest):
    """Front to the left, the patient's right on top: the ground glass is on the right, the consolidation behind."""
    pieces = {place.slice: (place, picture) for place, picture in cut(chest.ct, envelope_of(chest.lungs), LOOK, "p")}
    findings = AxialView(chest.findings).array()
    place, picture = pieces[int((findings == 1).sum((1, 2)).argmax())]
    truth = place.part_of(findings)
    assert truth.shape == picture.shape
    rows, columns = np.nonzero(truth == 1)
    assert rows.mean() < picture.shape[0] / 2
    assert abs(picture[truth == 1].mean() - 255 * (1100 - 550) / 1350) < 2
    dense, shown = pieces[int((findings == 2).sum((1, 2)).argmax())]
    rows, columns = np.nonzero(dense.part_of(findings) == 2)
    assert rows.mean() > shown.shape[0] / 2 and columns.mean() > shown.shape[1] / 2


def test_black_outside_the_lungs(chest):
    envelope = envelope_of(chest.lungs)
    cropped, masked = (list(cut(chest.ct, envelope, LOOK, "p", black)) for black in (False, True))
    assert [place for place, _ in cropped] == [place for place, _ in masked]
    for (place, picture), (_, black) in zip(cropped, masked, strict=True):
        inside = place.part_of(envelope) > 0
        assert np.array_equal(black[inside], picture[inside]) and not black[~inside].any()


def test_prepared_folder_remembers_where_its_slices_are_from(ct, chest, tmp_path, capsys):
    labels = tmp_path / "labels"
    labels.mkdir()
    sitk.WriteImage(chest.findings, labels / "patient.nii.gz")
    output = tmp_path / "out"
    assert main(["prepare", str(ct), "-o", str(output), "--labels", str(labels), "--progress", "json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    places = read_listing(output)
    slices = read_labelled_slices(output)
    assert [s.stem for s in slices] == [place.file for place in places] and len(slices) == result["slices"] > 20
    truth = AxialView(chest.findings).array()
    for place, s in zip(places, slices, strict=True):
        assert (place.volume, place.file) == ("patient", f"patient_{place.slice:03}")
        assert np.array_equal(s.labels, place.part_of(truth))
    assert any((s.labels == 2).any() for s in slices)
    back = put_back(chest.ct, places, {s.stem: s.labels for s in slices})
    assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(chest.findings))
    with pytest.raises(InputError, match="its map is"):
        put_back(chest.ct, places, {slices[0].stem: slices[0].labels[1:]})


def test_bad_cts_do_not_stop_the_others(ct, chest, tmp_path, capsys):
    (tmp_path / "cts").mkdir()
    ct.rename(tmp_path / "cts" / "good.nrrd")
    (tmp_path / "cts" / "damaged.nrrd").write_bytes(b"no volume")
    sitk.WriteImage(sitk.Clamp(chest.ct, lowerBound=-50, upperBound=50) - 600, tmp_path / "cts" / "solid.nrrd")
    write_dicom_series(chest.ct, tmp_path / "cts" / "series")
    output = tmp_path / "out"
    inputs = [str(tmp_path / "cts"), str(tmp_path / "nowhere.nrrd")]
    assert main(["prepare", *inputs, "-o", str(output), "--healthy", "--progress", "json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert sorted(result["failed"]) == ["damaged", "nowhere", "solid"]
    assert {place.volume for place in read_listing(output)} == {"good", "series"}
    slices = read_labelled_slices(output)
    assert len(slices) == result["slices"] and not any(s.labels.any() for s in slices)
    assert [s.image.tobytes() for s in slices if s.stem.startswith("good")] == [
        s.image.tobytes() for s in slices if s.stem.startswith("series")
    ]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--window", "100", "-100"], 3, "Window"),
        (["--window", "nan", "250"], 3, "Window"),
        (["--window", "-1100", "inf"], 3, "Window"),
        (["--labels", "."], 3, "holds no labels of patient"),
    ],
)
def test_what_cannot_work_is_told(options, status, message, ct, tmp_path, capsys):
    assert main(["prepare", str(ct), "-o", str(tmp_path / "out"), *options]) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_ct_whose_given_lungs_are_empty_is_told(ct, chest, tmp_path, capsys):
    sitk.WriteImage(chest.lungs * 0, tmp_path / "lungs.nrrd")
    (tmp_path / "list.csv").write_text("case,ct,lungs\nA,patient.nrrd,lungs.nrrd\n")
    assert main(["prepare", str(tmp_path / "list.csv"), "-o", str(tmp_path / "out")]) == 4
    assert "no lung in" in capsys.readouterr().err


def test_if_no_ct_can_be_used_each_is_told_why(ct, tmp_path, capsys):
    sitk.WriteImage(sitk.ReadImage(str(ct))[:, :, 5], tmp_path / "one-slice.nrrd")
    inputs = [str(tmp_path / "one-slice.nrrd"), str(tmp_path / "nowhere.nrrd")]
    assert main(["prepare", *inputs, "-o", str(tmp_path / "out")]) == 3
    told = capsys.readouterr().err.splitlines()[-1]
    assert "None of the 2 CTs" in told and "one-slice: " in told and "nowhere: " in told
    assert not (tmp_path / "out").exists()


def test_slices_of_two_runs_are_not_mixed(ct, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "something").touch()
    assert main(["prepare", str(ct), "-o", str(tmp_path / "out")]) == 7
    assert main(["prepare", str(ct), "-o", str(tmp_path / "out" / "something")]) == 7
    assert main(["prepare", str(ct), str(ct), "-o", str(tmp_path / "new")]) == 3
    assert "called patient" in capsys.readouterr().err


def test_cts_whose_names_differ_in_capitals_alone_are_not_mixed(ct, tmp_path, capsys):
    """Their slices would be the same files on Windows and macOS."""
    (tmp_path / "more").mkdir()
    other = shutil.copy(ct, tmp_path / "more" / "PATIENT.nrrd")
    assert main(["prepare", str(ct), str(other), "-o", str(tmp_path / "new")]) == 3
    assert "called PATIENT, patient" in capsys.readouterr().err


def test_volumes_are_excluded_by_the_list_or_not_at_all(tmp_path):
    places = [PreparedSlice(f"{v}_{z:03}", v, z, 0, 1, 0, 1, -1100.0, 250.0, 1) for v in "ab" for z in (4, 5)]
    write_listing(tmp_path, places)
    assert read_listing(tmp_path) == places
    slices = [type("S", (), {"stem": place.file})() for place in places]
    assert [s.stem for s in without_volumes(slices, tmp_path, ["a"])] == ["b_004", "b_005"]
    assert without_volumes(slices, tmp_path / "nowhere", []) == slices
    with pytest.raises(InputError, match="no volume c"):
        without_volumes(slices, tmp_path, ["a", "c"])
    write_listing(tmp_path, places[1:])
    with pytest.raises(InputError, match="a_004"):
        without_volumes(slices, tmp_path, ["b"])
    (tmp_path / "slices.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "slices.csv").read_bytes())  # as Excel does
    assert read_listing(tmp_path) == places[1:] and volumes_of(tmp_path)["a_005"] == "a"
    (tmp_path / "slices.csv").write_text("File, Volume\na_005.PNG, a\n")  # as a person does
    assert without_volumes(slices[1:2], tmp_path, ["a"]) == []
    (tmp_path / "slices.csv").write_text("file;volume\na_005;a\n")  # as Excel does in half of Europe
    with pytest.raises(InputError, match=r"slices\.csv: has no column .*file.* commas"):
        volumes_of(tmp_path)
    (tmp_path / "slices.csv").write_text("file,volume\nx,y\n")
    with pytest.raises(InputError, match="not the list"):
        read_listing(tmp_path)


def test_a_whole_chest_ct_has_the_look_of_the_training_slices(shared_data, covid_semiseg):
    """Grey levels of a real CT, prepared, and of the labelled slices: lung dark, soft tissue bright, in like parts."""
    from infnet.anatomy.lungs import segment_lungs
    from infnet.data.volumes import read_ct

    path = next(
        p for p in sorted((shared_data / "ct" / "popi-chest-ct").iterdir()) if p.suffix in (".nrrd", ".gz", ".mha")
    )
    volume, _ = read_ct(path)
    volume = volume[::2, ::2, 40:100:10]
    greys = [picture for _, picture in cut(volume, envelope_of(segment_lungs(volume)), LOOK, "p")]
    labelled = [s.image for s in read_slices(covid_semiseg / "labelled")]
    for low, high in ((0, 100), (100, 200), (200, 256)):
        shares = [np.mean([((g >= low) & (g < high)).mean() for g in images]) for images in (greys, labelled)]
        assert abs(shares[0] - shares[1]) < 0.15


def test_a_stop_leaves_nothing_so_that_the_same_command_can_be_given_again(ct, chest, tmp_path, monkeypatch, capsys):
    sitk.WriteImage(chest.ct, tmp_path / "second.nrrd")
    command = ["prepare", str(ct), str(tmp_path / "second.nrrd"), "-o", str(tmp_path / "out"), "--progress", "json"]
    sent = JsonReporter.progress

    def stop(self, stage, done, total):
        sent(self, stage, done, total)
        if (stage, done) == ("volumes", 1):  # the first CT's slices are written
            raise CancelledError("Stopped as requested.")

    with monkeypatch.context() as patch:
        patch.setattr(JsonReporter, "progress", stop)
        assert main(command) == 130
    assert not (tmp_path / "out").exists()
    assert main(command) == 0
    assert {place.volume for place in read_listing(tmp_path / "out")} == {"patient", "second"}


@pytest.mark.parametrize("labels", [None, b"no volume"])
def test_labels_that_cannot_be_used_are_told_before_the_lungs_are_looked_for(ct, tmp_path, monkeypatch, capsys, labels):
    def segment(*_):
        raise AssertionError("half a minute of work")

    monkeypatch.setattr(lungs_module, "segment_lungs", segment)
    (tmp_path / "labels").mkdir()
    if labels is not None:
        (tmp_path / "labels/patient.nrrd").write_bytes(labels)
    command = ["prepare", str(ct), "-o", str(tmp_path / "out"), "--labels", str(tmp_path / "labels")]
    assert main(command) == 3
    assert str(tmp_path / "labels") in " ".join(capsys.readouterr().err.split("\n"))


def test_links_in_a_circle_are_told(tmp_path, capsys):
    (tmp_path / "ct.nrrd").symlink_to("ct.nrrd")
    assert main(["prepare", str(tmp_path / "ct.nrrd"), "-o", str(tmp_path / "out")]) == 3
    assert "ct.nrrd: no such file" in " ".join(capsys.readouterr().err.split("\n"))
