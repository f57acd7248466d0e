"""Files that are written whole or not at all."""

import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from infnet.errors import OutputError

_UNFINISHED, _LOCK = ".infnet-", ".lock"
_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)


def check_output(path: Path, endings: Sequence[str]) -> None:
    """Raise `OutputError` if a file cannot be written to ``path`` later, or has none of the ``endings``."""
    if not path.name.lower().endswith(tuple(endings)):
        raise OutputError(f"{path}: the file name must end in {', '.join(endings)}.")
    try:
        str(path).encode()
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no folder {path.parent}.")
        is_folder = path.resolve().is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
        raise OutputError(f"{path}: no file can have this name ({error}).") from error
    if is_folder:
        raise OutputError(f"{path} is a folder; name a file.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} cannot be written to.")


def check_folder(folder: Path, files: Iterable[str] = ()) -> None:
    """Raise `OutputError` if no files, ``files`` for instance, can be written into ``folder`` later.

    Where there is no such folder, one would be made.
    """
    try:
        str(folder).encode()
        paths = (folder, *folder.absolute().parents)
        existing = next((path for path in paths if path.exists() or path.is_symlink()), None)
    except (OSError, UnicodeEncodeError) as error:
        raise OutputError(f"{folder}: no folder can have this name ({error}).") from error
    if existing is None:
        raise OutputError(f"{folder}: there is no drive {folder.absolute().anchor}.")
    if not existing.exists():
        raise OutputError(f"{existing}: a link to nothing; name a folder.")
    if not existing.is_dir():
        raise OutputError(f"{existing} is a file; name a folder.")
    if not os.access(existing, os.W_OK):
        raise OutputError(f"{folder}: the folder {existing} cannot be written to.")
    for name in files:
        if (folder / name).is_dir():
            raise OutputError(f"{folder / name} is a folder; move it away, or choose another folder for the output.")


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises OSError, and ValueError for what is no JSON, is nested too deeply, or has text that is no Unicode.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # for a pipe one would wait, /dev/zero has no end
        raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False).encode()  # halves of surrogate pairs, which no file can hold
        return value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, of the same ending, that becomes ``path`` if the block succeeds.

    It is on the disk before it gets its name, so that a power cut leaves no half of it. Raises `OutputError` if the
    block or the renaming fails with an operating system's or SimpleITK's error. The temporary file is removed in any
    case but a kill (`remove_unfinished`).
    """
    # No longer than a name may be, and no other process's, whatever computer or container it is in. In ASCII, since on
    # Windows not all libraries find other names.
    ending = path.name[-40:].encode("ascii", "replace").decode().replace("?", "_")
    temporary = path.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}-{ending}")
    try:
        with locked(temporary.with_name(temporary.name + _LOCK), timeout=0):
            try:
                yield temporary
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                _insist(partial(temporary.replace, path))
            finally:
                temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise OutputError(f"{path} cannot be written: {reason or str(error).strip().splitlines()[-1]}.") from error


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes have left of `written_whole` in ``folder`` and below.

    A process that is alive holds a lock, be it in another container or on another computer; where the disk has no
    locks, all is left.
    """
    from filelock import Timeout

    for lock in folder.rglob(f"{_UNFINISHED}*{_LOCK}"):
        with suppress(Timeout), locked(lock, timeout=0) as is_left:
            if is_left:
                lock.with_suffix("").unlink(missing_ok=True)


@contextmanager
def written_together(folder: Path, last: str, optional: Sequence[str] = ()) -> Iterator[Path]:
    """A new folder whose files take their places in ``folder`` if the block succeeds: all of them, ``last`` the last.

    Until then ``folder`` stays as it was; it is made where there is none. Its own ``last`` is the first to go, so a
    folder that has it is never a mixture; ``optional`` files that the new ones lack go too. Of two processes that write
    into one folder, one waits for the other. Raises `OutputError`.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with folder_aside(folder):  # where none can be made, filelock up to 3.29.7 waits for ever on Windows
            pass
        with _sole_writer(folder), folder_aside(folder) as new:
            yield new
            check_folder(folder, [last, *optional, *(file.name for file in new.iterdir())])  # before anything goes
            for name in (last, *optional):
                _insist(partial((folder / name).unlink, missing_ok=True))
            for file in sorted(new.iterdir(), key=lambda file: file.name == last):
                _insist(partial(file.replace, folder / file.name))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}).") from error
    finally:
        if is_new:
            with suppress(OSError):  # it has files, or was never made
                folder.rmdir()


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """A new folder in ``folder``, removed after the block, for files that are moved out of it when they are finished.

    Not one of `tempfile`: on Windows its files stay closed to all but their maker wherever they are moved to, and in a
    folder that cannot be written to it would try for ever (Python's issues 118486 and 66305). Raises OSError.
    """
    new = folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
    new.mkdir()
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _insist(work: Callable[[], object]) -> None:
    """Try for 1.5 s: on Windows a file that a program has open, if only to read it, is neither replaced nor removed."""
    for pause_s in _PAUSES_S:
        with suppress(PermissionError):
            work()
            return
        time.sleep(pause_s)
    work()


@contextmanager
def _sole_writer(folder: Path) -> Iterator[None]:
    """Wait for the other processes that write into ``folder``, then clear away what one that was killed has left."""
    with locked(folder / f"{_UNFINISHED}lock") as is_alone:
        if is_alone:
            for left in folder.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)  # but for the lock, which is no folder
        yield


@contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[bool]:
    """Hold the lock that is the file ``path``; yields whether there is one: some network file systems have none.

    Waits for another process that holds it: ``timeout`` seconds, then it raises `filelock.Timeout`; for ever if -1.
    """
    from filelock import FileLock, Timeout  # slow to import

    if not path.parent.is_dir():  # it would be made
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise  # an OSError too
    except (OSError, NotImplementedError):
        pass
    try:
        yield lock.is_locked
    finally:
        if lock.is_locked:
            with suppress(OSError):  # Windows removes it after the release
                path.unlink()  # who waits for it sees that it is gone, and makes a new one
            lock.release()
