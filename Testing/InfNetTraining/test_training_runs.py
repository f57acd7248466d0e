"""Runs that outlive the Slicer that started them, on the fake backend."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def config(module, makeSlices, tmp_path):
    makeSlices(tmp_path / "labelled", count=5)
    return module.TrainingConfig(str(tmp_path / "labelled"), str(tmp_path / "run"), epochs=3)


@pytest.fixture
def logicFor(module, fakeTraining):
    return lambda scenario: module.InfNetTrainingLogic(fakeTraining(scenario))


def waitFor(logic, folder, condition, seconds=60):
    """Polls as the panel does; returns the status that meets the condition."""
    end = time.monotonic() + seconds
    while True:
        status = logic.status(folder)
        if condition(status):
            return status
        assert time.monotonic() < end, status
        time.sleep(0.05)


def hasState(*states):
    return lambda status: status.state in states


def calls(folder):
    return (Path(folder) / "calls.txt").read_text(encoding="utf-8").split()


def test_a_training_runs_to_its_end_and_leaves_a_model(logicFor, config):
    logic = logicFor("success")
    assert logic.status(config.outputFolder).state == "absent"
    logic.start(config)
    status = waitFor(logic, config.outputFolder, hasState("finished"))
    assert (status.stage, status.done, status.total, status.error) == ("training", 10, 10, None)
    assert status.config == config
    assert status.modelPath.name == "run.json" and status.modelPath.is_file()
    note = json.loads((Path(config.outputFolder) / "training.json").read_text(encoding="utf-8"))
    assert note["commands"][0].startswith(
        f"infnet train {config.labelledFolder} -o {config.outputFolder} --preset modern"
    )


def test_stop_and_resume(logicFor, config):
    logic = logicFor("stop")
    logic.start(config)
    status = waitFor(logic, config.outputFolder, lambda status: status.done > 0)
    assert status.state == "running"
    with pytest.raises(RuntimeError, match="running"):
        logic.start(config)
    logic.stop(config.outputFolder)
    assert waitFor(logic, config.outputFolder, hasState("stopped")).error is None
    logic.resume(config.outputFolder)
    assert waitFor(logic, config.outputFolder, hasState("finished")).modelPath is not None
    assert calls(config.outputFolder) == ["train", "train"]


def test_a_run_goes_on_without_the_process_that_started_it(fakeTraining, logicFor, config):
    """Slicer is closed, its whole process group killed: another Slicer finds the training running, and stops it."""
    script = f"""
        import sys
        sys.path[:0] = [{str(REPOSITORY / "Testing")!r}]
        import slicerhost
        host = slicerhost.start()
        host.loadModule({str(REPOSITORY / "InfNetSegmentation/InfNetSegmentation.py")!r})
        module = host.loadModule({str(REPOSITORY / "InfNetTraining/InfNetTraining.py")!r})
        config = module.TrainingConfig.fromDict({config.asDict()!r})
        module.InfNetTrainingLogic({fakeTraining("stop")!r}).start(config)
        print("started", flush=True)
        import time
        time.sleep(600)
    """
    starter = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    assert starter.stdout.readline() == "started\n"
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    logic = logicFor("stop")
    before = waitFor(logic, config.outputFolder, lambda status: status.done > 0).done
    assert (
        waitFor(logic, config.outputFolder, lambda status: status.done > before or status.done == 50).state == "running"
    )
    logic.stop(config.outputFolder)
    waitFor(logic, config.outputFolder, hasState("stopped"))


def test_a_killed_run_is_told_as_interrupted_and_leaves_no_orphan(logicFor, config):
    logic = logicFor("stop")
    logic.start(config)
    waitFor(logic, config.outputFolder, lambda status: status.done > 0)
    folder = Path(config.outputFolder)
    pid = json.loads((folder / "process.json").read_text(encoding="utf-8"))["pid"]
    os.kill(pid, signal.SIGKILL)  # the runner alone: the backend's next word ends it
    status = waitFor(logic, folder, hasState("interrupted"))
    assert "without a word" in status.error
    size = (folder / "progress.jsonl").stat().st_size
    logic.resume(folder)
    waitFor(logic, folder, hasState("finished"))
    assert (folder / "progress.jsonl").stat().st_size > size


def test_a_run_that_does_not_stop_is_ended_by_force(logicFor, config):
    logic = logicFor("ignore-stop")
    logic.start(config)
    waitFor(logic, config.outputFolder, lambda status: status.done > 0)
    logic.stop(config.outputFolder)
    assert logic.status(config.outputFolder).state == "stopping"
    logic.stop(config.outputFolder, byForce=True)
    assert "by force" in waitFor(logic, config.outputFolder, hasState("interrupted")).error


@pytest.mark.parametrize(
    ("scenario", "cause"), [("error", "Slice 7 is damaged (“Extra slices”)."), ("crash", "something broke deep inside")]
)
def test_a_failed_run_tells_its_true_cause(logicFor, config, scenario, cause):
    logic = logicFor(scenario)
    logic.start(config)
    status = waitFor(logic, config.outputFolder, hasState("failed"))
    assert cause in status.error


def test_a_backend_that_cannot_be_started_is_told(module, config):
    logic = module.InfNetTrainingLogic([sys.executable, "-m", "no_such_module"])
    logic.start(config)
    assert "no_such_module" in waitFor(logic, config.outputFolder, hasState("failed")).error


def test_another_process_with_the_number_of_the_old_one_is_not_the_run(logicFor, config):
    logic = logicFor("success")
    logic.start(config)
    waitFor(logic, config.outputFolder, hasState("finished"))
    path = Path(config.outputFolder) / "process.json"
    note = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**note, "pid": os.getpid()}), encoding="utf-8")
    assert logic.status(config.outputFolder).state == "finished"


PS = """\
#!{python}
# The columns of an -o end with the first headline, which takes the rest of the word: POSIX, and ps on macOS.
import os, subprocess, sys
words = sys.argv[1:]
columns = [name for option, word in zip(words, words[1:]) if option == "-o" for name in word.split("=")[0].split(",")]
headlines = "".join(word.partition("=")[2] for option, word in zip(words, words[1:]) if option == "-o")
if headlines:
    print(headlines)
os.execv("{ps}", ["ps", *(word for name in columns for word in ("-o", name + "=")), "-p", words[words.index("-p") + 1]])
"""


def test_a_process_of_macos_is_known_by_its_start(module, tmp_path, monkeypatch):
    """In whatever language and time zone Slicer runs. The system's ps, behind one that takes words as that of macOS."""
    from InfNetTrainingLib.ProcessIdentity import _onUnix

    ps = shutil.which("ps") or pytest.skip("needs ps")
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    (tmp_path / "ps").write_text(PS.format(python=sys.executable, ps=ps), encoding="utf-8")
    (tmp_path / "ps").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    started = _onUnix(os.getpid())
    assert started and time.strptime(started, "%a %b %d %H:%M:%S %Y"), "nothing but the time"
    assert _onUnix(ended.pid) is None
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert _onUnix(os.getpid()) == started


def test_a_run_of_another_computer_is_left_alone_while_it_is_heard_of(logicFor, config):
    logic = logicFor("stop")
    logic.start(config)
    waitFor(logic, config.outputFolder, lambda status: status.done > 0)
    folder = Path(config.outputFolder)
    note = json.loads((folder / "process.json").read_text(encoding="utf-8"))
    (folder / "process.json").write_text(
        json.dumps({**note, "host": "elsewhere", "pid": os.getpid()}), encoding="utf-8"
    )
    assert logic.status(folder).state == "running"
    with pytest.raises(RuntimeError, match=f"on elsewhere and stops .* end process {os.getpid()} there"):
        logic.stop(folder, byForce=True)  # asks only: the process of that number is one of this computer
    waitFor(logic, folder, hasState("stopped"))
    text = (folder / "progress.jsonl").read_text(encoding="utf-8")
    (folder / "progress.jsonl").write_text(text.rpartition("\n{")[0], encoding="utf-8")
    assert logic.status(folder).state == "stopping"
    os.utime(folder / "progress.jsonl", (1, 1))
    assert logic.status(folder).state == "interrupted"


def test_a_folder_belongs_to_one_training(logicFor, config, tmp_path):
    logic = logicFor("success")
    logic.start(config)
    waitFor(logic, config.outputFolder, hasState("finished"))
    with pytest.raises(ValueError, match="another training"):
        logic.start(replace(config, epochs=4))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="something else"):
        logic.start(replace(config, outputFolder=str(tmp_path / "other")))
    with pytest.raises(ValueError, match="holds no training"):
        logic.resume(tmp_path / "other")


def test_a_run_folder_can_be_moved(logicFor, config, tmp_path):
    logic = logicFor("stop")
    logic.start(config)
    waitFor(logic, config.outputFolder, lambda status: status.done > 0)
    logic.stop(config.outputFolder)
    waitFor(logic, config.outputFolder, hasState("stopped"))
    moved = tmp_path / "elsewhere"
    Path(config.outputFolder).rename(moved)
    logic.resume(moved)
    assert waitFor(logic, moved, hasState("finished")).modelPath == moved / "model/elsewhere.json"
    assert not Path(config.outputFolder).exists()


def test_notes_that_cannot_be_read_are_told(logicFor, config):
    logic = logicFor("success")
    logic.start(config)
    waitFor(logic, config.outputFolder, hasState("finished"))
    path = Path(config.outputFolder) / "training.json"
    note = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**note, "format": 99}), encoding="utf-8")
    with pytest.raises(ValueError, match="newer version"):
        logic.status(config.outputFolder)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="damaged"):
        logic.status(config.outputFolder)


def test_half_a_line_does_not_hide_what_follows(logicFor, config):
    logic = logicFor("success")
    logic.start(config)
    waitFor(logic, config.outputFolder, hasState("finished"))
    path = Path(config.outputFolder) / "progress.jsonl"
    path.write_text('{"event": "progr' + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert logic.status(config.outputFolder).state == "finished"


def test_a_run_on_a_drive_that_was_away_is_followed_further(module, logicFor, config):
    from InfNetTrainingLib.RunState import RunReader

    logicFor("success").start(config)
    waitFor(logicFor("success"), config.outputFolder, hasState("finished"))
    folder = Path(config.outputFolder)
    reader = RunReader(folder)
    assert reader.read().done == 10 and reader.newLines
    path, text = folder / "progress.jsonl", (folder / "progress.jsonl").read_text(encoding="utf-8")
    path.rename(folder / "away")  # the file that was read is not the one that comes back
    assert reader.read().done == 10
    more = {"event": "progress", "stage": "training", "done": 11, "total": 12}
    path.write_text(f"{text}\n{json.dumps(more)}\n", encoding="utf-8")
    assert reader.read().done == 11 and reader.newLines == [], "and nothing is told twice"


def test_progress_is_thinned_out_but_never_its_last_word(tmp_path, module):
    from InfNetTrainingLib.TrainingRunner import ProgressFile

    progress = ProgressFile(tmp_path)
    for stage in ("rounds", "training"):
        for done in range(1, 1000):
            progress.passOn(json.dumps({"event": "progress", "stage": stage, "done": done, "total": 1000}))
    progress.passOn(json.dumps({"event": "error", "code": "x", "message": "y"}))
    events = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines() if line]
    assert len(events) < 30
    for stage in ("rounds", "training"):
        assert [e["done"] for e in events if e.get("stage") == stage][:: len(events)] == [1]
        assert [e["done"] for e in events if e.get("stage") == stage][-1] == 999
    assert events[-1]["event"] == "error"


def test_a_day_of_progress_is_read_at_once(logicFor, config, monkeypatch):
    """Who opens a run's folder reads all that it has told."""
    from InfNetTrainingLib import TrainingRunner

    logic, folder, steps = logicFor("success"), Path(config.outputFolder), 2 * 24 * 3600
    logic.start(config)
    waitFor(logic, folder, hasState("finished"))
    progress, seconds = TrainingRunner.ProgressFile(folder), 0.0
    monkeypatch.setattr(TrainingRunner.time, "monotonic", lambda: seconds)
    before = (folder / "progress.jsonl").stat().st_size
    for done in range(steps):
        seconds = done / 2
        told = {"event": "progress", "stage": "training", "done": done, "total": steps, "device": "cuda:0"}
        progress.passOn(json.dumps(told))
    assert (folder / "progress.jsonl").stat().st_size - before < 2_000_000
    assert steps - logic.status(folder).done <= 20, "what is shown is of the last ten seconds"


def test_time_left_follows_from_the_schedule(module):
    from InfNetTrainingLib.Schedule import Schedule

    schedule = Schedule([("supervised", 100), ("fine-tuning", 50), ("fine-tuning", 150), ("pre-training", 200)])
    assert schedule.rounds == 2

    def measured(stage, done, seconds):
        first = {"stage": stage, "done": 0, "total": 10, "time": 0.0}
        return first, {**first, "done": done, "time": seconds}

    # Half of 100 slices took 5 s, 0.1 s each; 50 + 50 + 150 + 200 are left.
    assert schedule.secondsLeft(measured("supervised", 5, 5.0)) == pytest.approx(45)
    # In round 2, 30 of 150 took 6 s, 0.2 s each; 120 + 200 are left.
    assert schedule.secondsLeft(measured("fine-tuning", 2, 6.0), round=2) == pytest.approx(64)
    assert schedule.secondsLeft(measured("supervised", 0, 5.0)) is None
    assert schedule.secondsLeft(measured("pseudo-labels", 5, 5.0)) is None
    assert schedule.secondsLeft(()) is None


def test_the_schedule_counts_what_is_seen(module, makeSlices, tmp_path):
    from InfNetTrainingLib.Schedule import Schedule

    labelled, unlabelled = makeSlices(tmp_path / "labelled", count=5), makeSlices(tmp_path / "unlabelled", count=6)
    config = module.TrainingConfig(str(labelled), str(tmp_path / "run"), epochs=10, holdOut=True)
    assert Schedule.of(config).asList() == [["fold 1", 40], ["training", 50]]
    semi = replace(config, kind="semi-supervised", unlabelledFolder=str(unlabelled), k=4, rounds=0, roundEpochs=2)
    assert Schedule.of(replace(semi, preTrainingEpochs=3)).asList() == [
        ["supervised", 40],
        ["fine-tuning", 16],
        ["fine-tuning", 20],
        ["pre-training", 18],
        ["semi-supervised", 40],
    ]
