"""The script that trains on another machine. ``ssh`` is a stand-in: a shell in another folder of this computer."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Another machine's home folder; ``ssh user@gpu COMMAND`` runs the command there."""
    home = tmp_path / "there"
    home.mkdir()
    path = tmp_path / "bin/ssh"
    path.parent.mkdir()
    path.write_text(
        f'#!/bin/sh\n[ "$1" = user@gpu ] || exit 255\ncd "{home}" && exec setsid --wait sh -c "$2"\n', encoding="utf-8"
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    return home


@pytest.fixture
def config(module, makeSlices, tmp_path):
    return module.TrainingConfig(
        str(makeSlices(tmp_path / "my labelled", count=4)),
        str(tmp_path / "my run"),
        unlabelledFolder=str(makeSlices(tmp_path / "unlabelled", count=4, seed=2)),
        kind="semi-supervised",
        pause=True,
    )


@pytest.fixture
def write(fakeTraining, tmp_path):
    """``write(config, scenario)``: the script, with the fake backend in place of ``python -m infnet`` there."""
    from InfNetTrainingLib.SshScript import writeSshRun

    def write(config, scenario):
        wrapper = tmp_path / "python-there"
        fake = " ".join(fakeTraining(scenario)[1:])
        wrapper.write_text(
            f'#!/bin/sh\nif [ "$1" = -m ]; then shift 2; set -- {fake} "$@"; fi\nexec {sys.executable} "$@"\n',
            encoding="utf-8",
        )
        wrapper.chmod(0o755)
        return writeSshRun(config, "user@gpu", str(wrapper), secondsBetweenLooks=0.05)

    return write


def bash(script, *words):
    return subprocess.run(["bash", str(script), *words], capture_output=True, encoding="utf-8", timeout=60)


def test_a_run_there_pauses_is_reviewed_here_and_brings_its_model_back(module, config, write, machine):
    from InfNetTrainingLib.PseudoLabels import PseudoLabels

    logic, folder = module.InfNetTrainingLogic(), Path(config.outputFolder)
    script = write(config, "success")
    status = logic.status(folder)
    assert status.state == "interrupted" and status.remote == "user@gpu" and "remote.sh" in status.error
    with pytest.raises(ValueError, match="user@gpu"):
        logic.resume(folder)
    for rounds in range(1, 4):
        done = bash(script)
        assert done.returncode == 0, done.stderr
        status = logic.status(folder)
        assert status.state == "stopped" and status.awaitsReview
        assert len(PseudoLabels(folder).rounds()) == rounds
    PseudoLabels(folder).reject("2")
    assert bash(script).returncode == 0
    status = logic.status(folder)
    assert (
        status.state == "finished" and status.modelPath == folder / "model/my run.json" and status.modelPath.is_file()
    )
    assert status.config == config, "the folders are those of this computer"
    there = machine / "infnet-runs/my run/my run"
    assert (there / "rejected.txt").read_text(encoding="utf-8") == "2\n"
    assert sorted(path.name for path in (there.parent / "labelled").iterdir()) == ["GT", "Imgs"]
    assert (there / "calls.txt").read_text(encoding="utf-8").split() == ["semi-supervised"] * 4


def test_it_goes_on_without_the_one_who_follows_and_can_be_stopped(module, config, write, machine):
    logic, folder = module.InfNetTrainingLogic(), Path(config.outputFolder)
    script = write(config, "stop")

    def follow():
        return subprocess.Popen(["bash", str(script)], start_new_session=True, stdout=subprocess.PIPE)

    def waitFor(condition):
        end = time.monotonic() + 60
        while not condition(logic.status(folder)):
            assert time.monotonic() < end, logic.status(folder)
            time.sleep(0.05)

    follower = follow()
    waitFor(lambda status: status.state == "running" and status.done > 0)
    os.killpg(follower.pid, signal.SIGKILL)
    follower.communicate()
    before = logic.status(folder).done
    follower = follow()
    waitFor(lambda status: status.done > before or status.done == 50)
    logic.stop(folder)  # as the panel's button: the follower passes it on
    assert follower.wait(60) == 0
    assert logic.status(folder).state == "stopped"
    assert (machine / "infnet-runs/my run/my run/calls.txt").read_text(encoding="utf-8").count("\n") == 1


def test_what_cannot_be_sent_is_refused(config, write, tmp_path):
    from dataclasses import replace

    from InfNetTrainingLib.SshScript import writeSshRun

    with pytest.raises(ValueError, match="which machine"):
        writeSshRun(config, "-oProxyCommand=evil")
    (tmp_path / "model.json").write_text("{}", encoding="utf-8")
    supervised = replace(config, kind="supervised", initial=str(tmp_path / "model.json"))
    with pytest.raises(ValueError, match="not sent"):
        writeSshRun(supervised, "user@gpu")
    write(config, "success")
    with pytest.raises(ValueError, match="holds something"):
        write(config, "success")
