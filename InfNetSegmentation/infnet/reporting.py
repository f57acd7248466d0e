"""How a command tells its progress, its result and its errors: a progress bar for people, JSON lines for programs.

The JSON protocol is one object a line on standard output::

    {"event": "progress", "stage": "infection", "done": 24, "total": 61}     on CUDA with "gpu_bytes", the peak so far
    {"event": "message", "text": "…"}
    {"event": "result", …}                                   at the end, with exit status 0, or
    {"event": "error", "code": "no-lung", "message": "…"}    with the exit status of the error
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TextIO

from infnet.errors import CancelledError, InfNetError, OutputError


class Progress(Protocol):
    """Told about work done. May raise `CancelledError`, so call it between units of work, and keep nothing open."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """The `Progress` of library calls that nobody watches."""


class Reporter(Protocol):
    """What a command needs of its user's side."""

    def progress(self, stage: str, done: int, total: int) -> None: ...
    def message(self, text: str) -> None: ...
    def result(self, payload: Mapping[str, Any], summary: str) -> None: ...
    def error(self, error: InfNetError) -> None: ...
    def __enter__(self) -> "Reporter": ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _StopFile:
    """Cancel request of another process: the run stops as soon as the file exists."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def check(self) -> None:
        if self._path is not None and self._path.exists():
            raise CancelledError("Stopped as requested.")


class JsonReporter:
    """One JSON object a line on ``stream`` (standard output)."""

    def __init__(self, stop_file: Path | None = None, stream: TextIO | None = None) -> None:
        self._stop = _StopFile(stop_file)
        self._stream = stream or sys.stdout

    def _send(self, event: str, **fields: Any) -> None:
        _print(json.dumps({"event": event, **fields}), self._stream)

    def progress(self, stage: str, done: int, total: int) -> None:
        self._stop.check()
        self._send("progress", stage=stage, done=done, total=total, **_gpu_memory())

    def message(self, text: str) -> None:
        self._send("message", text=text)

    def result(self, payload: Mapping[str, Any], summary: str) -> None:
        self._send("result", **payload)

    def error(self, error: InfNetError) -> None:
        self._send("error", code=error.code, message=_one_line(error))

    def __enter__(self) -> "JsonReporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def _one_line(error: InfNetError) -> str:
    """What it says, of a library or of a file's content too, of however many lines."""
    return " ".join(str(error).split("\n"))


def _print(text: str, stream: TextIO) -> None:
    """Raises `OutputError` where it is a pipe that nobody reads any more, or a file on a full disk."""
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        raise OutputError(f"The standard output cannot be written to ({error.strerror}).") from error


def _gpu_memory() -> dict[str, int]:
    """The most memory that tensors have taken so far on the GPU of this process; nothing where it uses none."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)  # not imported here: most commands need no torch
    is_used = getattr(cuda, "is_initialized", None)
    return {"gpu_bytes": cuda.max_memory_allocated()} if cuda and is_used and is_used() else {}


class BarReporter:
    """Progress bars (on a terminal) and messages on standard error, the result's summary on standard output."""

    def __init__(self, stop_file: Path | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._stop = _StopFile(stop_file)
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            disable=not self._console.is_terminal,  # a log file wants messages, not bars
        )
        self._tasks: dict[str, Any] = {}

    def progress(self, stage: str, done: int, total: int) -> None:
        self._stop.check()
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage)
        self._bars.update(self._tasks[stage], completed=done, total=total)

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def result(self, payload: Mapping[str, Any], summary: str) -> None:
        self._bars.stop()
        _print(summary, sys.stdout)

    def error(self, error: InfNetError) -> None:
        print(f"infnet: {_one_line(error)}", file=sys.stderr)

    def __enter__(self) -> "BarReporter":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.live.transient = error is not None  # an error stands alone, without the bar that it stopped
        self._bars.stop()
