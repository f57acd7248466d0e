"""Studies written over another by processes that are killed or stopped at one of their file operations.

python killedwriter.py kill FOLDER    at each of them in turn; one JSON line each: what a reader then finds
python killedwriter.py stop FOLDER    while another process writes there too; one line: what is there last, and exits
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from infnet.errors import InvalidStudyError
from infnet.quantification.measurements import measure
from infnet.quantification.study import Study, read_study, write_study

FILE_OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
SECONDS_FOR_THE_OTHER = 1.0


def write(folder, label):
    """A study whose patient is the label that all its voxels have. Only the first has lobes, only others infection."""
    labels = sitk.Image([4, 4, 4], sitk.sitkUInt8) + label
    measured = measure(sitk.Cast(labels, sitk.sitkInt16) - 800, labels, labels, None)
    study = Study("case", Path("ct"), measured.rows, None, {}, {}, [], {}, patient=str(label), folder=folder)
    more = {"lobes": labels} if label == 1 else {"infection": sitk.Cast(labels, sitk.sitkFloat32)}
    write_study(study, labels, labels, **more)


def found(folder):
    """The one label of the study's files; "none" where there is no study; "mixture"."""
    try:
        study = read_study(folder)
    except InvalidStudyError:
        return "none"
    images = [study.findings(), study.lungs(), study.lobes(), study.infection()]
    labels = {str(int(v)) for image in images if image for v in np.unique(sitk.GetArrayFromImage(image))}
    whole = (images[2] is None) == (study.patient != "1") and (images[3] is None) == (study.patient == "1")
    return study.patient if labels == {study.patient} and whole else "mixture"


def names(folder):
    return [path.name for path in folder.iterdir()]


def writer(folder, label, number, event, name):
    """A child process that writes, and sends itself the signal ``name`` at the ``number``-th operation ``event``."""
    pid = os.fork()
    if pid:
        return pid
    seen = 0

    def watch(happened, _details):
        nonlocal seen
        if happened in event:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), name)

    status = 1
    try:
        sys.addaudithook(watch)
        write(folder, label)
        status = 0
    finally:
        os._exit(status)


def kill_at_each(folder):
    number, killed = 0, True
    while killed:
        number += 1
        shutil.rmtree(folder, ignore_errors=True)
        write(folder, 1)
        _, status = os.waitpid(writer(folder, 2, number, FILE_OPERATIONS, signal.SIGKILL), 0)
        killed, after = os.WIFSIGNALED(status), found(folder)
        write(folder, 2)
        print(json.dumps({"killed": killed, "found": after, "again": found(folder), "files": names(folder)}))


def stop_one(folder):
    write(folder, 1)
    first = writer(folder, 2, 2, ("os.rename",), signal.SIGSTOP)  # after one file of several
    os.waitpid(first, os.WUNTRACED)
    second = writer(folder, 1, 0, (), signal.SIGSTOP)
    until = time.monotonic() + SECONDS_FOR_THE_OTHER
    ended = 0
    while not ended and time.monotonic() < until:
        ended, _ = os.waitpid(second, os.WNOHANG)
        time.sleep(0.01)
    os.kill(first, signal.SIGCONT)
    statuses = [os.waitpid(pid, 0)[1] for pid in (first, second) if pid != ended]
    print(json.dumps({"found": found(folder), "files": names(folder), "statuses": statuses}))


if __name__ == "__main__":
    {"kill": kill_at_each, "stop": stop_one}[sys.argv[1]](Path(sys.argv[2]))
