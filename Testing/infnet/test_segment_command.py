"""``infnet segment`` from the command line to its files; the networks are replaced by a band of grey values."""

import csv
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from bands import LOOK, BandPredictor
from infnet import cli
from infnet.data.segmentations import read_provenance
from infnet.errors import InvalidModelError
from infnet.inference.case import Settings
from infnet.inference.predictor import SlicePredictor
from infnet.quantification.study import read_study
from infnet.weights.cards import DEFAULT_MODELS
from phantoms import DIRECTIONS, empty_grid, make_chest, write_dicom_series

voxels = sitk.GetArrayFromImage
PROVENANCE = {"infection_model": "bands", "device": "cpu", "gate_threshold": None}


@pytest.fixture(scope="module")
def phantom():
    return make_chest(empty_grid((80, 76, 44), (4.2, 4.2, 5), DIRECTIONS["oblique, transposed, flipped"]), noise_hu=0)


@pytest.fixture(scope="module")
def ct(phantom, tmp_path_factory):
    path = tmp_path_factory.mktemp("ct") / "patient 1.nrrd"
    sitk.WriteImage(phantom.ct, path)
    return path


@pytest.fixture(autouse=True)
def models(monkeypatch):
    """`SlicePredictor.from_models` gives a predictor without networks; the list tells what it was asked for."""
    asked = []

    def from_models(*arguments):
        asked.append(arguments)
        predictor = BandPredictor()
        predictor.provenance = PROVENANCE
        return predictor

    monkeypatch.setattr(SlicePredictor, "from_models", from_models)
    return asked


def segment(*arguments, lobes="none"):
    return cli.main(["segment", *map(str, arguments), "--lobe-source", lobes])


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_error_is_one_line(tmp_path, capsys):
    assert segment(tmp_path / "nowhere.nrrd", "-o", tmp_path / "out.seg.nrrd") == 3
    told = capsys.readouterr()
    assert told.err == f"infnet: {tmp_path / 'nowhere.nrrd'}: no such file or folder.\n"
    assert told.out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "asked", "difference"),
    [
        (["--smoothing-mm", 0, "--mirror-images", 2], Settings(smoothing_mm=0, mirror_images=2), 0.01),
        ([], Settings(smoothing_mm=4.0, mirror_images=4), 0.02),
    ],
)
def test_the_json_protocol_and_every_output(options, asked, difference, phantom, ct, models, tmp_path, capsys):
    output, table, probability = (tmp_path / name for name in ("out.nii.gz", "t.csv", "p.nrrd"))
    infection, findings = DEFAULT_MODELS["infection"], DEFAULT_MODELS["findings"]
    status = segment(
        ct, "-o", output, "--table", table, "--probability", probability, "--progress", "json",
        "--model", infection, "--labels-model", findings, "--device", "cpu", *options, lobes="zones",
    )  # fmt: skip
    assert status == 0 and models == [(infection, findings, "cpu", "32", "auto", None, asked.mirror_images)]
    *progress, result = events(capsys)
    stages = [event["stage"] for event in progress if event["event"] == "progress"]
    assert list(dict.fromkeys(stages)) == ["read", "lungs", "infection", "lobes", "write"]
    warnings = [event["text"] for event in progress if event["event"] == "message"]
    assert result["event"] == "result" and result["output"] == str(output)
    stages = ["read", "lungs", "models", "network", "back-mapping", "lobes", "quantification", "write"]
    assert list(result["seconds"]) == stages and min(result["seconds"].values()) >= 0
    shown, skipped = result["provenance"]["slices"], result["provenance"]["slices_without_lung"]
    assert 0 < shown < shown + skipped == 44 and result["provenance"]["slices_without_infection"] == 0
    assert result["peak_memory_mb"] > 10
    assert result["provenance"].items() >= PROVENANCE.items()
    assert result["provenance"].items() >= {"smallest_crop": LOOK.smallest_crop, "transposed": True}.items()
    assert result["provenance"]["use"] == "research only, not for clinical decisions"
    assert result["provenance"]["smoothing_mm"] == asked.smoothing_mm
    assert result["provenance"]["threshold"] == 0.5 and len(result["provenance"]["window_hu"]) == 2
    assert result["warnings"] and warnings == [f"Warning: {text}" for text in result["warnings"]]

    labels = sitk.ReadImage(output)
    assert labels.GetPixelID() == sitk.sitkUInt8 and labels.GetSize() == phantom.ct.GetSize()
    truth = voxels(phantom.findings)
    assert np.count_nonzero(voxels(labels) == truth) / truth.size > 0.9995
    assert np.array_equal(voxels(labels) > 0, voxels(sitk.ReadImage(probability)) >= 0.5)

    voxel_ml = np.prod(phantom.ct.GetSpacing()) / 1000
    *_, outside, right, left, total = result["table"]
    assert outside["region"] == "outside every lobe"
    assert right["ggo_ml"] == pytest.approx(np.count_nonzero(truth == 1) * voxel_ml, rel=difference)
    assert left["consolidation_ml"] == pytest.approx(np.count_nonzero(truth == 2) * voxel_ml, rel=0.05)
    assert left["ggo_ml"] == right["consolidation_ml"] == 0
    assert total["volume_ml"] == pytest.approx(np.count_nonzero(voxels(phantom.lungs)) * voxel_ml, rel=0.03)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["case"] for row in rows} == {ct.name}
    assert [float(row["infection_ml"]) for row in rows] == [row["infection_ml"] for row in result["table"]]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.nii.gz", "p.nrrd", "t.csv"]


@pytest.mark.parametrize("given", [True, False])
def test_quantify_gives_the_numbers_of_segment(phantom, ct, tmp_path, given):
    """A mask that is given stays as it is, though it lacks the consolidation; one that is found is completed."""
    lungs = tmp_path / "lungs.nrrd"
    sitk.WriteImage(sitk.Cast(phantom.lungs, sitk.sitkUInt8) * (phantom.findings != 2), lungs)
    mask = ("--lungs", lungs) if given else ()
    assert segment(ct, "--study", tmp_path / "s", *mask, lobes="zones") == 0
    study, found = read_study(tmp_path / "s"), tmp_path / "s/segmentation.seg.nrrd"
    assert cli.main(["quantify", *map(str, (ct, "--segmentation", found, *mask, "-o", tmp_path / "t.json"))]) == 0
    measured = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert measured["table"] == study.table[-3:] and measured["sources"]["lungs"] == study.sources["lungs"]
    assert (study.table[-1]["consolidation_ml"] == 0) == given
    for warnings in (measured["warnings"], study.warnings):
        assert any("outside the lung mask" in warning for warning in warnings) == given
    if given:
        assert study.sources["lungs"] == "lungs.nrrd (as given)"
        assert np.array_equal(voxels(study.lungs()), voxels(sitk.ReadImage(lungs)))


def test_lesions_below_the_minimum_size_are_left_out_of_labels_and_numbers(phantom, ct, tmp_path):
    assert segment(ct, "--study", tmp_path / "all") == 0
    *_, right, left, _ = read_study(tmp_path / "all").table
    smaller, larger = sorted([right["infection_ml"], left["infection_ml"]])
    minimum = str((smaller + larger) / 2)
    assert segment(ct, "--study", tmp_path / "large", "--minimum-lesion-ml", minimum) == 0
    study = read_study(tmp_path / "large")
    assert sorted(row["infection_ml"] for row in study.table[-3:-1]) == [0, larger]
    assert study.provenance["minimum_lesion_ml"] == float(minimum) and study.table[-1]["infection_ml"] == larger


@pytest.mark.parametrize("minimum", ["-1", "nan", "inf", "small"])
def test_a_minimum_size_that_is_none_is_refused(ct, tmp_path, capsys, minimum):
    with pytest.raises(SystemExit, match="2"):
        segment(ct, "--study", tmp_path / "study", f"--minimum-lesion-ml={minimum}")
    assert "--minimum-lesion-ml" in capsys.readouterr().err


def test_the_labels_are_on_the_ct_s_exact_grid(phantom, ct, tmp_path):
    assert segment(ct, "-o", tmp_path / "out.nrrd") == 0
    read, labels = sitk.ReadImage(ct), sitk.ReadImage(tmp_path / "out.nrrd")
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(labels, get)() == getattr(read, get)()
    # In physical space, not by index: the lesion's centre carries the label.
    for label, point in ((1, (-75.0, 10.0, 20.0)), (2, (92.0, 48.0, -10.0))):
        assert labels[labels.TransformPhysicalPointToIndex(point)] == label


def test_a_segmentation_for_slicer_and_a_summary_for_people(ct, tmp_path, capsys):
    output = tmp_path / "out.seg.nrrd"
    assert segment(ct, "-o", output) == 0
    image = sitk.ReadImage(output)
    names = [image.GetMetaData(f"Segment{i}_Name") for i in (0, 1)]
    assert names == ["Ground-glass opacity", "Consolidation"]
    summary = capsys.readouterr().out
    for part in ("right lung", "left lung", "total", "GGO", "consolidation", str(output)):
        assert part in summary
    assert summary.splitlines()[-1] == "For research; not for clinical decisions."
    assert "not for clinical decisions" in image.GetMetaData("Segment0_Tags")


def test_a_consolidated_lung_is_not_reported_as_healthy(tmp_path, capsys):
    white_out = make_chest(empty_grid((56, 50, 36), (6, 6, 6)), noise_hu=0, left_lung=False)
    sitk.WriteImage(white_out.ct, tmp_path / "ct.nrrd")
    arguments = (tmp_path / "ct.nrrd", "-o", tmp_path / "out.nrrd")
    assert segment(*arguments, "--progress", "json") == 0
    *_, result = events(capsys)
    right, left, _ = result["table"]
    assert right["infection_percent"] > 0 and left["infection_percent"] is None
    (warning,) = (text for text in result["warnings"] if "Only the right lung" in text)
    assert warning in result["provenance"]["warnings"]
    assert segment(*arguments) == 0
    captured = capsys.readouterr()
    (line,) = (line for line in captured.out.splitlines() if line.startswith("left lung"))
    assert line.split() == ["left", "lung", "0", "mL", *(["0.0", "mL", "-"] * 3)]
    assert "Only the right lung" in " ".join(captured.err.split())


def test_a_sheared_ct_is_refused_as_nifti_before_the_work(models, tmp_path, capsys):
    sitk.WriteImage(make_chest(empty_grid(direction=DIRECTIONS["gantry tilt"])).ct, tmp_path / "ct.nrrd")
    arguments = (tmp_path / "ct.nrrd", "-o", tmp_path / "out.nrrd", "--probability", tmp_path / "p.nii.gz")
    assert segment(*arguments, "--progress", "json") == 7
    assert "p.nii.gz" in events(capsys)[-1]["message"] and models == []


def test_dicom_folder_in(tmp_path):
    upright = make_chest(empty_grid((56, 50, 36), (6, 6, 6)), noise_hu=0)
    write_dicom_series(upright.ct, tmp_path / "dicom")
    assert segment(tmp_path / "dicom", "-o", tmp_path / "out.nrrd", "--study", tmp_path / "march") == 0
    study = read_study(tmp_path / "march")
    assert study.case == "march" and study.provenance["series_instance_uid"] == "1.2.3.4.1"
    assert read_provenance(study.findings())["series_instance_uid"] == "1.2.3.4.1"
    labels = sitk.ReadImage(tmp_path / "out.nrrd")
    assert labels[labels.TransformPhysicalPointToIndex((-75.0, 10.0, 20.0))] == 1


@pytest.mark.parametrize(
    "option",
    [
        ("-o", "no folder/out.nrrd"),
        ("-o", "out.jpg"),
        ("-o", "out"),
        ("-o", "out.mhd"),  # its voxels would go into a second file
        ("-o", "folder.nrrd"),
        ("--table", "no folder/t.csv"),
        ("--table", "t.xlsx"),
        ("--probability", "p.png"),
        ("--study", "n" * 300),
    ],
)
def test_outputs_are_checked_before_the_work(ct, models, tmp_path, capsys, option):
    (tmp_path / "folder.nrrd").mkdir()
    name, value = option
    arguments = {"-o": tmp_path / "out.nrrd", name: tmp_path / value}
    assert segment(ct, *(x for pair in arguments.items() for x in pair), "--progress", "json") == 7
    (error,) = events(capsys)  # no progress before it
    assert error["code"] == "output" and str(tmp_path / value) in error["message"]
    assert models == [] and [p.name for p in tmp_path.iterdir()] == ["folder.nrrd"]


@pytest.mark.parametrize("option", ["--lungs", "--lobes"])
def test_a_given_segmentation_that_is_not_there_is_told_before_the_work(ct, models, tmp_path, capsys, option):
    given = {"-o": tmp_path / "out.nrrd", option: tmp_path / "none.nrrd"}
    assert segment(ct, *(x for pair in given.items() for x in pair), "--progress", "json") == 3
    error = events(capsys)[-1]
    assert error["code"] == "input-not-found" and str(given[option]) in error["message"] and models == []


def test_a_study_in_the_place_of_a_file_is_told_before_the_work(ct, models, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for study in ("file", "file/case"):
        assert segment(ct, "--study", tmp_path / study, "--progress", "json") == 7
        (error,) = events(capsys)
        assert error["message"] == f"{tmp_path / 'file'} is a file; name a folder."
    assert models == []


@pytest.mark.parametrize("name", ["result.json", "lobes.nrrd"])
def test_a_folder_in_the_place_of_a_file_of_a_study_is_told_before_the_work(ct, models, tmp_path, capsys, name):
    (tmp_path / "study" / name).mkdir(parents=True)
    assert segment(ct, "--study", tmp_path / "study", "--progress", "json") == 7
    assert f"{tmp_path / 'study' / name} is a folder; move it away" in events(capsys)[0]["message"] and models == []


@pytest.mark.parametrize("probability", ["ct", "out"])
def test_no_file_is_written_over_the_ct_or_another_output(ct, tmp_path, capsys, probability):
    before = ct.read_bytes()
    path = {"ct": ct.parent / "." / ct.name, "out": tmp_path / "out.nrrd"}[probability]
    assert segment(ct, "-o", tmp_path / "out.nrrd", "--probability", path, "--progress", "json") == 7
    assert "names of their own" in events(capsys)[0]["message"]
    assert ct.read_bytes() == before and list(tmp_path.iterdir()) == []


def test_an_output_that_is_the_ct_by_another_name_is_refused(ct, tmp_path, capsys):
    """As CT.nrrd is ct.nrrd on macOS; here by a hard link."""
    (tmp_path / "same.nrrd").hardlink_to(ct)
    assert segment(ct, "-o", tmp_path / "same.nrrd", "--progress", "json") == 7
    assert "names of their own" in events(capsys)[0]["message"]


def no_lung(folder):
    hu = np.full((20, 40, 40), -1000, np.int16)
    hu[:, 5:35, 5:35] = 40
    sitk.WriteImage(sitk.GetImageFromArray(hu), folder / "water.nrrd")
    return folder / "water.nrrd"


def damaged(folder):
    (folder / "bad.nii.gz").write_bytes(b"\x1f\x8b damaged")
    return folder / "bad.nii.gz"


@pytest.mark.parametrize(
    ("make", "status", "code"),
    [
        (lambda folder: folder / "none.nrrd", 3, "input-not-found"),
        (damaged, 3, "unreadable-image"),
        (no_lung, 4, "no-lung"),
    ],
)
def test_bad_input_ends_in_one_line_and_leaves_nothing(tmp_path, capsys, make, status, code):
    path = make(tmp_path)
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    arguments = (path, "-o", outputs / "out.seg.nrrd", "--table", outputs / "t.csv")
    assert segment(*arguments, "--progress", "json") == status
    error = events(capsys)[-1]
    assert error["code"] == code and str(path) in error["message"]
    assert segment(*arguments) == status
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.splitlines()[-1].startswith("infnet: ")
    assert list(outputs.iterdir()) == []


def test_a_model_that_cannot_be_had_stops_before_its_work(ct, tmp_path, capsys, monkeypatch):
    def refuse(*arguments):
        raise InvalidModelError("damaged")

    monkeypatch.setattr(SlicePredictor, "from_models", refuse)
    assert segment(ct, "-o", tmp_path / "out.nrrd", "--progress", "json") == 5
    *progress, error = events(capsys)
    assert error["code"] == "invalid-model" and "infection" not in {event.get("stage") for event in progress}
    assert list(tmp_path.iterdir()) == []


def test_the_models_are_loaded_while_the_lungs_are_found(ct, tmp_path, monkeypatch):
    """The models wait for the lungs' stage to begin, and the lungs for the models to have begun loading."""
    from infnet.inference import case

    begun = {"models": threading.Event(), "lungs": threading.Event()}
    find_lungs, load = case.segment_lungs, SlicePredictor.from_models

    def segment_lungs(*arguments):
        begun["lungs"].set()
        assert begun["models"].wait(60)
        return find_lungs(*arguments)

    def from_models(*arguments):
        begun["models"].set()
        assert begun["lungs"].wait(60)
        return load(*arguments)

    monkeypatch.setattr(case, "segment_lungs", segment_lungs)
    monkeypatch.setattr(SlicePredictor, "from_models", from_models)
    assert segment(ct, "-o", tmp_path / "out.nrrd") == 0


@pytest.mark.parametrize(("gate_threshold", "said"), [(None, ""), (0.2, ", 3 of those with lung by the gate")])
def test_the_summary_tells_which_slices_were_skipped(ct, tmp_path, capsys, monkeypatch, gate_threshold, said):
    """Three slices do not pass the gate, where there is one."""

    def from_models(*_):
        predictor = BandPredictor()
        predictor.provenance = {**PROVENANCE, "gate_threshold": gate_threshold}
        left_out = iter([gate_threshold is not None] * 3)
        predict = predictor.predict
        predictor.predict = lambda slice_: replace(predict(slice_), passed=not next(left_out, False))
        return predictor

    monkeypatch.setattr(SlicePredictor, "from_models", from_models)
    assert segment(ct, "-o", tmp_path / "out.nrrd", "--study", tmp_path / "s") == 0
    provenance = read_study(tmp_path / "s").provenance
    assert provenance["slices_without_infection"] == (3 if gate_threshold else 0)
    shown, skipped = provenance["slices"], provenance["slices_without_lung"]
    line = f"Slices: {shown} with lung, {skipped} without it skipped{said}"
    assert line in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("stage", ["read", "lungs", "infection", "write"])
def test_a_stop_is_heeded_in_every_stage_and_leaves_nothing(ct, tmp_path, capsys, monkeypatch, stage):
    """The stop file appears as soon as the stage begins."""
    from infnet.reporting import JsonReporter

    stop = tmp_path / "stop"
    report = JsonReporter.progress

    def progress(self, name, done, total):
        if name == stage:
            stop.touch()
        report(self, name, done, total)

    monkeypatch.setattr(JsonReporter, "progress", progress)
    arguments = ("-o", tmp_path / "out.seg.nrrd", "--table", tmp_path / "t.csv")
    assert segment(ct, *arguments, "--progress", "json", "--stop-file", stop) == 130
    assert events(capsys)[-1]["code"] == "cancelled"
    assert [p.name for p in tmp_path.iterdir()] == ["stop"]


def test_a_failing_write_keeps_the_old_output(ct, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out.seg.nrrd"
    output.write_text("the old one")

    def fill_the_disk(image, path, **options):
        Path(path).write_bytes(b"half")
        raise RuntimeError("first line\nNo space left on device")

    monkeypatch.setattr(sitk, "WriteImage", fill_the_disk)
    assert segment(ct, "-o", output, "--progress", "json") == 7
    error = events(capsys)[-1]
    assert str(output) in error["message"] and "No space left" in error["message"]
    assert output.read_text() == "the old one" and [p.name for p in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize("threshold", ["0", "1", "-1", "nan", "half"])
def test_a_threshold_is_a_probability(ct, tmp_path, capsys, threshold):
    with pytest.raises(SystemExit) as raised:
        segment(ct, "-o", tmp_path / "out.nrrd", "--threshold", threshold)
    assert raised.value.code == 2 and "--threshold" in capsys.readouterr().err


def test_as_a_process_with_an_unknown_model(ct, tmp_path):
    """The real command, up to the models."""
    arguments = [ct, "-o", tmp_path / "out.nrrd", "--model", "no such model", "--progress", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "infnet", "segment", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 5
    assert json.loads(done.stdout.splitlines()[-1])["code"] == "unknown-model"
    assert list(tmp_path.iterdir()) == []
