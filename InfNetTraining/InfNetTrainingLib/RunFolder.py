"""The folder of a training: started as a process of its own, asked for its state, told to stop.

    training.json    what is trained, the steps and the commands that repeat them
    process.json     which process trains
    progress.jsonl   what it tells (TrainingRunner.py)
    runner.log       what a process that could not start wrote
    stop             asks it to stop
    remote.sh        of a run on another machine: starts and follows it (SshScript.py)
    remote.log       what that wrote when Slicer ran it

Beside these lie the backend's own files. Nothing of this needs the Slicer that started the training to live on.
"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

import slicer
from InfNetSegmentationLib.BackendProcess import backendCommand, backendEnvironment, endProcessTree
from slicer.i18n import tr as _

from InfNetTrainingLib.ProcessIdentity import startTime
from InfNetTrainingLib.RunState import FORMAT, RunReader, readProcess, startedHere
from InfNetTrainingLib.Schedule import Schedule
from InfNetTrainingLib.SshErrors import SCRIPT, SCRIPT_LOG
from InfNetTrainingLib.TrainingRunner import ProgressFile


def startRun(config, command=None):
    """Start a training, or go on with the one that its folder holds; returns at once.

    Raises ValueError for what cannot be trained or a folder of something else, RuntimeError where it is running.
    """
    problem = config.problem()
    if problem:
        raise ValueError(problem + ".")
    folder = Path(config.outputFolder)
    found = RunReader(folder).read()
    if found.isRunning:
        raise RuntimeError(_("A training is running in {} already.").format(folder))
    if found.remote:
        runScript(folder)
        return
    if found.config is not None and found.config != config:
        raise ValueError(_("{} holds another training; choose another folder.").format(folder))
    if found.config is None and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(_("{} holds something else; choose a new folder.").format(folder))
    _writeNote(folder, config)
    (folder / "stop").unlink(missing_ok=True)
    ProgressFile(folder).write("started")
    command = command or backendCommand()
    runner = [command[0], str(Path(__file__).with_name("TrainingRunner.py"))]
    _launch(folder, [*runner, str(folder), *command], folder / "runner.log", backendEnvironment())


def writeRemoteNote(folder, config, host):
    """Make the folder of a training that a script runs on ``host``. Raises ValueError where it holds anything."""
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(_("{} holds something already; choose a new folder.").format(folder))
    _writeNote(folder, config, remote=host)


def stopRun(folder, byForce=False):
    """Ask a training to stop at its next step, where it can be resumed; ``byForce`` ends it at once.

    What it has done since its last checkpoint, of at most five minutes, is then done again. Raises RuntimeError where
    it runs on another computer, which shares the folder: there it is only asked.
    """
    folder = Path(folder)
    status = RunReader(folder).read()
    if status.isRunning:
        (folder / "stop").touch()
        process = readProcess(folder)
        if byForce and status.remote:
            command = _scriptCommand(folder, "end")
            startedHere.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, env=_systemsEnvironment()))
        elif byForce and process["host"] != socket.gethostname():
            raise RuntimeError(
                _("It runs on {host} and stops at its next step. To end it at once, end process {pid} there.").format(
                    **process
                )
            )
        elif byForce:
            endProcessTree(process["pid"])


def runScript(folder):
    """Start or go on with a training on another machine by its script, which goes on without Slicer.

    Raises ValueError where there is nothing to run it.
    """
    (folder / "stop").unlink(missing_ok=True)
    environment = {**_systemsEnvironment(), "FOLLOWED_BY_SLICER": "1"}
    _launch(folder, _scriptCommand(folder), folder / SCRIPT_LOG, environment)


def _scriptCommand(folder, *words):
    bash = _bash()
    if bash is None:
        raise ValueError(
            _("There is no “bash” here to run {}: install one (on Windows, Git's), or run it elsewhere.").format(SCRIPT)
        )
    return [bash, (folder / SCRIPT).as_posix(), *words]  # its own folder the script finds by "/"


def _bash():
    """Path of a bash, or None. That in Windows' own folders belongs to WSL: it knows no path that begins with C:/."""
    folders = [path for path in os.get_exec_path() if Path(path).name.casefold() not in ("system32", "windowsapps")]
    git = shutil.which("git")
    if git:  # Git for Windows has cmd on the path, and its bash in bin beside it
        folders.append(str(Path(git).parent.parent / "bin"))
    return shutil.which("bash", path=os.pathsep.join(folders))


def _systemsEnvironment():
    """Slicer's own libraries are not those of the system's ssh."""
    return slicer.util.startupEnvironment()


def _launch(folder, command, logPath, environment):
    flags = 0
    if os.name == "nt":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    with logPath.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # neither Slicer's end nor its terminal's ends the training
            creationflags=flags,
        )
    startedHere.append(process)
    identity = {"pid": process.pid, "started": startTime(process.pid), "host": socket.gethostname()}
    _write(folder / "process.json", {**identity, "at": time.strftime("%Y-%m-%d %H:%M:%S")})


def _writeNote(folder, config, **more):
    steps = config.steps()
    note = {
        "format": FORMAT,
        "config": config.asDict(),
        "steps": steps,
        "commands": [shlex.join(["infnet", *step]) for step in steps],
        "schedule": Schedule.of(config).asList(),
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "training.json", note)


def _write(path, values):
    from infnet.data.files import written_whole

    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2), encoding="utf-8")
