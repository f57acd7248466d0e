"""Which process it is: a number alone is given to another one later. Without packages that Slicer lacks."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path


def startTime(pid):
    """When the process with this number was started, as a text that no other process has; None if there is none."""
    if os.name == "nt":
        return _onWindows(pid)
    return _onLinux(pid) if sys.platform == "linux" else _onUnix(pid)


def _onLinux(pid):
    try:
        # The name in parentheses may hold anything; state and start time (in clock ticks since boot) follow it.
        values = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    bootID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if values[0] in "ZX" else f"{bootID} {values[19]}"


def _onUnix(pid):
    # What follows "=" is a headline up to the word's end, so each column is asked for by itself. The time is written as
    # language and time zone have it, which another Slicer may have otherwise.
    command = ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]
    neutral = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    answer = subprocess.run(command, capture_output=True, encoding="utf-8", env=neutral)
    state, _space, started = answer.stdout.strip().partition(" ")
    return started.strip() if state and not state.startswith("Z") else None


def _onWindows(pid):
    kernel = ctypes.windll.kernel32
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return None
    try:
        status = ctypes.c_ulong()
        kernel.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(status))
        created, *others = (ctypes.c_ulonglong() for _ in range(4))
        known = kernel.GetProcessTimes(ctypes.c_void_p(handle), *map(ctypes.byref, (created, *others)))
        return str(created.value) if known and status.value == 259 else None  # STILL_ACTIVE
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))
