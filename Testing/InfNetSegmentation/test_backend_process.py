"""The process that runs the backend, with a real child process that follows a script."""

import gc
import os
import shutil
import sys
import tempfile
import time
import weakref
from itertools import pairwise
from pathlib import Path

import pytest


@pytest.fixture
def BackendProcess(module):
    from InfNetSegmentationLib.BackendProcess import BackendProcess

    return BackendProcess


class Record:
    """Keeps what a process tells."""

    def __init__(self):
        self.progress, self.messages, self.results, self.errors = [], [], [], []

    def callbacks(self):
        return {
            "onProgress": lambda *event: self.progress.append(event),
            "onMessage": self.messages.append,
            "onResult": self.results.append,
            "onError": self.errors.append,
        }


@pytest.fixture
def run(BackendProcess, fakeBackend, tmp_path):
    """Starts the fake backend's training, which needs no input file."""

    def start(scenario, useTimer=False):
        record = Record()
        process = BackendProcess(fakeBackend(scenario), **record.callbacks())
        process.start(["train", "data", "-o", str(tmp_path / "out")], useTimer)
        return process, record

    return start


def isRunning(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"  # an ended process may wait for its parent


def test_success_tells_progress_messages_and_the_result(run, tmp_path):
    process, record = run("success")
    process.wait()
    assert record.progress == [("infection", 1, 3), ("infection", 2, 3), ("infection", 3, 3)]
    assert record.messages == ["Warning: thick slices", "a line that is not JSON"]
    assert record.results == [{"event": "result", "output": str(tmp_path / "out")}]
    assert record.errors == []


SLOW_TO_STOP = """\
import json, pathlib, sys, time
stop = pathlib.Path(sys.argv[-1])
for done in range(10000):
    print(json.dumps({"event": "progress", "stage": "infection", "done": done, "total": 10000}), flush=True)
    if (stop.with_name("seen")).exists():
        sys.exit(130)
    if stop.exists():
        stop.with_name("seen").touch()
    time.sleep(0.001)
"""


def test_no_progress_is_told_after_the_cancel(BackendProcess):
    """It would look as if nobody had heard."""
    record = Record()
    process = BackendProcess([sys.executable, "-c", SLOW_TO_STOP], **record.callbacks())
    process.start([], useTimer=False)
    while not record.progress:
        process.poll()
    told = len(record.progress)
    process.cancel()
    process.wait()
    assert len(record.progress) == told and record.errors[0].code == "cancelled"


def test_an_error_event_is_told_with_its_code_and_message(run):
    process, record = run("error")
    process.wait()
    (error,) = record.errors
    assert (error.code, str(error)) == ("no-lung", "No lung was found in ct.nrrd.")
    assert record.results == []


def test_a_crash_is_told_with_what_it_wrote_last(run):
    process, record = run("crash")
    process.wait()
    (error,) = record.errors
    assert error.code == "crash"
    assert "something broke deep inside" in str(error)
    assert "-6" in str(error)  # SIGABRT


@pytest.mark.parametrize(
    ("scenario", "cause"), [("killed", "lack of memory"), ("missing-package", "offers to install what is missing")]
)
def test_a_crash_with_a_known_cause_is_told_with_its_remedy(run, scenario, cause):
    process, record = run(scenario)
    process.wait()
    (error,) = record.errors
    assert error.code == "crash"
    assert cause in str(error)


LAUNCHER = """\
import subprocess, sys
status = subprocess.call(sys.argv[1:])
if status < 0:
    print(f"error: [{sys.argv[1]}] exit abnormally - Report the problem.", file=sys.stderr)
sys.exit(1 if status < 0 else status)
"""


@pytest.mark.parametrize(("scenario", "isMemory"), [("killed", True), ("crash", False)])
def test_a_crash_behind_slicers_launcher_is_told_with_its_cause(
    BackendProcess, fakeBackend, tmp_path, scenario, isMemory
):
    """PythonSlicer is a launcher (CTK's AppLauncher), which ends with the exit status 1 after any signal."""
    record = Record()
    process = BackendProcess([sys.executable, "-c", LAUNCHER, *fakeBackend(scenario)], **record.callbacks())
    process.start(["train", "data", "-o", str(tmp_path / "out")], useTimer=False)
    process.wait()
    (error,) = record.errors
    assert ("lack of memory" in str(error)) == isMemory, str(error)
    assert ("something broke deep inside" in str(error)) != isMemory, str(error)


def test_a_crash_deep_inside_is_not_taken_for_lack_of_memory(module):
    """The fault handler's first line is not among the last ones that are told."""
    from InfNetSegmentationLib.CrashMessage import crashMessage

    stack = ['  File "layers.py", line 7 in forward'] * 14
    told = [*stack, "Extension modules: numpy (total: 1)", "error: [python-real] exit abnormally - Report the problem."]
    assert "lack of memory" not in crashMessage(1, told)
    assert "lack of memory" in crashMessage(1, told[-1:])


def test_exit_status_0_without_a_result_is_an_error(run):
    process, record = run("no-result")
    process.wait()
    assert record.results == []
    assert record.errors[0].code == "crash"


def test_the_backend_is_found_without_any_setting_of_the_user(BackendProcess, monkeypatch, tmp_path):
    """`python -m infnet` in a process finds the package beside the module, and nothing in the working folder."""
    from InfNetSegmentationLib.BackendProcess import backendCommand

    monkeypatch.delenv("PYTHONPATH", raising=False)
    for name in ("infnet", "argparse", "SimpleITK"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('run from the working folder')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    record = Record()
    process = BackendProcess(backendCommand(), **record.callbacks())
    process.start(["segment", "no-such-file.nrrd", "-o", "out.nrrd"], useTimer=False)
    process.wait()
    (error,) = record.errors
    assert error.code != "crash", str(error)
    assert "no-such-file.nrrd" in str(error)


def test_pythonslicer_is_taken_where_it_is_on_the_path(module, tmp_path, monkeypatch):
    from InfNetSegmentationLib.BackendProcess import backendCommand

    assert backendCommand()[0] == sys.executable
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text("#!/bin/sh\n", encoding="utf-8")
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert backendCommand() == [str(launcher), "-m", "infnet"]


def test_cancel_asks_politely_first(run, host):
    process, record = run("stop", useTimer=True)
    host.waitUntil(lambda: record.progress)
    process.cancel("Stopped by the test.")
    host.waitUntil(lambda: not process.running)
    (error,) = record.errors
    assert (error.code, str(error)) == ("cancelled", "Stopped by the test.")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("how", ["cancel", "abort"])
def test_a_backend_that_does_not_listen_is_ended_with_all_it_started(run, host, how):
    process, record = run("ignore-stop", useTimer=True)
    host.waitUntil(lambda: record.messages)
    pids = [int(word) for word in record.messages[0].split()[1:]]
    assert len(pids) == 2 and all(isRunning(pid) for pid in pids)
    if how == "cancel":
        process.cancel(gracePeriodSeconds=0.2)
        host.waitUntil(lambda: not process.running)
    else:
        process.abort()
        assert not process.running
    host.waitUntil(lambda: not any(isRunning(pid) for pid in pids))
    assert record.errors[0].code == "cancelled"


@pytest.mark.parametrize("scenario", ["success", "error", "crash"])
def test_no_file_is_left(run, scenario):
    process, _record = run(scenario)
    assert process.folder.stat().st_mode & 0o077 == 0, "others could read the patient's CT"
    process.wait()
    assert not process.folder.exists()


def test_no_file_is_left_when_a_callback_fails(BackendProcess, fakeBackend, tmp_path):
    def fail(payload):
        raise ZeroDivisionError

    process = BackendProcess(fakeBackend("success"), onResult=fail)
    process.start(["train", "data", "-o", str(tmp_path / "out")], useTimer=False)
    with pytest.raises(ZeroDivisionError):
        process.wait()
    assert not process.running
    assert not process.folder.exists()


def test_the_folder_is_private_and_those_of_killed_slicers_are_removed(BackendProcess, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    running = BackendProcess()
    killed, foreign = tmp_path / "infnet-private-killed", tmp_path / "infnet-results"
    for folder in (killed, foreign):
        folder.mkdir()
        (folder / "ct.nrrd").touch()
        os.utime(folder / "ct.nrrd", (0, 0))
        os.utime(folder, (0, 0))
    (tmp_path / "infnet-private-link").symlink_to(foreign)
    os.utime(running.folder, (0, 0))  # a batch of days, that has told something just now
    (running.folder / "stdout").open("wb").close()
    os.utime(running.folder, (0, 0))
    assert running.folder.stat().st_mode & 0o777 == 0o700
    later = BackendProcess()
    assert running.folder.is_dir() and later.folder.is_dir() and not killed.exists()
    assert (foreign / "ct.nrrd").exists(), "somebody's own folder stays, and a link is not followed"


def test_the_folder_of_a_process_that_is_not_quite_gone_is_removed_a_moment_later(run, monkeypatch):
    """A made-up refusal, as Windows has it while a file is open: a patient's CT would stay."""
    remove, refused = shutil.rmtree, []

    def refuse(path, **options):
        if len(refused) < 2:
            refused.append(path)
        else:
            remove(path, **options)

    process, _record = run("success")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        process.wait()
    assert len(refused) == 2 and not process.folder.exists()


WRITES_UMLAUTS = """\
import sys
print("Gr\u00f6\u00dfe")
raise SystemExit("L\u00e4nge")
"""


def test_what_is_written_in_other_letters_arrives_whatever_the_system_s_own(BackendProcess, monkeypatch):
    """As Windows' code page, here ASCII as the encoding of the standard streams."""
    for name, value in (("LC_ALL", "C"), ("PYTHONCOERCECLOCALE", "0"), ("PYTHONUTF8", "0")):
        monkeypatch.setenv(name, value)
    record = Record()
    process = BackendProcess([sys.executable, "-c", WRITES_UMLAUTS], **record.callbacks())
    process.start([], useTimer=False)
    process.wait()
    assert record.messages == ["Größe", "Länge"]


def test_ctrl_c_while_waiting_ends_the_run(BackendProcess, fakeBackend, tmp_path):
    def interrupt(*event):
        raise KeyboardInterrupt

    record = Record()
    process = BackendProcess(fakeBackend("stop"), **{**record.callbacks(), "onProgress": interrupt})
    process.start(["train", "data", "-o", str(tmp_path / "out")], useTimer=False)
    with pytest.raises(KeyboardInterrupt):
        process.wait()
    assert not process.running
    assert not process.folder.exists()
    assert record.errors[0].code == "cancelled"


def test_the_event_loop_goes_on_during_a_run(run, host):
    import qt

    ticks = []
    timer = qt.QTimer()
    timer.setInterval(10)
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start()
    process, record = run("stop", useTimer=True)
    host.waitUntil(lambda: record.progress and len(ticks) > 5)
    process.abort()
    timer.stop()
    assert max(later - earlier for earlier, later in pairwise(ticks)) < 1.0


def test_a_run_that_has_ended_keeps_nothing_alive(run, host):
    """PythonQt's connections hold their slots: a run's timer would hold its callbacks, and these the scene's nodes."""
    process, record = run("success", useTimer=True)
    host.waitUntil(lambda: record.results)
    reference = weakref.ref(process)
    del process
    gc.collect()
    assert reference() is None


def test_a_program_that_does_not_exist_leaves_nothing(BackendProcess):
    process = BackendProcess(["/no/such/program"])
    with pytest.raises(FileNotFoundError):
        process.start(["segment"], useTimer=False)
    assert not process.running
    assert not process.folder.exists()
