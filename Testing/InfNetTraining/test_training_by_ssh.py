"""The script that trains on another machine.

``ssh`` is a stand-in, a shell in another folder of this computer; in the tests of ``server`` it is OpenSSH's own.
"""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Another machine's home folder; ``ssh user@gpu COMMAND`` runs the command there."""
    home = tmp_path / "there"
    home.mkdir()
    path = tmp_path / "bin/ssh"
    path.parent.mkdir()
    path.write_text(
        '#!/bin/sh\nwhile [ "$1" = -o ]; do shift 2; done\n[ "$1" = user@gpu ] || exit 255\n'
        f'cd "{home}" && exec setsid --wait sh -c "$2"\n',
        encoding="utf-8",
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

    def write(config, scenario, host="user@gpu"):
        wrapper = tmp_path / "python-there"
        fake = " ".join(fakeTraining(scenario)[1:])
        wrapper.write_text(
            f'#!/bin/sh\nif [ "$1" = -m ]; then shift 2; set -- {fake} "$@"; fi\nexec {sys.executable} "$@"\n',
            encoding="utf-8",
        )
        wrapper.chmod(0o755)
        return writeSshRun(config, host, str(wrapper), secondsBetweenLooks=0.05)

    return write


def waitFor(logic, folder, condition):
    end = time.monotonic() + 60
    while not condition(logic.status(folder)):
        assert time.monotonic() < end, logic.status(folder)
        time.sleep(0.05)
    return logic.status(folder)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """OpenSSH's server on 127.0.0.1, reached as user@gpu by a key; its sessions begin in tmp_path/there."""
    sshd, ssh = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin"), shutil.which("ssh")
    if not (sshd and ssh and shutil.which("ssh-keygen")):
        pytest.skip("needs OpenSSH's server and client (Debian: openssh-server)")
    folder = tmp_path / "ssh"
    for path in (folder, tmp_path / "there", tmp_path / "bin"):
        path.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\n"
        f'ForceCommand cd "{tmp_path}/there" && exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    (folder / "config").write_text(
        f"Host gpu\nHostName 127.0.0.1\nPort {port}\nUser {getpass.getuser()}\nIdentityFile {folder}/user\n"
        f"IdentitiesOnly yes\nUserKnownHostsFile {folder}/known\nStrictHostKeyChecking yes\n"
    )
    wrapper = tmp_path / "bin/ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {ssh} -F {folder}/config "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.PIPE, encoding="utf-8"
    )
    line = process.stderr.readline()
    if "listening" not in line:
        process.kill()
        pytest.skip(f"sshd cannot run here: {line}")
    yield folder
    process.kill()
    process.communicate()


def test_a_run_over_a_real_ssh_server(module, config, write, server, tmp_path):
    """Started, closed here and gone on with, stopped, resumed, its results brought back."""
    config = replace(config, pause=False)
    logic, folder = module.InfNetTrainingLogic(), Path(config.outputFolder)
    write(config, "stop", host="gpu")
    logic.resume(folder)
    waitFor(logic, folder, lambda status: status.state == "running" and status.done > 0)
    with pytest.raises(RuntimeError, match="running"):
        logic.start(config)
    os.killpg(json.loads((folder / "process.json").read_text())["pid"], signal.SIGKILL)  # this computer goes off
    waitFor(logic, folder, lambda status: status.state == "interrupted")
    logic.resume(folder)
    waitFor(logic, folder, lambda status: status.state == "running")
    logic.stop(folder)
    waitFor(logic, folder, lambda status: status.state == "stopped")
    (calls,) = (tmp_path / "there/infnet-runs").glob("my run-*/my run/calls.txt")
    assert calls.read_text().count("\n") == 1, "it went on there all the while"
    logic.resume(folder)
    status = waitFor(logic, folder, lambda status: not status.isRunning)
    assert status.state == "finished" and status.modelPath.is_file()
    from InfNetTrainingLib.Curves import readLosses

    assert len(readLosses(folder)["training"]) == 5


@pytest.mark.parametrize(
    ("fault", "cause", "remedy"),
    [
        ("key", "Permission denied (publickey)", "ssh-copy-id gpu"),
        ("host", "Host key verification failed", "connect once in a terminal, “ssh gpu”"),
        ("python", "no Python that has infnet", "install it there, or name another one"),
    ],
)
def test_what_fails_at_an_ssh_server_is_told_with_its_remedy(
    module, config, server, fault, cause, remedy, tmp_path, write
):
    logic, folder = module.InfNetTrainingLogic(), Path(config.outputFolder)
    if fault == "key":
        (server / "authorized").write_text("")
    if fault == "host":
        (server / "known").write_text("")
    logic.startRemote(config, "gpu", "python3 -S -I" if fault == "python" else sys.executable)
    status = waitFor(logic, folder, lambda status: not status.isRunning)
    assert status.state == "interrupted"
    assert cause in status.error and remedy in status.error and "Resume goes on" in status.error
    assert not (tmp_path / "there/infnet-runs").exists(), "before anything was sent"


def test_a_run_that_does_not_stop_there_is_ended(module, config, write, machine):
    logic, folder = module.InfNetTrainingLogic(), Path(config.outputFolder)
    write(config, "ignore-stop")
    logic.resume(folder)
    waitFor(logic, folder, lambda status: status.state == "running" and status.done > 0)
    logic.stop(folder)
    assert logic.status(folder).state == "stopping"
    logic.stop(folder, byForce=True)
    assert "by force" in waitFor(logic, folder, lambda status: not status.isRunning).error


def bash(script, *words):
    return subprocess.run(["bash", str(script), *words], capture_output=True, encoding="utf-8", timeout=60)


def test_a_run_there_pauses_is_reviewed_here_and_brings_its_model_back(module, config, write, machine):
    from InfNetTrainingLib.PseudoLabels import PseudoLabels

    logic, folder = module.InfNetTrainingLogic(), Path(config.outputFolder)
    script = write(config, "success")
    status = logic.status(folder)
    assert status.state == "interrupted" and status.remote == "user@gpu" and "remote.sh" in status.error
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
    (there,) = (machine / "infnet-runs").glob("my run-*/my run")
    assert (there / "rejected.txt").read_text(encoding="utf-8") == "2\n"
    assert sorted(path.name for path in (there.parent / "labelled").iterdir()) == ["GT", "Imgs"]
    assert (there / "calls.txt").read_text(encoding="utf-8").split() == ["semi-supervised"] * 4


def test_it_goes_on_without_the_one_who_follows_and_can_be_stopped(module, config, write, machine):
    logic, folder = module.InfNetTrainingLogic(), Path(config.outputFolder)
    script = write(config, "stop")
    assert logic.status(folder).error.endswith(f"run: bash '{script}'")

    def follow():
        return subprocess.Popen(["bash", str(script)], start_new_session=True, stdout=subprocess.PIPE)

    follower = follow()
    waitFor(logic, folder, lambda status: status.state == "running" and status.done > 0)
    os.killpg(follower.pid, signal.SIGKILL)
    follower.communicate()
    before = logic.status(folder).done
    follower = follow()
    waitFor(logic, folder, lambda status: status.done > before or status.done == 50)
    logic.stop(folder)  # as the panel's button: the follower passes it on
    assert follower.wait(60) == 0
    assert logic.status(folder).state == "stopped"
    (calls,) = (machine / "infnet-runs").glob("my run-*/my run/calls.txt")
    assert calls.read_text(encoding="utf-8").count("\n") == 1


def test_what_was_said_here_of_the_slices_stays_and_what_was_taken_back_is_taken_back_there(
    module, config, write, machine
):
    """Also what is said while the training is followed."""
    from InfNetTrainingLib.PseudoLabels import PseudoLabels

    folder = Path(config.outputFolder)
    script = write(config, "success")
    assert bash(script).returncode == 0
    labels = PseudoLabels(folder)
    labels.correct("1", np.ones((72, 60), bool))
    labels.reject("2")
    assert bash(script).returncode == 0
    (there,) = (machine / "infnet-runs").glob("my run-*/my run")
    assert (there / "corrections/1.png").is_file() and (there / "rejected.txt").read_text() == "2\n"
    # The script brings back what there is when it ends: what was said here meanwhile is newer.
    text = script.read_text(encoding="utf-8")
    said = 'rm -r "$here/corrections"; echo 3 > "$here/rejected.txt"\nkept_here=\''
    script.write_text(text.replace("kept_here='", said, 1), encoding="utf-8")
    assert bash(script).returncode == 0
    assert (folder / "rejected.txt").read_text() == "3\n" and not (folder / "corrections").exists()
    script.write_text(text, encoding="utf-8")
    assert bash(script).returncode == 0
    assert (there / "rejected.txt").read_text() == "3\n" and not (there / "corrections").exists()


@pytest.mark.parametrize("name", ["l'essai d'Anna", "Läuf 肺 (2)"])
def test_two_runs_of_one_name_are_two_there(module, config, write, machine, makeSlices, tmp_path, name):
    """As of two computers, or after the folder was deleted here."""
    for number in (1, 2):
        slices = makeSlices(tmp_path / f"{number} slices", count=3 + number)
        there = replace(
            config, kind="supervised", labelledFolder=str(slices), outputFolder=str(tmp_path / f"{number}/{name}")
        )
        done = bash(write(there, "success"))
        assert done.returncode == 0, done.stderr
        status = module.InfNetTrainingLogic().status(there.outputFolder)
        assert status.state == "finished" and status.modelPath.is_file()
    sent = [len([*folder.glob("labelled/Imgs/*")]) for folder in (machine / "infnet-runs").iterdir()]
    assert sorted(sent) == [4, 5]


def test_what_cannot_be_sent_is_refused(config, write, tmp_path):
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


def test_from_windows_the_paths_sent_are_those_of_the_other_machine(module, config, monkeypatch):
    """Windows' paths, which no path of this computer can be: what is sent has its own names in it alone."""
    from InfNetTrainingLib import RunFolder, TrainingConfig
    from InfNetTrainingLib.SshErrors import scriptCommand

    there = replace(config, kind="supervised", holdOut=True, labelledFolder="labelled", outputFolder="run")
    monkeypatch.setattr(TrainingConfig, "Path", PureWindowsPath)
    (fold, training) = there.steps()
    assert fold[fold.index("-o") + 1] == "run/held-out"
    assert training[training.index("--metrics") + 1] == "run/held-out/fold-0/metrics.json"
    folder = PureWindowsPath("C:\\my runs\\run")
    assert RunFolder._scriptCommand(folder)[1] == "C:/my runs/run/remote.sh", "the script looks for its folder before /"
    assert scriptCommand(folder) == "bash 'C:/my runs/run/remote.sh'"


def test_a_bash_that_does_not_know_windows_paths_is_passed_over(module, tmp_path, monkeypatch):
    """That of WSL is first on Windows' path; the one of Git lies beside what Git puts there."""
    from InfNetTrainingLib import RunFolder

    for name in ("System32/bash", "Git/cmd/git"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / name) for name in ("System32", "Git/cmd")))
    with pytest.raises(ValueError, match="Git's"):
        RunFolder._scriptCommand(tmp_path)
    (tmp_path / "Git/bin").mkdir()
    bash = shutil.copy2(tmp_path / "System32/bash", tmp_path / "Git/bin/bash")
    assert RunFolder._scriptCommand(tmp_path)[0] == str(bash)
