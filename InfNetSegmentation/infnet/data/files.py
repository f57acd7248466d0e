"""Files that are written whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infnet.errors import OutputError

_UNFINISHED = ".infnet-"


def check_output(path: Path, endings: Sequence[str]) -> None:
    """Raise `OutputError` if a file cannot be written to ``path`` later, or has none of the ``endings``."""
    if not path.name.lower().endswith(tuple(endings)):
        raise OutputError(f"{path}: the file name must end in {', '.join(endings)}.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}.")
    try:
        str(path).encode()
        is_folder = path.is_dir()
    except (OSError, UnicodeEncodeError) as error:
        raise OutputError(f"{path}: no file can have this name ({error}).") from error
    if is_folder:
        raise OutputError(f"{path} is a folder; name a file.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} cannot be written to.")


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises OSError, and ValueError for what is no JSON, or is nested too deeply."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, of the same ending, that becomes ``path`` if the block succeeds.

    Raises `OutputError` if the block or the renaming fails with an operating system's or SimpleITK's error. The
    temporary file is removed in any case.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name[-40:]}")  # no longer than a name may be
    try:
        yield temporary
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).strip().splitlines()[-1]
        raise OutputError(f"{path} cannot be written: {reason}.") from error
    finally:
        temporary.unlink(missing_ok=True)


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
        with _sole_writer(folder), TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as unfinished:
            new = Path(unfinished)
            yield new
            for name in (last, *optional):
                (folder / name).unlink(missing_ok=True)
            for file in sorted(new.iterdir(), key=lambda file: file.name == last):
                file.replace(folder / file.name)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}).") from error
    finally:
        if is_new:
            with suppress(OSError):  # it has files, or was never made
                folder.rmdir()


@contextmanager
def _sole_writer(folder: Path) -> Iterator[None]:
    """Wait for the other processes that write into ``folder``, then clear away what one that was killed has left."""
    try:
        import fcntl
    except ImportError:  # Windows locks no folders
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems lock no folders either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for left in folder.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)
