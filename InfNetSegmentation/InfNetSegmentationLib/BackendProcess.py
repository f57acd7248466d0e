import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

from InfNetSegmentationLib.BackendLines import NewLines, parseEvent
from InfNetSegmentationLib.CrashMessage import crashMessage

POLL_INTERVAL_SECONDS = 0.1
_FOLDER_PREFIX = "infnet-private-"  # that nobody else would give a folder, since old ones are removed
_STDERR_LINES_TOLD, _LONGEST_LINE_TOLD = 15, 300
_ABANDONED_AFTER_SECONDS = 24 * 3600
_ATTEMPTS_TO_REMOVE = 10


class BackendError(RuntimeError):
    """A run that ended without a result.

    code - the backend's name of the cause (infnet/errors.py), "crash" if it gave none, or "cancelled"
    """

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def backendCommand():
    """How the backend's command line is started from Slicer, or from any other Python."""
    return [shutil.which("PythonSlicer") or sys.executable, "-m", "infnet"]


class BackendProcess:
    """One run of the backend's command line, outside Slicer.

    The process writes its output to files that are read from time to time: no pipe that can fill up, no thread.
    Either a Qt timer does so (`start`), or the caller waits (`start`, then `wait`).

        process = BackendProcess(onResult=print, onError=print)
        process.start(["segment", "ct.nrrd", "-o", str(process.folder / "findings.nrrd")])

    folder - a private folder for the files of this run, removed when it has ended and been told
    onProgress(stage, done, total), onMessage(text) - called during the run
    onResult(payload), onError(BackendError) - one of them is called, once, at the end
    """

    gracePeriodSeconds = 10.0  # between the polite request to stop and the end by force

    def __init__(self, command=None, onProgress=None, onMessage=None, onResult=None, onError=None):
        self._command = command or backendCommand()
        self._onProgress = onProgress
        self._onMessage = onMessage
        self._onResult = onResult
        self._onError = onError
        removeAbandonedFolders()
        self.folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
        self._process = None
        self._timer = None
        self._polling = False
        self._events = {}
        self._cancelReason = None
        self._endByForceAt = None

    @property
    def running(self):
        return self._process is not None

    def start(self, arguments, useTimer=True):
        """Start the run. With ``useTimer`` the Qt event loop follows it, else the caller has to `wait`."""
        stopFile = ["--progress", "json", "--stop-file", str(self.folder / "stop")]
        try:
            with (self.folder / "stdout").open("wb") as stdout, (self.folder / "stderr").open("wb") as stderr:
                self._process = subprocess.Popen(
                    [*self._command, *arguments, *stopFile],
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    env=backendEnvironment(),
                    start_new_session=True,  # a process group of its own, so that it can be ended as a whole
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError:
            self.discard()
            raise
        self._stdout = NewLines(self.folder / "stdout")
        self._stderr = NewLines(self.folder / "stderr")
        self._stderrTail = deque(maxlen=_STDERR_LINES_TOLD)
        if useTimer:
            import qt

            self._timer = qt.QTimer()
            self._timer.setInterval(int(1000 * POLL_INTERVAL_SECONDS))
            self._timer.timeout.connect(self.poll)
            self._timer.start()

    def wait(self):
        """Return when the run has ended. An exception, be it a callback's or Ctrl+C, ends the run too."""
        try:
            while self.running:
                self.poll()
                time.sleep(POLL_INTERVAL_SECONDS)
        finally:
            self.abort()

    def cancel(self, reason="Cancelled.", gracePeriodSeconds=None):
        """Ask the run to stop; end its whole process tree if it has not done so within the grace period."""
        if not self.running or self._cancelReason is not None:
            return
        self._cancelReason = reason
        (self.folder / "stop").touch()
        grace = self.gracePeriodSeconds if gracePeriodSeconds is None else gracePeriodSeconds
        self._endByForceAt = time.monotonic() + grace

    def abort(self, reason="Cancelled."):
        """End the run now, whatever it does: for the end of the application or of the panel."""
        if self.running:
            self._cancelReason = reason
            endProcessTree(self._process.pid)
            self._process.wait()
            self._finish()

    def poll(self):
        """Tell what is new. Called by the timer or by `wait`."""
        if self._polling or not self.running:
            return  # a callback ran the event loop
        self._polling = True
        try:
            exitStatus = self._process.poll()
            self._tellNewLines()
            if exitStatus is None and self._endByForceAt and time.monotonic() > self._endByForceAt:
                endProcessTree(self._process.pid)
            ended = exitStatus is not None and self.running
        finally:
            self._polling = False
        if ended:
            self._finish()

    def discard(self):
        """Remove the folder of a run that was never started."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tellNewLines(self, last=False):
        for line in self._stdout.read(last):
            self._onOutput(line)
        for line in self._stderr.read(last):
            if line:
                self._stderrTail.append(line[:_LONGEST_LINE_TOLD])
            self._tellMessage(line)

    def _onOutput(self, line):
        event = parseEvent(line)
        if event is None:
            self._tellMessage(line)  # any other line is log
        elif event["event"] == "progress":
            if self._onProgress and self._cancelReason is None:  # else it is stopping
                self._onProgress(event["stage"], event["done"], event["total"])
        elif event["event"] == "message":
            self._tellMessage(event["text"])
        else:
            self._events[event["event"]] = event

    def _tellMessage(self, text):
        if self._onMessage:
            self._onMessage(text)

    def _finish(self):
        """Tell result or error, and leave nothing behind: no process, no timer, no file."""
        process, self._process = self._process, None
        if self._timer:
            self._timer.stop()
            # PythonQt's connections keep their slots alive, and so each run's callbacks with the nodes that they know.
            self._timer.disconnect("timeout()", self.poll)
        try:
            endProcessTree(process.pid)  # what the backend started and left
            self._tellNewLines(last=True)
            if self._cancelReason is not None:
                self._tellError(BackendError("cancelled", self._cancelReason))
            elif "error" in self._events:
                error = self._events["error"]
                self._tellError(BackendError(error["code"], error["message"]))
            elif process.returncode == 0 and "result" in self._events:
                if self._onResult:
                    self._onResult(self._events["result"])
            else:
                self._tellError(BackendError("crash", crashMessage(process.returncode, self._stderrTail)))
        finally:
            self._removeFolder()

    def _removeFolder(self):
        """On Windows a file can be removed when the last process that had it open is gone, a moment after its end."""
        for _attempt in range(_ATTEMPTS_TO_REMOVE):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(POLL_INTERVAL_SECONDS)

    def _tellError(self, error):
        if self._onError:
            self._onError(error)


def removeAbandonedFolders():
    """Remove the folders, with a patient's images in them, of runs whose Slicer was killed a day ago or more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or gone meanwhile
            lastUse = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))  # a batch can take days
            if time.time() - lastUse > _ABANDONED_AFTER_SECONDS:
                shutil.rmtree(folder)


def backendEnvironment():
    """Slicer's environment with the folder that holds the package ``infnet`` first on the Python path.

    CUDA numbers the graphics cards as the driver's own program does, which names them for the panel (Devices.py).

    The working folder is not on that path: it can hold anything, and be anybody's. What the backend writes is UTF-8,
    which on Windows it would not be.
    """
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONSAFEPATH": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUTF8": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def endProcessTree(pid):
    # PythonSlicer is a launcher: ending it alone would leave the Python process it started.
    if os.name == "nt":
        subprocess.run(
            ["taskkill", "/F", "/T", "/PID", str(pid)],
            capture_output=True,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return
    # Either error: the group is empty (on macOS, if it holds only ended processes).
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
