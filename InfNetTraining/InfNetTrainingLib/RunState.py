"""What the folder of a training tells of its state (RunFolder.py says what lies in it)."""

import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from InfNetSegmentationLib.BackendLines import NewLines
from InfNetSegmentationLib.CrashMessage import crashMessage
from slicer.i18n import tr as _

from InfNetTrainingLib.PanelWords import inPanelWords
from InfNetTrainingLib.ProcessIdentity import startTime
from InfNetTrainingLib.Schedule import Schedule
from InfNetTrainingLib.SshErrors import scriptCommand, sshError
from InfNetTrainingLib.TrainingConfig import TrainingConfig

FORMAT = 1
_NOTE = "training.json"
ABSENT, RUNNING, STOPPING, STOPPED, FINISHED, FAILED, INTERRUPTED = (
    "absent",
    "running",
    "stopping",
    "stopped",
    "finished",
    "failed",
    "interrupted",
)
RESUMABLE = (STOPPED, FAILED, INTERRUPTED)
_STOPPED_STATUS = 130
_SECONDS_OF_SILENCE = 900  # after which a process on another computer is not believed to live
_LOG_LINES_TOLD = 15
_STAGES_OF_A_ROUND = ("fine-tuning", "pseudo-labels")
startedHere = []  # processes of this Slicer: asked for their end, so that none stays a zombie


@dataclass
class TrainingStatus:
    """state - "absent", "running", "stopping", "stopped", "finished", "failed" or "interrupted" (killed)
    stage, done, total - what is being done; ``round`` is (n, of) in Algorithm 1, or None
    secondsLeft - of the whole run, as far as it can be foreseen, or None
    gpuBytes - the most memory of the GPU that it has taken, or None where it uses none
    error - why it failed, or None
    modelPath - the card of the trained model, or None
    config - what is trained, or None
    remote - the machine that it runs on by a script (SshScript.py), or ""
    awaitsReview - whether it has stopped for a look at its pseudo-labels, as was asked for
    """

    state: str = ABSENT
    stage: str = ""
    done: int = 0
    total: int = 0
    round: tuple | None = None
    secondsLeft: float | None = None
    gpuBytes: int | None = None
    error: str | None = None
    modelPath: Path | None = None
    config: TrainingConfig | None = None
    awaitsReview: bool = False
    remote: str = ""

    @property
    def isRunning(self):
        return self.state in (RUNNING, STOPPING)


class RunReader:
    """Reads the state of a training from its folder, each time only what is new.

    newLines - what was added to the log by the last `read`
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.newLines = []
        self._file = NewLines(self.folder / "progress.jsonl")
        self._state = _Told()
        self._note = None

    def read(self):
        """The `TrainingStatus` now. Raises ValueError for the folder of a newer version, or a damaged note."""
        self.newLines = []
        if self._note is None:
            self._note = _readNote(self.folder)
        if self._note is None:
            return TrainingStatus()
        process = readProcess(self.folder)
        alive = self._isAlive(process)  # before the events: what a process told before its end is then read
        for line in filter(None, self._file.read(last=False)):
            self._state.add(line, self.newLines)
        told = self._state
        if told.exitStatus is not None and not _isOfThisComputer(process):
            alive = False
        state = self._stateOf(told, alive)
        schedule = Schedule(self._note["schedule"])
        return TrainingStatus(
            state=state,
            stage=told.stage,
            done=told.done,
            total=told.total,
            round=(told.round, schedule.rounds) if told.stage in _STAGES_OF_A_ROUND and schedule.rounds else None,
            secondsLeft=schedule.secondsLeft(told.measured, told.round) if state == RUNNING else None,
            gpuBytes=told.gpuBytes,
            error=self._errorOf(told) if state in (FAILED, INTERRUPTED) else None,
            modelPath=self.folder / "model" / told.modelName if told.modelName else None,
            awaitsReview=state == STOPPED and told.awaitsReview,
            remote=self._note.get("remote", ""),
            # The folder may have been moved since.
            config=replace(TrainingConfig.fromDict(self._note["config"]), outputFolder=str(self.folder)),
        )

    def _isAlive(self, process):
        for ended in [other for other in startedHere if other.poll() is not None]:
            startedHere.remove(ended)
        if process is None:
            return False
        if _isOfThisComputer(process):
            return startTime(process["pid"]) == process["started"]
        # With another computer this one shares the folder.
        with suppress(OSError):
            return time.time() - (self.folder / "progress.jsonl").stat().st_mtime < _SECONDS_OF_SILENCE
        return False

    def _stateOf(self, told, alive):
        if alive:
            return STOPPING if (self.folder / "stop").exists() else RUNNING
        if told.exitStatus is None or self._isNotBroughtBack(told):
            return INTERRUPTED
        if told.exitStatus == _STOPPED_STATUS:
            return STOPPED
        return FAILED if told.exitStatus else FINISHED

    def _isNotBroughtBack(self, told):
        """Whether a training on another machine has ended, and what came of it is not here yet."""
        return self._note.get("remote") and told.modelName and not (self.folder / "model" / told.modelName).is_file()

    def _errorOf(self, told):
        if told.error:
            return inPanelWords(told.error)
        if told.exitStatus is not None:
            return crashMessage(told.exitStatus, told.lastLines)
        if not holdsTraining(self.folder):
            return _("{} is not there any more: bring it back, or choose where it is now.").format(self.folder)
        remote = self._note.get("remote")
        if remote and (error := sshError(self.folder, remote)):
            return error
        if (self.folder / "stop").exists():
            return _("It was ended by force.")
        if remote:
            return _("Not followed here. Press Resume, or run: {}").format(scriptCommand(self.folder))
        with suppress(OSError):
            written = (self.folder / "runner.log").read_text(encoding="utf-8", errors="replace").strip()
            if written:
                return written
        return _("The process ended without a word: the computer went off, or the system ended it for lack of memory.")


@dataclass
class _Told:
    """What the events amount to, since the run was started or resumed the last time."""

    stage: str = ""
    done: int = 0
    total: int = 0
    gpuBytes: int | None = None
    round: int = 1
    error: str | None = None
    awaitsReview: bool = False
    exitStatus: int | None = None
    modelName: str | None = None
    lastLines: list = field(default_factory=list)
    measured: tuple = ()  # the present stage's first and last progress (events)

    def add(self, line, newLines):
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError):
            return  # half a line, before a kill
        if kind == "started":
            self.__init__()
        elif kind == "progress" and event["stage"] == "rounds":
            self.round = min(event["done"] + 1, event["total"])
        elif kind == "progress":
            self.stage, self.done, self.total = event["stage"], event["done"], event["total"]
            self.gpuBytes = event.get("gpu_bytes")
            self._measure(event)
        elif kind in ("message", "log"):
            newLines.append(event["text"])
            self.lastLines = [*self.lastLines, event["text"]][-_LOG_LINES_TOLD:]
        elif kind == "step":
            newLines.append(_("Step {number} of {steps}: {command}").format(**event))
        elif kind == "result" and str(event.get("output", "")).endswith(".json"):
            self.modelName = Path(event["output"]).name
        elif kind == "error":
            self.error = event["message"]
            self.awaitsReview = event.get("code") == "review"
            newLines.append(event["message"])
        elif kind == "ended":
            self.exitStatus = event["exitStatus"]

    def _measure(self, event):
        first, last = self.measured or (event, event)
        isSameStage = last["stage"] == event["stage"] and last["done"] <= event["done"]
        self.measured = (first if isSameStage else event, event)


def readProcess(folder):
    """Which process trains (pid, started, host, at), or None."""
    try:
        return json.loads((folder / "process.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _isOfThisComputer(process):
    return process is not None and process["host"] == socket.gethostname()


def holdsTraining(folder):
    """Whether a training has been begun in a folder, where one can look."""
    with suppress(OSError):
        return (Path(folder) / _NOTE).is_file()
    return False


def _readNote(folder):
    path = Path(folder) / _NOTE
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        newer = note["format"] > FORMAT
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(_("{} is damaged ({}); choose another folder.").format(path, error)) from error
    if newer:
        raise ValueError(_("{} was made by a newer version of this extension; update it.").format(path))
    return note
