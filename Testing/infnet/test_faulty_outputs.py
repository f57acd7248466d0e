"""Outputs that cannot be written, and runs that are ended or meet another: nothing half-written, nothing lost."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from filelock import FileLock
from infnet import cli
from infnet.data.files import check_output, folder_aside, remove_unfinished, written_together, written_whole
from infnet.errors import OutputError
from phantoms import empty_grid, make_chest

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{HERE.parents[1] / 'InfNetSegmentation'}{os.pathsep}{HERE}"}
posix_only = pytest.mark.skipif(os.name == "nt", reason="has no such limit, signal or right to take away")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    chest = make_chest(empty_grid((40, 36, 26), (9, 9, 8)), noise_hu=0)
    sitk.WriteImage(chest.ct, folder / "ct.nrrd")
    sitk.WriteImage(chest.findings, folder / "findings.nrrd")
    return folder


def commands(files, outputs):
    """Commands with the file that each writes."""
    ct = files / "ct.nrrd"
    quantify = ["quantify", ct, "--segmentation", files / "findings.nrrd", "-o"]
    yield outputs / "lungs.nrrd", ["lungs", ct, "-o", outputs / "lungs.nrrd"]
    yield outputs / "lungs.nii.gz", ["lungs", ct, "-o", outputs / "lungs.nii.gz"]
    yield outputs / "t.csv", [*quantify, outputs / "t.csv"]


def start(arguments, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "infnet", *map(str, arguments), "--progress", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=ENVIRONMENT, **more,
    )  # fmt: skip


def ended(process):
    """The exit status and the last event."""
    out, error = process.communicate(timeout=120)
    assert out, error
    return process.returncode, json.loads(out.splitlines()[-1])


def fill_disk():
    """Before the command starts: a limit of a file's size stands for the full disk; both end in short writes."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))


def obey_file_modes():
    """Before the command starts: root gives up the rights to write and to read where the mode forbids it."""
    import ctypes

    pr_capbset_drop = 24
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(pr_capbset_drop, capability, 0, 0, 0)


@posix_only
def test_a_full_disk_keeps_every_earlier_output(files, tmp_path):
    for output, command in commands(files, tmp_path):
        output.write_text("the earlier one")
        status, event = ended(start(command, preexec_fn=fill_disk))
        assert (status, event["code"]) == (7, "output") and f"{output} cannot be written" in event["message"]
        assert output.read_text() == "the earlier one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lungs.nii.gz", "lungs.nrrd", "t.csv"]


@pytest.mark.skipif(sys.platform != "linux", reason="gives up a right of root as Linux has it")
def test_a_folder_that_may_not_be_written_to_is_told_before_the_work(files, tmp_path):
    (tmp_path / "lungs.nrrd").write_text("the earlier one")
    tmp_path.chmod(0o555)
    _, command = next(commands(files, tmp_path))
    try:
        out, _ = start(command, preexec_fn=obey_file_modes).communicate(timeout=120)
    finally:
        tmp_path.chmod(0o755)
    (event,) = [json.loads(line) for line in out.splitlines()]  # no progress before it
    assert event["code"] == "output" and f"{tmp_path} cannot be written to" in event["message"]
    assert (tmp_path / "lungs.nrrd").read_text() == "the earlier one"


@pytest.mark.parametrize("name", ["x" * 300 + ".nrrd", "not utf-8 \udcff.nrrd"])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(OutputError, match="no file can have this name"):
        check_output(tmp_path / name, [".nrrd"])


def test_long_paths_with_spaces_and_all_letters(files, tmp_path, capsys):
    folder = tmp_path / "Größe, 肺 λ" / ("a b " * 45 + "c") / ("d " * 60 + "e")
    folder.mkdir(parents=True)
    name = "ё" * 124 + " x.nrrd"  # with two bytes a letter all that a name may have
    (folder / name).write_bytes((files / "ct.nrrd").read_bytes())
    assert len(str(folder / name)) > 400
    assert cli.main(["lungs", str(folder / name), "-o", str(folder / f"{name[:-6]}y.nrrd")]) == 0
    assert str(folder) in capsys.readouterr().out
    quantify = ["quantify", str(folder / name), "--segmentation", str(files / "findings.nrrd")]
    assert cli.main([*quantify, "-o", str(folder / "таблица.csv")]) == 0
    assert (folder / "таблица.csv").read_text(encoding="utf-8").splitlines()[1].startswith(name)
    assert len(list(folder.iterdir())) == 3


@posix_only
def test_what_a_terminal_cannot_show_is_no_error(files, tmp_path):
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "infnet", "lungs", files / "ct.nrrd", "-o", tmp_path / "肺.nrrd"]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0 and b"\\u80ba.nrrd" in done.stdout


@posix_only
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_run_that_is_told_to_end_leaves_nothing(files, tmp_path, name):
    """As by a cluster's scheduler, by `kill` or by Ctrl-C."""
    _, command = next(commands(files, tmp_path))
    # Where the tests run in the background of a shell, SIGINT is ignored, and is so by every process that they start.
    process = start(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert json.loads(process.stdout.readline())["stage"] == "read"
    process.send_signal(getattr(signal, name))
    status, event = ended(process)
    assert (status, event["code"]) == (130, "cancelled")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def killed_writer():
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")

    def run(*arguments):
        command = [sys.executable, HERE / "killedwriter.py", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", env=ENVIRONMENT, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_a_study_killed_at_any_file_operation_is_the_old_one_the_new_one_or_none(killed_writer, tmp_path):
    *killed, last = killed_writer("kill", tmp_path / "study")
    assert len(killed) > 8 and all(case["killed"] for case in killed) and not last["killed"]
    states = [case["found"] for case in [*killed, last]]
    assert set(states) == {"1", "none", "2"} and states == sorted(states, key=["1", "none", "2"].index)
    for case in [*killed, last]:  # the next run succeeds, and clears away what the killed one has left
        assert case["again"] == "2"
        assert sorted(case["files"]) == ["infection.nrrd", "lungs.nrrd", "result.json", "segmentation.seg.nrrd"]


def test_of_two_runs_that_write_one_study_one_waits_for_the_other(killed_writer, tmp_path):
    (end,) = killed_writer("stop", tmp_path / "study")
    assert end["statuses"] == [0, 0], "both were still there when the first went on"
    assert end["found"] == "1"
    assert sorted(end["files"]) == ["lobes.nrrd", "lungs.nrrd", "result.json", "segmentation.seg.nrrd"]


def test_on_a_disk_without_locks_what_is_unfinished_is_left(tmp_path, monkeypatch):
    """A made-up refusal: no such disk is at hand."""

    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    left = {tmp_path / ".infnet-0123-x.png", tmp_path / ".infnet-0123-x.png.lock"}
    for path in left:
        path.touch()
    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "acquire", refuse)
        remove_unfinished(tmp_path)
    assert set(tmp_path.iterdir()) == left
    remove_unfinished(tmp_path)
    assert set(tmp_path.iterdir()) == set()


def test_two_runs_into_one_file_give_that_of_one(files, tmp_path):
    (_, first), *_ = commands(files, tmp_path)
    processes = [start(first) for _ in range(2)]
    assert [ended(process)[0] for process in processes] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["lungs.nrrd"]
    assert set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "lungs.nrrd")))) == {0, 1, 2}


@pytest.fixture
def busy(monkeypatch):
    """``busy(times)``: so often Windows refuses to replace or to remove a file, since a program has it open."""
    replace, unlink, pauses = Path.replace, Path.unlink, []

    def make(times):
        left = {"replace": times, "unlink": times}

        def refusing(name, work):
            def refuse(path, *arguments, **options):
                if path.suffix != ".lock" and path.exists() and left[name]:
                    left[name] -= 1
                    raise PermissionError(errno.EACCES, "Access is denied", str(path))
                return work(path, *arguments, **options)

            return refuse

        monkeypatch.setattr(Path, "replace", refusing("replace", replace))
        monkeypatch.setattr(Path, "unlink", refusing("unlink", unlink))
        monkeypatch.setattr("infnet.data.files.time.sleep", pauses.append)
        return pauses

    return make


def test_a_file_that_is_being_read_is_replaced_a_little_later(tmp_path, busy):
    """A made-up refusal, as Windows has it: the panel reads validation.csv while a training writes it anew."""
    (tmp_path / "t.csv").write_text("old")
    busy(2)
    with written_whole(tmp_path / "t.csv") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "t.csv").read_text() == "new"
    (tmp_path / "last").write_text("old")
    busy(2)
    with written_together(tmp_path, "last") as new:
        (new / "last").write_text("new")
    assert (tmp_path / "last").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "t.csv"]


def test_a_file_that_stays_open_is_told(tmp_path, busy):
    (tmp_path / "t.csv").write_text("old")
    pauses = busy(1000)
    with pytest.raises(OutputError, match=r"t\.csv cannot be written: Access is denied"):  # noqa: SIM117
        with written_whole(tmp_path / "t.csv") as temporary:
            temporary.write_text("new")
    assert (tmp_path / "t.csv").read_text() == "old" and 1 < sum(pauses) < 3


def test_a_folder_that_cannot_be_written_to_is_not_waited_for(tmp_path, monkeypatch):
    """A made-up refusal: on Windows `os.access` tells none, and older versions of filelock take it for a lock."""

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, "Access is denied", str(path))

    monkeypatch.setattr(FileLock, "acquire", lambda *_, **__: pytest.fail("it would wait for ever"))
    monkeypatch.setattr(Path, "mkdir", lambda path, **more: None if path == tmp_path else refuse(path))
    with pytest.raises(OutputError, match="Access is denied"), written_together(tmp_path, "last"):
        pass


@posix_only
def test_a_folder_aside_is_open_to_whom_its_parent_is(tmp_path):
    """One of `tempfile`, for its maker alone, would on Windows hand that on to the files that are moved out of it."""
    usual = tmp_path / "usual"
    usual.mkdir()
    with folder_aside(tmp_path) as new:
        assert new.parent == tmp_path and new.stat().st_mode == usual.stat().st_mode
    with written_together(tmp_path, "last") as together:
        assert together.stat().st_mode == usual.stat().st_mode
        (together / "last").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "usual"]


def test_unfinished_files_have_names_of_ascii_letters_and_the_ending(tmp_path):
    with written_whole(tmp_path / "Größe 肺?.seg.nrrd") as temporary:
        assert temporary.name.isascii() and temporary.name.endswith("Gr__e __.seg.nrrd")
        temporary.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["Größe 肺?.seg.nrrd"]
