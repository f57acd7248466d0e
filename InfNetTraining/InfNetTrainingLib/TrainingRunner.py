"""Runs the steps of a training, one after the other, in a process that outlives Slicer.

    python TrainingRunner.py RUN_FOLDER BACKEND_COMMAND …

``RUN_FOLDER/training.json`` lists the steps. What they tell goes to ``progress.jsonl``, an object a line with its
time, in the backend's protocol; other output is a line of the event "log". At the end comes "ended" with the exit
status. A file ``stop`` in the folder ends the run at its next step. Needs Python alone.
"""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

# A long training tells of millions of steps, and who follows it reads all that is told from the beginning.
_SECONDS_BETWEEN_PROGRESS = 0.5, 10.0  # at least and at most; between them, a share of what the stage has taken
_SHARE_BETWEEN_PROGRESS = 0.01
_STOPPED = 130  # the backend's exit status when it was stopped


class ProgressFile:
    """Appends events to a run's progress.jsonl."""

    def __init__(self, folder):
        self._path = Path(folder) / "progress.jsonl"
        self._told = (None, 0.0, 0.0)  # stage of the last progress that was written, when it began, and the time then
        self._heldBack = None  # a later one of the same stage

    def write(self, event, **values):
        # A kill may have left half a line, so each begins with its own line break. With a full disk, the run goes on.
        line = json.dumps({"event": event, "time": time.time(), **values})
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")

    def passOn(self, line):
        """Write what the backend has printed."""
        try:
            values = json.loads(line)
            event = values.pop("event")
        except (ValueError, AttributeError, KeyError):
            self.write("log", text=line)
            return
        if event == "progress" and self._isTooSoon(values):
            self._heldBack = values
            return
        if self._heldBack and (event != "progress" or values["stage"] != self._heldBack["stage"]):
            self.write("progress", **self._heldBack)
        self._heldBack = None
        self.write(event, **values)

    def _isTooSoon(self, values):
        stage, beganAt, toldAt = self._told
        now = time.monotonic()
        if values["stage"] != stage:
            self._told = (values["stage"], now, now)
            return False
        least, most = _SECONDS_BETWEEN_PROGRESS
        pause = min(max(least, _SHARE_BETWEEN_PROGRESS * (now - beganAt)), most)
        if values["done"] != values["total"] and now - toldAt < pause:
            return True
        self._told = (stage, beganAt, now)
        return False


def run(folder, command):
    """Run the steps of the folder's training. Returns the exit status of the last one that ran."""
    folder = Path(folder)
    progress = ProgressFile(folder)
    steps = json.loads((folder / "training.json").read_text(encoding="utf-8"))["steps"]
    stopFile = folder / "stop"
    status = 0
    for number, arguments in enumerate(steps, start=1):
        if stopFile.exists():
            status = _STOPPED
            break
        progress.write("step", number=number, steps=len(steps), command=arguments[0])
        # Through a pipe: if this process is killed, the backend's next word ends it too, and no orphan trains on.
        process = subprocess.Popen(
            [*command, *arguments, "--progress", "json", "--stop-file", str(stopFile)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        for line in process.stdout:
            if line.strip():
                progress.passOn(line.rstrip())
        status = process.wait()
        if status:
            break
    progress.write("ended", exitStatus=status)
    return status


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
