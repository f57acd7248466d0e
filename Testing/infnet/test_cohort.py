"""Many cases: lists and folders of them, bad ones among them, worker processes that die, runs that go on."""

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from bands import BandPredictor
from cohortwork import StubWork
from infnet import cli
from infnet.errors import CancelledError, InfNetError, InputError, InputNotFoundError, NoLungError, OutputError
from infnet.inference import case as case_module
from infnet.inference import cohort
from infnet.inference.case import Case, Settings, is_finished, scan_date, weights
from infnet.inference.cohort import Outcome, failure_of, read_cases, run_cases, write_tables
from infnet.inference.predictor import SlicePredictor
from infnet.networks import InfNet
from infnet.quantification.study import read_study
from infnet.weights.cards import DEFAULT_MODELS, ModelCard
from infnet.weights.store import save_model
from phantoms import empty_grid, make_chest, write_dicom_series


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def log_of(folder):
    return [line.split()[0] for line in (folder / "log").read_text().splitlines()]


def cases_called(*names):
    return [Case(Path(f"{name}.nrrd"), name) for name in names]


def test_a_list_of_cases(tmp_path):
    text = "\ufeffcase,ct,date,patient,lungs,lobes\na,ct/a.nrrd,2020-03-01,7,,\nb,/data/b,,, l.nrrd,lobes.seg.nrrd\n"
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    one, two = read_cases(tmp_path / "list.csv")
    assert one == Case(tmp_path / "ct/a.nrrd", "a", "2020-03-01", "7")
    assert two.ct.as_posix() == "/data/b" and two.date is None
    assert (two.lungs, two.lobes) == (tmp_path / "l.nrrd", tmp_path / "lobes.seg.nrrd")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ct\na.nrrd\n", "needed are ct and case"),
        ("ct,case,colour\na,a,red\n", "colour"),
        ("ct,case\n", "no cases"),
        ("ct,case\na.nrrd,\n", "line 2"),
        ("ct,case\na,x\nb,X\n", "several cases"),
        ("ct,case\na,../x\n", "rename"),
        ("ct,case\na,..\n", "rename"),
        ("ct,case\na,NUL\n", "rename"),
        ("ct,case\na,com1.old\n", "rename"),
        ('ct,case\na,"a\tb"\n', "rename"),
        ("ct,case\na,b,c\n", "more cells"),
        ("ct,case,date\na,b,2020-3-1\n", "line 2.*YYYY-MM-DD"),
        ("ct,case,date\na,b,20200301\n", "line 2.*YYYY-MM-DD"),
    ],
)
def test_a_bad_list_is_refused_before_the_work(tmp_path, text, words):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_cases(tmp_path / "list.csv")


def test_a_folder_of_cases(tmp_path):
    for name in ("b.nii.gz", "a.nrrd", "a b.MHA", "notes.txt", "s.seg.nrrd", ".hidden.nrrd"):
        (tmp_path / name).touch()
    write_dicom_series(make_chest(empty_grid((8, 8, 3), (40, 40, 60))).ct, tmp_path / "dicom")
    (tmp_path / "otto/CT 1").mkdir(parents=True)
    (tmp_path / "otto/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    for name in ("._001.dcm", ".DS_Store"):  # of a Mac
        (tmp_path / "dicom" / name).write_bytes(b"no image")
    (tmp_path / "otto/CT 1/Desktop.ini").write_bytes(b"[.ShellClassInfo]")  # of Windows
    (tmp_path / "dicom/001.dcm").rename(tmp_path / "otto/CT 1/IM1")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/lungs.nrrd").touch()
    assert [case.name for case in read_cases(tmp_path)] == ["a b", "a", "b", "dicom", "otto_CT 1"]
    (alone,) = read_cases(tmp_path / "otto/CT 1")
    assert (alone.name, alone.ct) == ("CT 1", tmp_path / "otto/CT 1")
    with pytest.raises(InputNotFoundError):
        read_cases(tmp_path / "none")


def test_bad_cases_do_not_end_the_run_and_are_told_of(tmp_path):
    cases = cases_called("a", "bad", "odd", "b")
    outcomes = list(run_cases(cases, StubWork(tmp_path)))
    assert [outcome.error is None for outcome in outcomes] == [True, False, False, True]
    write_tables(cases, [tmp_path / "a", tmp_path / "b"], outcomes, tmp_path)
    failed = rows_of(tmp_path / "failed.csv")
    assert [(row["case"], row["cause"]) for row in failed] == [("bad", "no-lung"), ("odd", "error")]
    assert "KeyError" in failed[1]["message"]
    cohort = rows_of(tmp_path / "cohort.csv")
    assert [row["case"] for row in cohort] == ["a"] * 3 + ["b"] * 3
    assert [row["region"] for row in cohort[:3]] == ["right lung", "left lung", "total"]
    mixed = failure_of(outcomes, tmp_path)
    assert mixed.exit_status == 1 and "2 of 4" in str(mixed)
    assert failure_of(outcomes[:2], tmp_path).exit_status == NoLungError.exit_status
    assert failure_of(outcomes[:1], tmp_path) is None
    causes = [InputNotFoundError("none"), InputError("damaged")]
    faults = [Outcome(case, error) for case, error in zip(cases, causes, strict=False)]
    assert failure_of(faults, tmp_path).exit_status == InputError.exit_status


def test_a_stop_ends_the_run_between_two_cases(tmp_path):
    def stop(stage, done, total):
        if done == 1:
            raise CancelledError("stop")

    with pytest.raises(CancelledError):
        list(run_cases(cases_called("a", "b"), StubWork(tmp_path), progress=stop))
    assert log_of(tmp_path) == ["a"]


def test_two_worker_processes_one_of_which_dies(tmp_path):
    pytest.importorskip("distributed")
    cases = cases_called("a", "deadly", "b", "bad", "c")
    outcomes = {outcome.case.name: outcome for outcome in run_cases(cases, StubWork(tmp_path), workers=2)}
    assert set(outcomes) == {case.name for case in cases}
    assert [name for name, outcome in outcomes.items() if outcome.error] == ["bad"]
    assert isinstance(outcomes["bad"].error, NoLungError)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    deaths = [pid for name, pid in lines if name == "deadly"]
    assert len(deaths) == 2 and deaths[0] != deaths[1]  # on another worker
    assert str(os.getpid()) not in {pid for _, pid in lines}
    assert all(read_study(tmp_path / name).case == name for name in ("a", "deadly", "b", "c"))


@pytest.mark.parametrize("address", ["here", "http://127.0.0.1:8786", "tls://127.0.0.1:8786"])
def test_an_address_that_no_scheduler_can_have_is_told(tmp_path, address):
    pytest.importorskip("distributed", reason="Dask is not installed (infnet[cluster])")
    with pytest.raises(InfNetError, match="no Dask scheduler answers there"):
        list(run_cases(cases_called("a"), StubWork(tmp_path), scheduler=address))


def test_a_wait_that_is_in_vain_is_no_end(tmp_path, monkeypatch):
    """Before Python 3.11, Dask's TimeoutError was not Python's own."""
    distributed = pytest.importorskip("distributed")
    wait, vain, told = distributed.wait, [], []

    class OfPython310(Exception):
        pass

    def wait_of_python_310(*arguments, **options):
        try:
            if not vain:
                raise TimeoutError
            return wait(*arguments, **options)
        except TimeoutError:
            vain.append(1)
            raise OfPython310 from None

    monkeypatch.setattr(distributed, "TimeoutError", OfPython310)
    monkeypatch.setattr(distributed, "wait", wait_of_python_310)
    outcomes = list(
        run_cases(cases_called("a", "b"), StubWork(tmp_path), 2, progress=lambda stage, done, total: told.append(done))
    )
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert vain and len(told) == len(vain) + 3 and told[-1] == 2


@pytest.fixture
def chests(tmp_path, monkeypatch):
    """Two tiny chests and a file that is none, in a folder; the networks are replaced by a band of grey values."""
    loaded = []

    def from_models(*arguments):
        loaded.append(arguments)
        predictor = BandPredictor()
        predictor.provenance = weights(Settings())
        return predictor

    monkeypatch.setattr(SlicePredictor, "from_models", from_models)
    case_module._predictor.cache_clear()
    folder = tmp_path / "cts"
    folder.mkdir()
    chest = make_chest(empty_grid((56, 50, 18), (6, 6, 12)), noise_hu=0)
    for name in ("one", "two"):
        sitk.WriteImage(chest.ct, folder / f"{name}.nrrd")
    sitk.WriteImage(chest.lungs, tmp_path / "lungs.nrrd")
    (folder / "bad.nrrd").write_text("no image")
    return folder, loaded


def segment(*arguments):
    return cli.main(["segment", *map(str, arguments)])


def test_the_command_goes_on_after_a_bad_case_and_resumes(chests, tmp_path, capsys):
    folder, loaded = chests
    output = tmp_path / "studies"
    arguments = ("--cases", folder, "-o", output, "--lobe-source", "zones")
    assert segment(*arguments) == 3
    assert "1 of 3 cases failed" in capsys.readouterr().err.replace("\n", " ")
    assert [row["case"] for row in rows_of(output / "failed.csv")] == ["bad"]
    cohort = rows_of(output / "cohort.csv")
    assert {row["case"] for row in cohort} == {"one", "two"} and len(cohort) == 2 * 10
    assert len(loaded) == 1  # models once a process
    times = {name: (output / name / "result.json").stat().st_mtime_ns for name in ("one", "two")}

    (folder / "bad.nrrd").unlink()
    os.utime(folder / "two.nrrd", ns=(1, 1))  # as if written anew
    assert segment(*arguments) == 0
    assert (output / "one" / "result.json").stat().st_mtime_ns == times["one"]
    assert (output / "two" / "result.json").stat().st_mtime_ns > times["two"]
    assert rows_of(output / "failed.csv") == []


def test_a_table_of_failures_that_is_open_elsewhere_does_not_end_the_run(chests, tmp_path, monkeypatch):
    """As in Excel, on Windows: nobody can write it then."""
    folder, _ = chests
    write, refused = cohort.write_failures, []

    def refuse_once(*arguments):
        if not refused:
            refused.append(1)
            raise OutputError("failed.csv cannot be written: Access is denied.")
        write(*arguments)

    monkeypatch.setattr(cohort, "write_failures", refuse_once)
    assert segment("--cases", folder, "-o", tmp_path / "studies", "--lobe-source", "none") == 3
    assert refused and [row["case"] for row in rows_of(tmp_path / "studies/failed.csv")] == ["bad"]
    assert {row["case"] for row in rows_of(tmp_path / "studies/cohort.csv")} == {"one", "two"}


def test_a_study_holds_until_an_input_a_setting_or_a_model_changes(chests, tmp_path, monkeypatch):
    folder, _ = chests
    case, settings = Case(folder / "one.nrrd", "one", lungs=tmp_path / "lungs.nrrd"), Settings(lobe_source="none")
    assert not is_finished(case, settings, tmp_path / "one")
    case_module.segment_into_study(case, settings, tmp_path)
    assert is_finished(case, settings, tmp_path / "one")
    study = read_study(tmp_path / "one")
    assert study.sources == {"lungs": "lungs.nrrd (as given)", "lobes": "none"}
    assert np.count_nonzero(sitk.GetArrayFromImage(study.findings())) > 0
    assert not is_finished(case, replace(settings, threshold=0.4), tmp_path / "one")
    assert not is_finished(case, replace(settings, precision="bf16"), tmp_path / "one")
    assert not is_finished(replace(case, lungs=None), settings, tmp_path / "one")
    assert not is_finished(replace(case, date="2020-01-01"), settings, tmp_path / "one")
    monkeypatch.setattr(case_module, "weights", lambda settings: {"infection_weights_sha256": "another"})
    assert not is_finished(case, settings, tmp_path / "one")


def test_of_a_model_that_tells_findings_alone_a_study_holds_too(tmp_path):
    """Its studies name it twice, and not the shipped model for findings, which was not asked."""
    options = {"encoder": "efficientnet_lite0", "consolidation_head": True}
    network = {"name": "inf-net", "options": options}
    save_model(tmp_path, ModelCard("alone", "infection", "", network, 64, ""), InfNet(**options))
    for second in (None, DEFAULT_MODELS["findings"]):
        settings = Settings(str(tmp_path), second, device="cpu", runtime="eager")
        provenance = case_module.load_predictor(settings).provenance
        assert weights(settings) == {key: provenance[key] for key in weights(settings)}


def test_an_unknown_model_or_option_stops_before_the_cases(chests, tmp_path):
    folder, _ = chests
    assert segment("--cases", folder, "-o", tmp_path / "out", "--model", "none") == 5
    assert segment("--cases", folder) == 3
    assert segment("--cases", folder, "-o", tmp_path / "out", "--workers", 0) == 3
    assert segment(folder / "one.nrrd", "--cases", folder, "-o", tmp_path / "out") == 3
    assert not (tmp_path / "out").exists()


def test_the_date_of_a_dicom_scan(tmp_path):
    chest = make_chest(empty_grid((8, 8, 3), (40, 40, 60)))
    image = chest.ct[:, :, 0]
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    image.SetMetaData("0008|0020", "20200229")
    writer.SetFileName(str(tmp_path / "slice.dcm"))
    writer.Execute(image)
    assert scan_date(tmp_path / "slice.dcm") == "2020-02-29"
    image.SetMetaData("0008|0022", "00000000")  # no date of the acquisition
    writer.Execute(image)
    assert scan_date(tmp_path / "slice.dcm") == "2020-02-29"
    image.SetMetaData("0008|0020", "20200230")  # nor one of the study
    writer.Execute(image)
    assert scan_date(tmp_path / "slice.dcm") is None
    sitk.WriteImage(chest.ct, tmp_path / "ct.nrrd")
    assert scan_date(tmp_path / "ct.nrrd") is None
